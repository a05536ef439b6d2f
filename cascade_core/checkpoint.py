"""Files to models and back.

`load` reads the header, learns what the file is, builds the network without values (on torch's meta device) and hands
it the file's own pages: nothing is copied until a weight is touched, unless a cast was asked for. Names and shapes
must agree exactly. Knows no folders: callers find the files.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]  (half typed)
from torch import Tensor, nn

from .errors import CascadeError
from .identify import METADATA_KEY, PUBLISHED_FAMILY, Header, Identity, identify, read_header
from .memory import Placement, StayPut
from .models.handle import Handle, Target
from .sampling.family import KINDS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NETWORKS = {
    "stage_c": ("stage_c", "StageC"),
    "stage_b": ("stage_b", "StageB"),
    "stage_a": ("stage_a", "StageA"),
    "effnet": ("effnet", "Effnet"),
    "previewer": ("previewer", "Previewer"),
    "text_encoder": ("text", "TextEncoder"),
    "image_encoder": ("vision", "ImageEncoder"),
}  # kind -> module of models/ and class; imported when used: no run needs all of them
STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # safetensors' names of DTYPES
SHOWN = 4  # of the names that disagree


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
    header = read_header(path)
    identity = identify(header, path.name)
    if identity.kind != kind:
        found, wanted = KINDS[identity.kind], KINDS[kind]
        raise CascadeError(
            f"{path.name} is a {found} file ({identity.preset}): choose it in the {found} loader,"
            f" and a {wanted} file in the {wanted} loader"
        )
    weights_dtype = _choose_dtype(dtype, kind, device)

    # The host runs nodes under inference_mode, whose tensors could never be trained.
    with torch.inference_mode(False), torch.no_grad():
        module = _build(identity, path, tokenizers)
        _check_names(module, header, identity, path)
        if weights:
            tensors = _read_tensors(path, header, identity, weights_dtype, device if placement is None else "cpu")
            module.load_state_dict(tensors, strict=True, assign=True)
            module.to(device if placement is None else "cpu")  # buffers that no file carries
    module.eval().requires_grad_(False)
    return Handle(
        module=module,
        kind=kind,
        name=name or path.name,
        family=identity.family,
        config=identity.config,
        target=identity.target,
        x0_clamp=identity.x0_clamp,
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
    entry: dict[str, Any] = {"kind": kind, "family": family, "config": asdict(config), "target": target}
    if x0_clamp is not None:
        entry["x0_clamp"] = x0_clamp
    if vocabulary is not None:
        entry["vocabulary"] = list(vocabulary)
    wanted = None if dtype is None else DTYPES[dtype]
    tensors = {key: _cast(tensor.detach(), wanted).contiguous() for key, tensor in module.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # what new files get here; safetensors' own are private
        save_file(tensors, temporary, {"format": "pt", METADATA_KEY: json.dumps(entry)})
        temporary.chmod(mode)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise CascadeError(f"{path} cannot be written: {error}") from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _build(identity: Identity, path: Path, tokenizers: Sequence[Path]) -> nn.Module:
    module, cls = NETWORKS[identity.kind]
    network: Callable[..., nn.Module] = getattr(import_module(f".models.{module}", __package__), cls)
    extra = (_tokenizer(identity, path, tokenizers),) if identity.kind == "text_encoder" else ()
    try:
        with torch.device("meta"):  # no memory, so initialisation computes nothing
            return network(identity.config, *extra)
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
        raise CascadeError(
            f"{path.name}: its metadata describes a {KINDS[identity.kind]} that cannot be built: {error}"
        ) from error


def _tokenizer(identity: Identity, path: Path, others: Sequence[Path]) -> Any:
    """The vocabulary in the file's metadata, else the tokenizer beside the file, else one of the `others`."""
    from .models.tokenizer import WordTokenizer, load_tokenizer

    length = identity.config.max_positions
    if identity.vocabulary:
        return WordTokenizer(identity.vocabulary, length)
    return load_tokenizer(path, length, others)


def _check_names(module: nn.Module, header: Header, identity: Identity, path: Path) -> None:
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    found = {key: info.shape for key, info in header.tensors.items() if key not in identity.ignored}
    shapes = [
        f"{key} {list(found[key])} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    problems = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "of another shape": shapes,
    }
    said = [f"{len(keys)} {what} ({_first(keys)})" for what, keys in problems.items() if keys]
    if said:
        raise CascadeError(
            f"{path.name} does not fit {KINDS[identity.kind]} {identity.preset}: of {len(expected)} tensors,"
            f" {'; '.join(said)}. Use a complete file of this model"
        )


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (", ..." if len(keys) > SHOWN else "")


def _read_tensors(
    path: Path, header: Header, identity: Identity, dtype: torch.dtype, device: str | torch.device
) -> dict[str, Tensor]:
    """The file's tensors, each cast before the next is read, so that no second model lies in memory.

    What is cast goes into one block: of many small pieces of memory the system would keep some when they are freed.
    """
    names = [key for key in header.tensors if key not in identity.ignored]
    sizes = {key: math.prod(header.tensors[key].shape) for key in names if _differs(header.tensors[key].dtype, dtype)}
    block = torch.empty(sum(map(_aligned, sizes.values())), dtype=dtype, device=device)
    tensors: dict[str, Tensor] = {}
    start = 0
    try:
        with cast(Any, safe_open)(path, framework="pt", device=str(device)) as file:
            for key in names:
                tensor: Tensor = file.get_tensor(key)
                if key in sizes:
                    tensor = block[start : start + sizes[key]].view(tensor.shape).copy_(tensor)
                    start += _aligned(sizes[key])
                tensors[key] = tensor
    except (SafetensorError, OSError) as error:
        raise CascadeError(f"{path.name} cannot be read: {error}") from error
    return tensors


def _differs(stored: str, dtype: torch.dtype) -> bool:
    """Whether safetensors' type `stored` is a floating one other than `dtype`; whole numbers stay what they are."""
    return "F" in stored and DTYPES.get(STORED.get(stored, "")) != dtype


def _aligned(elements: int) -> int:
    """Rounded up so that what comes next begins at a multiple of 64 bytes, whatever the type."""
    return -(-elements // 64) * 64


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """As `dtype`; whole numbers (counters of batches) stay what they are."""
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


def _choose_dtype(dtype: str, kind: str, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        if kind not in ("stage_b", "stage_c") or device.type == "cpu":
            return torch.float32
        if device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        return torch.float16 if kind == "stage_b" else torch.float32  # Stage C overflows in float16
    if dtype not in DTYPES:
        raise CascadeError(f"dtype: expected auto, {', '.join(DTYPES)}, found {dtype!r}")
    return DTYPES[dtype]
