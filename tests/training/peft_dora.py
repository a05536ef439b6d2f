"""Answers of the package peft, recorded once, so that the tests need no PEFT: DoRA and its gradients.

PEFT measures rows, we measure columns, so it is asked of the transposed weight, whose rows are these columns. Writes
peft_dora.safetensors beside this file: a weight (out, in), a low rank and magnitudes, the weight that they make, and
the gradients of sum(G * that weight). Run with peft 0.21.2 installed:

    python tests/training/peft_dora.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

ANSWERS = Path(__file__).with_suffix(".safetensors")
OUT, IN, RANK, ALPHA = 12, 8, 3, 2.0


def main() -> None:
    from peft import LoraConfig, get_peft_model  # type: ignore[import-not-found]

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(OUT, IN, bias=False))  # its weight is (in, out)
    weight = net[0].weight.detach().T.clone()
    made: Any = get_peft_model(net, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"], use_dora=True))  # type: ignore[arg-type]
    layer = made.base_model.model[0]
    down, up = layer.lora_A.default.weight, layer.lora_B.default.weight  # (r, out), (in, r)
    magnitude = layer.lora_magnitude_vector.default.weight
    with torch.no_grad():
        up.normal_()
        magnitude.mul_(torch.rand(IN) + 0.5)
    merged = layer(torch.eye(OUT))  # (out, in): x W' of every x
    gradient = torch.randn(OUT, IN)
    (merged * gradient).sum().backward()
    answers = {"weight": weight, "merged": merged, "gradient": gradient, "magnitude": magnitude}
    answers |= {"down": up.T, "up": down.T, "magnitude.grad": magnitude.grad}
    answers |= {"down.grad": up.grad.T, "up.grad": down.grad.T}
    kept = {name: tensor.detach().clone().contiguous() for name, tensor in answers.items()}
    save_file(kept, ANSWERS, {"package": "peft 0.21.2", "scale": str(ALPHA / RANK)})


if __name__ == "__main__":
    main()
