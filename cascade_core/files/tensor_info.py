"""One tensor as a header describes it, and the types of tensors by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

_NAMES = {
    4: ("F4",),
    6: ("F6_E2M3", "F6_E3M2"),
    8: ("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"),
    16: ("I16", "U16", "F16", "BF16"),
    32: ("I32", "U32", "F32"),
    64: ("C64", "F64", "I64", "U64"),
}
BITS = {name: bits for bits, names in _NAMES.items() for name in names}  # safetensors' types -> bits of one value
PRECISIONS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}  # the floating ones that weights come in -> torch's names


@dataclass(frozen=True)
class TensorInfo:
    dtype: str  # safetensors' name: a key of BITS
    shape: tuple[int, ...]
    file: Path
    start: int | None = field(default=None, compare=False)  # its first byte in a safetensors file
