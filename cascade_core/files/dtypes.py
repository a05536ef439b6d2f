"""Types of tensors: safetensors' names and people's, and torch's."""

import torch

from ..kinds import DTYPE_NAMES
from .tensor_info import PRECISIONS

TYPES: dict[str, torch.dtype] = {
    **{name: getattr(torch, precision) for name, precision in PRECISIONS.items()},
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}  # by safetensors' names
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}
NAMES = {dtype: name for name, dtype in TYPES.items()}
