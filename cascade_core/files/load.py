"""Files to models and back.

`load` learns from the header what a file or folder holds, builds the network without values (on torch's meta device)
and hands it the file's own pages: nothing is copied until a weight is touched, unless it must be cast or put together
from several. Names and shapes must agree exactly. Knows no folders of models: callers find the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CascadeError
from ..memory import Placement, StayPut
from ..models.handle import Handle, Target
from ..models.tokenizer import Tokenizer, WordTokenizer, load_tokenizer
from ..sampling.family import KINDS
from .atomic import whole
from .dtypes import NAMES, TYPES
from .header import open_tensors
from .identify import find_part, identify
from .layouts import Shape, Source, from_official, to_official
from .metadata import METADATA_KEY, PUBLISHED_FAMILY, Entry, write_entry
from .model_part import Part
from .tensors import read_pieces, write_tensors
from .wording import printable

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NETWORKS = {
    "stage_c": ("stage_c", "StageC"),
    "stage_b": ("stage_b", "StageB"),
    "stage_a": ("stage_a", "StageA"),
    "effnet": ("effnet", "Effnet"),
    "previewer": ("previewer", "Previewer"),
    "text_encoder": ("text", "TextEncoder"),
    "image_encoder": ("vision", "ImageEncoder"),
    "controlnet": ("controlnet", "ControlNet"),
}  # kind -> module of models/ and class; imported when used: no run needs all of them
SHOWN = 3  # of the names that disagree


def load(
    kind: str,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    dtype: str = "auto",
    device: str | torch.device = "cpu",
    placement: Placement | None = None,
    weights: bool = True,
    tokenizers: Sequence[Path] = (),
) -> Handle:
    """The `kind` that the file holds, ready to compute on `device`; without `weights` a handle for checks alone.

    name: what the person chose, for messages; the file's name if None. dtype: "float32", "bfloat16", "float16", or
    "auto": float32 on a CPU, elsewhere bfloat16 for Stage B and C (on old cards float16 and float32), float32 for the
    small parts. placement: who brings the weights to the device; they are loaded there at once if None. weights: False
    leaves the network on the meta device: what it is and fits is known from the header, and no tensor is read.
    tokenizers: folders that may hold CLIP's vocabulary, for a published text encoder that has none beside it. Raises
    CascadeError.
    """
    path, device = Path(path), torch.device(device)
    part = find_part(identify(path), kind, path.name)
    weights_dtype = choose_dtype(dtype, kind, device)

    # The host runs nodes under inference_mode, whose tensors could never be trained.
    with torch.inference_mode(False), torch.no_grad():
        module = build(part, path.name, _tokenizer(part, path, tokenizers))
        sources = find_sources(part, path.name, module)
        if weights:
            home = device if placement is None else torch.device("cpu")
            module.load_state_dict(_read_tensors(part, sources, weights_dtype, home), strict=True, assign=True)
            module.to(home)
    module.eval().requires_grad_(False)
    return Handle(
        module=module,
        kind=kind,
        name=name or path.name,
        family=part.family,
        config=part.config,
        target=part.target,
        x0_clamp=part.x0_clamp,
        dtype=weights_dtype,
        placement=placement or StayPut(),
    )


def save(
    path: str | os.PathLike[str],
    module: nn.Module,
    kind: str,
    *,
    family: str = PUBLISHED_FAMILY,
    target: Target = "epsilon",
    x0_clamp: float | None = None,
    vocabulary: Sequence[str] | None = None,
    dtype: str | None = None,
) -> None:
    """Write `module` with all that `load` needs to know; the file appears whole or not at all.

    dtype casts what is floating point; None keeps what there is. vocabulary: a text encoder's own words.
    """
    path = Path(path)
    config: Any = module.config
    words = None if vocabulary is None else tuple(vocabulary)
    entry = write_entry(Entry(kind, config, family, target, x0_clamp, words))
    state: dict[str, Tensor] = module.state_dict()
    specs = {
        name: (NAMES[DTYPES[dtype] if dtype and tensor.is_floating_point() else tensor.dtype], tuple(tensor.shape))
        for name, tensor in state.items()
    }
    with whole(path) as temporary:
        write_tensors(
            temporary, specs, lambda names: ([state[name]] for name in names), {"format": "pt", METADATA_KEY: entry}
        )


def build(part: Part, file: str, tokenizer: Tokenizer | None = None) -> nn.Module:
    """The part's network on the meta device; a text encoder of which only the names are wanted needs no tokenizer."""
    module, cls = NETWORKS[part.kind]
    network: Callable[..., nn.Module] = getattr(import_module(f"..models.{module}", __package__), cls)
    extra = (tokenizer or WordTokenizer((), 2),) if part.kind == "text_encoder" else ()
    try:
        with torch.device("meta"):  # no memory, so initialisation computes nothing
            return network(part.config, *extra)
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise CascadeError(f"{file} describes a {KINDS[part.kind]} that cannot be built: {reason}") from error


def find_sources(part: Part, file: str, module: nn.Module) -> dict[str, Source]:
    """Where in the file each tensor of `module` is; CascadeError unless all names and shapes agree."""
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
    said = [f"{len(names)} {what} ({_first(names)})" for what, names in problems.items() if names]
    if said:
        raise CascadeError(
            f"{file} does not fit {KINDS[part.kind]} {part.preset}: of {len(wanted)} tensors,"
            f" {'; '.join(said)}. Use a complete file of this model"
        )
    return {name: sources[name] for name in expected}


def choose_dtype(dtype: str, kind: str, device: torch.device) -> torch.dtype:
    """The type of the weights that `load` gives for this `dtype`, which may be "auto"; raises CascadeError."""
    if dtype == "auto":
        if kind not in ("stage_b", "stage_c") or device.type == "cpu":
            return torch.float32
        if device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        return torch.float16 if kind == "stage_b" else torch.float32  # Stage C overflows in float16
    if dtype not in DTYPES:
        raise CascadeError(f"dtype: expected auto, {', '.join(DTYPES)}, found {dtype!r}")
    return DTYPES[dtype]


def _tokenizer(part: Part, path: Path, others: Sequence[Path]) -> Tokenizer | None:
    """The vocabulary in the file's metadata, else the tokenizer beside the file, else one of the `others`."""
    if part.kind != "text_encoder" or part.config is None:
        return None
    length = part.config.max_positions
    return WordTokenizer(part.vocabulary, length) if part.vocabulary else load_tokenizer(path, length, others)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _read_tensors(
    part: Part, sources: Mapping[str, Source], dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """The network's tensors: the file's pages where they can serve as they are, else copies as `dtype` on `device`.

    Copies are made one by one, so that no second model lies in memory, and in one block: of many small pieces of
    memory the system would keep some when they are freed.
    """
    infos = part.header.tensors
    kept = {
        name: source
        for name, source in sources.items()
        if len(source.names) == 1 and not source.transposed and not _differs(infos[source.names[0]].dtype, dtype)
    }
    copied = {name: source for name, source in sources.items() if name not in kept}
    shapes = {
        name: source.shape({stored: infos[stored].shape for stored in source.names}) for name, source in copied.items()
    }
    block = torch.empty(sum(_aligned(prod(shape)) for shape in shapes.values()), dtype=dtype, device=device)
    tensors: dict[str, Tensor] = {}
    start = 0
    for (name, shape), pieces in zip(shapes.items(), read_pieces(part.header, copied.values()), strict=True):
        tensors[name] = block[start : start + prod(shape)].view(shape)
        start += _aligned(prod(shape))
        targets = tensors[name].chunk(len(pieces)) if len(pieces) > 1 else (tensors[name],)
        for target, piece in zip(targets, pieces, strict=True):
            target.copy_(piece)
    with open_tensors(part.header) as get:
        for name, source in kept.items():
            (tensors[name],) = source.pieces(get)
    return tensors


def _differs(stored: str, dtype: torch.dtype) -> bool:
    """Whether safetensors' type `stored` is a floating one other than `dtype`; whole numbers stay what they are."""
    return TYPES[stored].is_floating_point and TYPES[stored] != dtype


def _aligned(elements: int) -> int:
    """Rounded up so that what comes next begins at a multiple of 64 bytes, whatever the type."""
    return -(-elements // 64) * 64
