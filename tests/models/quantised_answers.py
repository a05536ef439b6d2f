"""Write quantised_answers.safetensors: what comfy-kitchen makes of a weight, and what it reads from it.

Run with a Python that has comfy-kitchen (0.2.31 was used): python tests/models/quantised_answers.py

The weight's numbers are of few bits, so that the rotation's sums are exact in any order.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

ROWS, COLUMNS = 4, 256
GROUPS = (256, 64)


def weight() -> Tensor:
    """float32 (ROWS, COLUMNS), with columns of outliers, and a row of zeros."""
    numbers = (torch.arange(ROWS * COLUMNS) * 7919 % 257 - 128).float().view(ROWS, COLUMNS) / 1024
    numbers[:, ::97] *= 8
    numbers[3] = 0
    return numbers


def table() -> Tensor:
    """Ours, which comfy-kitchen takes as it takes any."""
    upper = torch.tensor((0.0508, 0.1539, 0.2603, 0.3728, 0.495, 0.6309, 0.7896, 0.9837))
    return torch.cat([-upper.flip(0), upper])


def main() -> None:
    import comfy_kitchen.tensor as kitchen  # pyright: ignore[reportMissingImports]

    found: dict[str, Tensor] = {}
    for group in GROUPS:
        rotated = {"per_channel": True, "convrot": True, "convrot_groupsize": group}
        data, params = kitchen.TensorWiseINT8Layout.quantize(weight(), **rotated)
        found |= {f"int8.{group}.data": data, f"int8.{group}.scale": params.scale}
        found[f"int8.{group}.read"] = kitchen.TensorWiseINT8Layout.dequantize(data, params).half()
        layout = kitchen.AsymW4A8Int8Layout
        data, params = layout.quantize(weight(), convrot_groupsize=group, codebook_tensor=table())
        found |= {f"int4.{group}.data": data, f"int4.{group}.scale": params.s_channel}
        found |= {f"int4.{group}.blocks": params.scale, f"int4.{group}.read": layout.dequantize(data, params).half()}
    data, params = kitchen.TensorCoreFP8Layout.quantize(weight())
    found |= {"fp8.data": data, "fp8.scale": params.scale}
    save_file(found, Path(__file__).with_suffix(".safetensors"))


if __name__ == "__main__":
    main()
