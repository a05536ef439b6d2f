"""Files to models.

`load` learns from the header what a file or folder holds, builds the network without values (on torch's meta device)
and hands it the file's own pages: nothing is copied until a weight is touched, unless it must be cast or put together
from several. Names and shapes must agree exactly. Knows no folders of models: callers find the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import CascadeError
from ..kinds import KINDS, LARGE_KINDS, QUANTISED_NAMES
from ..memory import Placement, StayPut, WhenUsed
from ..models.handle import Handle
from ..models.tokenizer import Tokenizer, WordTokenizer, load_tokenizer
from ..wording import first_of, printable
from .dtypes import DTYPES, TYPES
from .identify import find_part, identify
from .layouts import Shape, Source, from_official, to_official
from .model_part import Part
from .weights import WeightReader


def load(
    kind: str,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    dtype: str = "auto",
    device: str | torch.device = "cpu",
    placement: Placement | None = None,
    tokenizers: Sequence[Path] = (),
    when_used: bool = False,
) -> Handle:
    """The `kind` that the file holds, ready to compute on `device`.

    name: what the person chose, for messages; the file's name if None. dtype: "float32", "bfloat16", "float16", or
    "auto": float32 on a CPU, elsewhere bfloat16 for Stage B and C (float16 on old cards), float32 for the small
    parts; or "int8", "fp8", "int4": the large weights of Stage B and C are quantised, the others are as for "auto".
    Weights that are quantised in the file stay so, and compute in that type. placement: who brings the weights to the
    device; they are loaded there at once if None. tokenizers: folders that may hold CLIP's vocabulary, for a published
    text encoder that has none beside it. when_used: the weights are read when the model first computes. Raises
    CascadeError.
    """
    part, module, sources = _prepare(kind, Path(path), tokenizers)
    device = torch.device(device)
    weights_dtype = choose_dtype(dtype, kind, device)
    reader = WeightReader(part, weights_dtype, dtype if dtype in QUANTISED_NAMES else None, device)
    home = torch.device(device if placement is None else "cpu")

    def read(module: nn.Module) -> None:
        # The host runs nodes under inference_mode, whose tensors could never be trained.
        with torch.inference_mode(False), torch.no_grad():
            module.load_state_dict(reader.read(module, sources, home), strict=True, assign=True)
            module.to(home).requires_grad_(False)

    if when_used:
        placement = WhenUsed(read, placement or StayPut())
    else:
        read(module)
    handle = _handle(part, module, name, weights_dtype, placement)
    quantised = part.precision.partition(" ")[0] if part.header.quantised else None
    if quantised in QUANTISED_NAMES and dtype in QUANTISED_NAMES and quantised != dtype:
        return replace(
            handle, remark=f"{handle.name} is {quantised} in its file and stays so: dtype {dtype} is ignored"
        )
    return handle


def describe(
    kind: str,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    dtype: str = "auto",
    device: str | torch.device = "cpu",
    tokenizers: Sequence[Path] = (),
) -> Handle:
    """A handle for checks alone: what `load` would give, with the network on the meta device; no tensor is read.

    The arguments are those of `load`, and so are the errors, but for tensors that cannot be read.
    """
    part, module, _ = _prepare(kind, Path(path), tokenizers)
    return _handle(part, module, name, choose_dtype(dtype, kind, torch.device(device)), None)


def _prepare(kind: str, path: Path, tokenizers: Sequence[Path]) -> tuple[Part, nn.Module, dict[str, Source]]:
    """The part of the file, its network on the meta device, and where in the file each of its tensors is."""
    part = find_part(identify(path), kind, path.name)
    with torch.inference_mode(False):
        module = build(part, path.name, _tokenizer(part, path, tokenizers))
    return part, module, find_sources(part, path.name, module)


def _handle(part: Part, module: nn.Module, name: str | None, dtype: torch.dtype, placement: Placement | None) -> Handle:
    return Handle(
        module=module.eval().requires_grad_(False),
        kind=part.kind,
        name=name or part.header.path.name,
        family=part.family,
        config=part.config,
        target=part.target,
        x0_clamp=part.x0_clamp,
        dtype=dtype,
        placement=placement or StayPut(),
        remark=part.remark,
    )


def build(part: Part, file: str, tokenizer: Tokenizer | None = None) -> nn.Module:
    """The part's network on the meta device; a text encoder of which only the names are wanted needs no tokenizer."""
    network: Callable[..., nn.Module] = KINDS[part.kind].network_class()
    extra = (tokenizer or WordTokenizer((), 2),) if part.kind == "text_encoder" else ()
    try:
        with torch.device("meta"), _Uninitialised():
            return network(part.config, *extra)
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise CascadeError(f"{file} describes a {KINDS[part.kind].name} that cannot be built: {reason}") from error


class _Uninitialised(TorchFunctionMode):
    """In here torch's initialisers leave tensors as they are.

    Without memory they compute nothing, but for it torch imports its compiler, which takes longer than most loads.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def find_sources(part: Part, file: str, module: nn.Module) -> dict[str, Source]:
    """The origin in the file of each tensor of `module`; CascadeError unless all names and shapes agree."""
    expected: dict[str, Shape] = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    sources = to_official(part)
    wanted: dict[str, Shape] = {}  # by the file's own names
    for name, shape in expected.items():
        if name in sources:
            wanted |= {stored: sources[name].stored_shape(shape) for stored in sources[name].names}
        else:
            foreign = from_official(part.kind, part.layout, [name])
            wanted |= {part.prefix + stored: source.shape(expected) for stored, source in foreign.items()}
    found = {part.prefix + name: info for name, info in part.names.items()}
    shapes = {name: info.shape for name, info in found.items() if info.shape != wanted.get(name, info.shape)}
    types = {name: info.dtype for name, info in found.items() if info.dtype not in TYPES}
    problems = {
        "missing": [printable(name) for name in wanted if name not in found],
        "unexpected": [printable(name) for name in found if name not in wanted],
        "of another shape": [f"{name} {list(shape)} instead of {list(wanted[name])}" for name, shape in shapes.items()],
        "of a type that no weights have": [f"{printable(name)} {dtype}" for name, dtype in types.items()],
    }
    said = [f"{len(names)} {what} ({first_of(names, str)})" for what, names in problems.items() if names]
    if said:
        raise CascadeError(
            f"{file} does not fit {KINDS[part.kind].name} {part.preset}: of {len(wanted)} tensors,"
            f" {'; '.join(said)}. Use a complete file of this model"
        )
    return {name: sources[name] for name in expected}


def choose_dtype(dtype: str, kind: str, device: torch.device) -> torch.dtype:
    """The type of the weights that `load` gives for this `dtype`, which may be "auto"; raises CascadeError."""
    if dtype in QUANTISED_NAMES and kind not in LARGE_KINDS:
        raise CascadeError(f"dtype: {dtype} is for Stage B and C, whose weights are large: choose auto")
    if dtype == "auto" or dtype in QUANTISED_NAMES:
        if device.type == "cpu":
            return torch.float32
        fast, old = KINDS[kind].gpu_dtypes
        has_bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
        return DTYPES[fast if has_bfloat16 else old]
    if dtype not in DTYPES:
        raise CascadeError(f"dtype: expected auto, {', '.join((*DTYPES, *QUANTISED_NAMES))}, found {dtype!r}")
    return DTYPES[dtype]


def _tokenizer(part: Part, path: Path, others: Sequence[Path]) -> Tokenizer | None:
    """The vocabulary in the file's metadata, else the tokenizer beside the file, else one of the `others`."""
    if part.kind != "text_encoder" or part.config is None:
        return None
    length = part.config.max_positions
    return WordTokenizer(part.vocabulary, length) if part.vocabulary else load_tokenizer(path, length, others)
