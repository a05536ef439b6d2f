"""Quantised weights, told by the names that stand beside them; none of their formats is read here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

COMFYUI_ENTRY = "_quantization_metadata"  # ComfyUI's metadata entry, in place of a tensor beside each layer
EXPECTED = "expected bfloat16, float16, float32 or float8 without scales"
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
