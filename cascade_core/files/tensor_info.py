"""One tensor as a header describes it, and the types of tensors by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}  # safetensors' names of types -> bits of one value
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
