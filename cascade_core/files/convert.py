"""A model's file in another layout or precision: the header first, then one tensor at a time, never the whole model.

What is written appears under its name when it is complete, or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import CascadeError
from ..kinds import KINDS, LARGE_KINDS, QUANTISED_NAMES
from ..models.blocks import TimestepBlock, large_weights
from ..models.config import PRESETS
from ..models.quantised import FORMATS, Quantised, Rotations, group_of, quantise
from ..wording import first_of
from .atomic import sweep, whole
from .diffusers_config import write_config
from .dtypes import DTYPES, NAMES, TYPES
from .header import Header
from .identify import find_part, identify
from .layouts import Shape, Source, chain, from_official
from .load import build, find_sources
from .metadata import METADATA_KEY, PUBLISHED_FAMILY, Entry, write_entry
from .model_part import Part
from .quantised import TOLD, QuantisedLayer, settings_tensor
from .shards import SAFETENSORS
from .signatures import STAGE_B_PROBE
from .tensors import read_pieces, write_tensors

LAYOUTS = ("official", "comfyui", "diffusers")


@dataclass(frozen=True)
class Conversion:
    files: tuple[Path, ...]  # files and folders that were written
    left_out: tuple[str, ...]  # kinds that the layout does not know


@dataclass(frozen=True)
class _Plan:
    """One part on its way: which tensors it gets, and from where."""

    header: Header
    path: Path
    specs: dict[str, tuple[str, Shape]]
    sources: dict[str, Source]
    metadata: dict[str, str]
    config: dict[str, Any] | None  # config.json, of a folder
    quantised: dict[str, str]  # weight -> the name of kinds.QUANTISED_NAMES as which it is written
    told: dict[str, Tensor]  # weight that is quantised in the file and stays so -> its settings

    @property
    def size(self) -> int:
        return sum(prod(shape) * TYPES[dtype].itemsize for dtype, shape in self.specs.values())


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    layout: str,
    dtype: str | None = None,
    kind: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write the model in `source`, a file or folder of any layout, to `target` in one of LAYOUTS.

    "comfyui" is the file of one network with q, k and v apart; text encoders have there the names of transformers.
    target: a .safetensors file, or for "diffusers" a component's folder with its config.json. Of a source with several
    parts `kind` chooses one; else all are written into the folder `target`, each in a file or folder of its own.
    dtype: one of DTYPES, for what is floating point; None keeps what there is, but quantised weights are decoded, into
    bfloat16, in other layouts than "comfyui"; or one of kinds.QUANTISED_NAMES, for the large weights of Stage B and C
    in the layout "comfyui", where the others become bfloat16 if they are wider. progress: is called with the bytes that
    are written and all there will be. Raises CascadeError; then nothing of a file that was not complete is left.
    """
    source, target = Path(source), Path(target)
    if layout not in LAYOUTS:
        raise CascadeError(f"layout: expected {', '.join(LAYOUTS)}, found {layout!r}")
    if dtype is not None and dtype not in (*DTYPES, *QUANTISED_NAMES):
        raise CascadeError(f"dtype: expected {', '.join((*DTYPES, *QUANTISED_NAMES))}, found {dtype!r}")
    if dtype in QUANTISED_NAMES and layout != "comfyui":
        raise CascadeError(f"dtype: {dtype} is a format of ComfyUI's: expected the layout comfyui, found {layout}")
    parts = identify(source)
    if kind is not None:
        parts = (find_part(parts, kind, source.name),)
    if dtype in QUANTISED_NAMES and not any(part.kind in LARGE_KINDS for part in parts):
        raise CascadeError(f"dtype: {dtype} is for Stage B and C, whose weights are large: {source.name} holds neither")
    several = len(parts) > 1
    left_out = tuple(part.kind for part in parts if layout == "diffusers" and not KINDS[part.kind].diffusers_folder)
    if len(left_out) == len(parts):
        kinds = " and ".join(KINDS[kind].name for kind in left_out)
        raise CascadeError(f"{source.name}: diffusers' layout has no place for the {kinds}: choose another layout")
    plans = [
        _plan(part, source, _place(part.kind, target, layout) if several else target, layout, dtype)
        for part in parts
        if part.kind not in left_out
    ]
    for plan in plans:
        _check_target(plan, overwrite)

    size, done = sum(plan.size for plan in plans), 0

    def count(written: int) -> None:
        nonlocal done
        done += written
        if progress:
            progress(done, size)

    for plan in plans:
        _write(plan, count)
    return Conversion(tuple(plan.path for plan in plans), left_out)


def _place(kind: str, folder: Path, layout: str) -> Path:
    """The file or folder of one of several parts."""
    return folder / (KINDS[kind].diffusers_folder if layout == "diffusers" else f"{kind}.safetensors")


def _plan(part: Part, source: Path, path: Path, layout: str, dtype: str | None) -> _Plan:
    if part.config is None:
        networks = ", ".join(KINDS[kind].name for kind in PRESETS)
        raise CascadeError(f"{source.name} is a {KINDS[part.kind].name}: only {networks} have other layouts")
    if dtype in QUANTISED_NAMES and part.kind not in LARGE_KINDS:
        dtype = None
    config = write_config(part.kind, part.config) if layout == "diffusers" else None
    stored = find_sources(part, source.name, build(part, source.name))
    # ComfyUI's loose text encoders have our names; only those within its all-in-one files have others.
    names = "official" if part.kind == "text_encoder" and layout == "comfyui" else layout
    sources = {name: chain(new, stored) for name, new in from_official(part.kind, names, stored).items()}
    quantised = _to_quantise(part, names, dtype) if dtype in QUANTISED_NAMES else {}
    of_file = dict(part.header.quantised) if layout == "comfyui" and dtype is None else {}
    kept = {name: of_file[one.names[0]] for name, one in sources.items() if one.plain and one.names[0] in of_file}
    told = {name: settings_tensor(layer.settings) for name, layer in kept.items()}
    for name, layer in kept.items():
        ends = FORMATS[layer.format].NAMES
        sources |= {name.removesuffix("weight") + ends[key]: Source((stored,)) for key, stored in layer.names.items()}
    header = _as_stored(part.header, kept.values())
    specs: dict[str, tuple[str, Shape]] = {}
    for name, one in sources.items():
        infos = {piece: header.tensors[piece] for piece in one.names}
        found = max((info.dtype for info in infos.values()), key=lambda known: TYPES[known].itemsize)
        wanted = NAMES[DTYPES[dtype]] if dtype in DTYPES and TYPES[found].is_floating_point else found
        if dtype in QUANTISED_NAMES and TYPES[found].is_floating_point and TYPES[found].itemsize > 2:
            wanted = "BF16"
        specs[name] = wanted, one.shape({piece: info.shape for piece, info in infos.items()})
        if name in quantised:
            layer = name.removesuffix("weight")
            specs |= {layer + end: spec for end, spec in _quantised_specs(specs[name][1], quantised[name]).items()}
        if name in told:
            specs[name.removesuffix("weight") + TOLD] = "U8", tuple(told[name].shape)
    return _Plan(header, path, specs, sources, _metadata(part), config, quantised, told)


def _as_stored(header: Header, layers: Iterable[QuantisedLayer]) -> Header:
    """The header with the file's own tensors of these layers."""
    own = {name: header.stored[name] for layer in layers for name in layer.names.values()}
    others = {name: layer for name, layer in header.quantised.items() if name not in own}
    return replace(header, tensors={**header.tensors, **own}, quantised=others)


def _to_quantise(part: Part, layout: str, dtype: str) -> dict[str, str]:
    """The weights of a part that are quantised, by the layout's names, and as what.

    4 bits are for large weights alone: timestep mappers, 50 million numbers of the 3.6B, are of 8, and so is the one
    weight by whose columns ComfyUI tells the sizes of Stage B apart. What is no large weight is decoded by `load`.
    """
    module = build(part, "")
    large = [name for name in large_weights(module) if group_of(module.get_parameter(name).shape[1])]
    modules = cast(Iterable[tuple[str, nn.Module]], module.named_modules())
    mappers = [f"{path}.{name}.weight" for path, m in modules if isinstance(m, TimestepBlock) for name in m.names]
    eight = dtype if dtype == "fp8" else "int8"
    found = dict.fromkeys(from_official(part.kind, layout, large), dtype) | dict.fromkeys(mappers, eight)
    return found | ({STAGE_B_PROBE[0]: eight} if part.kind == "stage_b" and STAGE_B_PROBE[0] in found else {})


def _quantised(weight: Tensor, name: str, dtype: str) -> dict[str, Tensor]:
    """The tensors of a quantised layer, by their names in the file; the weight's own is the first."""
    layer = name.removesuffix("weight")
    return {layer + end: tensor for end, tensor in _layer_of(quantise(weight, dtype, Rotations())).items()}


@cache
def _quantised_specs(shape: Shape, dtype: str) -> dict[str, tuple[str, Shape]]:
    """Types and shapes of these tensors for a weight of this shape, by their last names."""
    made = quantise(torch.empty(shape, device="meta"), dtype, Rotations(device="meta"))
    return {end: (NAMES[tensor.dtype], tuple(tensor.shape)) for end, tensor in _layer_of(made).items()}


def _layer_of(weight: Quantised) -> dict[str, Tensor]:
    return {**weight.to_file(), TOLD: settings_tensor(weight.settings())}


def _metadata(part: Part) -> dict[str, str]:
    """Metadata for what names and shapes alone do not tell."""
    entry = Entry(part.kind, part.config, part.family, part.target, part.x0_clamp, part.vocabulary)
    published = (preset for name, preset in PRESETS[part.kind].items() if name != "tiny")
    if any(entry == Entry(part.kind, preset, PUBLISHED_FAMILY) for preset in published):
        return {"format": "pt"}
    return {"format": "pt", METADATA_KEY: write_entry(entry)}


def _weights(plan: _Plan) -> Path:
    """The file with the tensors."""
    if plan.config is None:
        return plan.path
    stem = "diffusion_pytorch_model" if "_class_name" in plan.config else "model"
    return plan.path / f"{stem}.safetensors"


def _check_target(plan: _Plan, overwrite: bool) -> None:
    path = plan.path
    sweep(_weights(plan).parent)
    if plan.config is None and path.suffix not in SAFETENSORS:
        raise CascadeError(f"{path}: expected a file name that ends in {SAFETENSORS[0]}; no loader finds others")
    if plan.config is None and path.is_dir():
        raise CascadeError(f"{path} is a folder: expected the name of a file in it")
    if plan.config is not None and path.exists() and not path.is_dir():
        raise CascadeError(f"{path} is a file: diffusers' layout is a folder; name one")
    if plan.config is not None and path.is_dir():
        others = sorted({file.name for file in path.iterdir()} - {"config.json", _weights(plan).name})
        if others:
            raise CascadeError(f"{path} holds other files ({first_of(others)}): name another folder")
    if not overwrite and (path.exists() if plan.config is None else path.is_dir() and any(path.iterdir())):
        raise CascadeError(f"{path} exists: name another target, or say that it may be replaced")


def _write(plan: _Plan, count: Callable[[int], None]) -> None:
    weights = _weights(plan)
    made = _missing_folders(weights.parent)

    def read(names: Sequence[str]) -> Iterator[Sequence[Tensor]]:
        whole = [name for name in names if name in plan.sources]
        pieces_of = read_pieces(plan.header, [plan.sources[name] for name in whole])
        for name, pieces in zip(whole, pieces_of, strict=True):
            if name in plan.quantised:
                weight = torch.cat([piece.float() for piece in pieces])
                yield from ([tensor] for tensor in _quantised(weight, name, plan.quantised[name]).values())
            else:
                yield pieces
            if name in plan.told:
                yield [plan.told[name]]

    try:
        with ExitStack() as stack:
            weights.parent.mkdir(parents=True, exist_ok=True)
            if plan.config is not None:
                text = json.dumps(plan.config, indent=2) + "\n"
                stack.enter_context(whole(plan.path / "config.json")).write_text(text, encoding="utf-8")
            write_tensors(stack.enter_context(whole(weights)), plan.specs, read, plan.metadata, count)
    except BaseException as error:  # Ctrl-C, too
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, OSError):
            raise CascadeError(f"{plan.path} cannot be written: {error.strerror or error}") from error
        raise


def _missing_folders(folder: Path) -> list[Path]:
    """The folders that are still to be made for `folder`, the innermost first."""
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    return missing
