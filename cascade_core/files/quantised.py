"""Quantised weights in files: ComfyUI's layers are read, all others told by the names that stand beside them.

A layer is a weight, its scales and a few bytes of JSON (`comfy_quant`) that say its format; or the metadata say it for
all; or it is float8 with a scale, as in older files. `plain` shows a header with such weights as if they were ordinary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, cast

from ..errors import CascadeError
from ..reading import parse_json
from ..wording import printable
from .header import Header, open_tensors
from .tensor_info import TensorInfo
from .wording import damaged

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.quantised import Quantised, Rotations

Layers = Mapping[str, Mapping[str, Any]]  # what is told of each, by its name

COMFYUI_ENTRY = "_quantization_metadata"  # ComfyUI's metadata entry, in place of a tensor beside each layer
TOLD, OLD_MARK = "comfy_quant", "scaled_fp8"
OLD_NAMES = {"scale_weight": "weight_scale", "scale_input": "input_scale"}  # in files with the old mark
UNUSED = ("input_scale",)  # tensors of a layer that are for float8 products, which are not made here
MOST_TOLD = 4096  # bytes of a layer's JSON
STANDS_FOR = "BF16"  # the type that a quantised weight is shown as
PEOPLES = {
    "int8_tensorwise": "int8",
    "float8_e4m3fn": "fp8",
    "float8_e5m2": "fp8 (e5m2)",
    "asym_w4a8_int8": "int4",
    "awq_w4a16": "int4 (awq)",
}  # names of the formats that are read
TYPES = {"float8_e4m3fn": ("F8_E4M3",), "float8_e5m2": ("F8_E5M2",)}  # of the weight; the others are int8
EXPECTED = (
    "expected bfloat16, float16, float32 or float8, or ComfyUI's int8_tensorwise, asym_w4a8_int8, awq_w4a16 or float8"
)
_FORMATS = (
    (r"(.*\.)?comfy_quant$", "ComfyUI's quantised format (comfy_quant)"),
    (r".*\.bitsandbytes__nf4$", "4-bit nf4 (bitsandbytes)"),
    (r".*\.bitsandbytes__fp4$", "4-bit fp4 (bitsandbytes)"),
    (r".*\.SCB$", "8-bit integers (bitsandbytes)"),
    (r".*\.(wscales|smooth_factor(_orig)?)$", "4-bit SVDQuant (nunchaku)"),
    (r".*\.(qweight|qzeros)$", "4-bit integers (GPTQ or AWQ)"),
    (r"(.*\.)?(scaled_fp8|scale_weight|weight_scale(_2)?)$", "scaled float8"),
)


def name_quantisation(names: Iterable[str], metadata: Mapping[str, str]) -> str | None:
    """The format of weights with these names beside them; None for plain ones."""
    names = list(names)
    if COMFYUI_ENTRY in metadata:
        return _FORMATS[0][1]
    return next((what for pattern, what in _FORMATS if any(re.match(pattern, name) for name in names)), None)


@dataclass(frozen=True)
class QuantisedLayer:
    """One quantised weight of a file."""

    format: str  # a key of PEOPLES
    names: Mapping[str, str]  # its tensors, by the field that they become
    shape: tuple[int, int]
    group: int  # of ConvRot; 0 without
    settings: Mapping[str, Any]  # as the file tells them

    def read(self, get: Callable[[str], Tensor], rotations: Rotations | None = None) -> Quantised:
        """The weight, to compute in the type of `rotations`; `get` gives the file's own tensors."""
        from ..models.quantised import FORMATS, Rotations

        tensors = {field: get(name) for field, name in self.names.items()}
        return FORMATS[self.format].from_file(tensors, self.group, rotations or Rotations())


def plain(header: Header) -> Header:
    """The header with quantised weights of ComfyUI's formats as ordinary ones; others stay as they are.

    `quantised` says of each what it is, `stored` has its tensors. Raises CascadeError where those do not fit together.
    """
    told = _told(header)
    layers: dict[str, QuantisedLayer] = {}
    tensors = dict(header.tensors)
    stored: dict[str, TensorInfo] = {}
    for layer, settings in told.items():
        found = _layer(header, layer, settings)
        if found is None:
            return header  # a format that is not read: refused by its name
        name = f"{layer}.weight"
        layers[name] = found
        own = {name, *found.names.values(), *(f"{layer}.{end}" for end in (TOLD, *UNUSED, *OLD_NAMES))}
        stored |= {name: tensors.pop(name) for name in own if name in tensors}
        tensors[name] = TensorInfo(STANDS_FOR, found.shape, header.tensors[name].file)
    if not layers:
        return header
    tensors = {name: info for name, info in tensors.items() if not _is_mark(name)}
    metadata = {key: value for key, value in header.metadata.items() if key != COMFYUI_ENTRY}
    return replace(header, tensors=tensors, metadata=metadata, quantised=layers, stored=stored)


def _is_mark(name: str) -> bool:
    return name.rpartition(".")[2] == OLD_MARK


def _told(header: Header) -> Layers:
    """What the file says of its quantised layers; raises CascadeError where it says nothing that can be read."""
    try:
        if COMFYUI_ENTRY in header.metadata:
            found: Any = parse_json(header.metadata[COMFYUI_ENTRY])
            return _objects(found["layers"])
        names = [name for name, info in header.tensors.items() if name.endswith(f".{TOLD}") and _is_short(info)]
        if names:
            with open_tensors(header) as get:
                said = {name: parse_json(get(name).numpy().tobytes().decode("utf-8")) for name in names}
            return _objects({name.removesuffix(f".{TOLD}"): value for name, value in said.items()})
    except (ValueError, KeyError, TypeError) as error:
        reason = "its quantised layers' formats are no JSON that is known" if isinstance(error, ValueError) else error
        raise CascadeError(damaged(header.path.name, printable(reason))) from error
    formats = {types[0]: name for name, types in TYPES.items()}
    scaled = {name.rpartition(".")[0] for name in header.tensors if name.endswith((".scale_weight", ".weight_scale"))}
    weights = {layer: header.tensors.get(f"{layer}.weight") for layer in scaled}
    return {layer: {"format": formats[info.dtype]} for layer, info in weights.items() if info and info.dtype in formats}


def _objects(found: Any) -> Layers:
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in cast(Any, found).values()):
        raise ValueError("expected JSON objects")
    return cast(Layers, found)


def _is_short(info: TensorInfo) -> bool:
    return info.dtype == "U8" and prod(info.shape) <= MOST_TOLD


def _layer(header: Header, layer: str, settings: Mapping[str, Any]) -> QuantisedLayer | None:
    """The layer of these settings; None for a format that is not read."""
    from ..models.quantised import FORMATS

    form = settings.get("format")
    weight = header.tensors.get(f"{layer}.weight")
    if form not in PEOPLES or weight is None or f"{layer}.pre_quant_scale" in header.tensors:
        return None
    nested = settings.get("params")
    settings = {**(cast(Any, nested) if isinstance(nested, dict) else {}), **settings}
    names: dict[str, str] = {}
    for field, end in FORMATS[form].NAMES.items():
        ends = [end, *(old for old, new in OLD_NAMES.items() if new == end)]
        found = next((name for name in (f"{layer}.{one}" for one in ends) if name in header.tensors), None)
        if found is not None:
            names[field] = found
    infos = {field: header.tensors[name] for field, name in names.items()}
    rotated = form == "asym_w4a8_int8" or (form == "int8_tensorwise" and settings.get("convrot"))
    group = settings.get("convrot_groupsize", 256) if rotated else 0
    rows, columns = (*weight.shape, 0, 0)[:2]
    shape = (rows, columns * FORMATS[form].PACKED)
    if len(weight.shape) != 2 or not _fits(form, {field: info.shape for field, info in infos.items()}, shape, group):
        shapes = ", ".join(f"{names[field].rpartition('.')[2]} {list(info.shape)}" for field, info in infos.items())
        what = f"{printable(layer)} of the format {form} and group {group!r:.20} has {shapes}"
        raise CascadeError(damaged(header.path.name, f"{what}, which do not fit together"))
    if weight.dtype not in TYPES.get(form, ("I8", "U8")):
        raise CascadeError(damaged(header.path.name, f"{printable(layer)} of the format {form} is {weight.dtype}"))
    return QuantisedLayer(form, names, shape, group, settings)


def _fits(form: str, shapes: Mapping[str, tuple[int, ...]], shape: tuple[int, int], group: Any) -> bool:
    """Do the tensors of a layer of this shape belong together?"""
    rows, columns = shape
    if type(group) is not int or group < 0 or (group and (columns % group or 4 ** (group.bit_length() // 2) != group)):
        return False
    scale, blocks, zeros = (shapes.get(field, ()) for field in ("scale", "blocks", "zeros"))
    if form == "asym_w4a8_int8":
        fits = scale == (rows,) and len(blocks) == 2 and blocks[0] == rows and blocks[1] and not columns % blocks[1]
        return bool(fits) and shapes.get("codebook", (16,)) == (16,)
    if form == "awq_w4a16":
        return len(scale) == 2 and scale[1] == rows and scale == zeros and scale[0] > 0 and not columns % scale[0]
    return "scale" in shapes and scale in ((), (1,), (1, 1), (rows,), (rows, 1))


def settings_tensor(settings: Mapping[str, Any]) -> Tensor:
    """The JSON beside a layer, as ComfyUI writes it."""
    import torch

    return torch.tensor(list(json.dumps(settings).encode()), dtype=torch.uint8)


def name_precision(header: Header, names: Iterable[str]) -> str | None:
    """People's word for the format of most of these weights that are quantised; None where none is."""
    sizes: dict[str, int] = {}
    for name in names:
        layer = header.quantised.get(name)
        if layer is not None:
            sizes[PEOPLES[layer.format]] = sizes.get(PEOPLES[layer.format], 0) + prod(layer.shape)
    return max(sizes, key=lambda word: sizes[word]) if sizes else None
