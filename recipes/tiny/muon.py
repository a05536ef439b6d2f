"""Muon for many matrices at once: those of one shape are one batch, as on a GPU every operation is a launch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

FOREACH: Any = torch  # lists of tensors in few launches, as torch's own optimisers have it
MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the quintic iteration (Jordan 2024)
ITERATIONS = 5
SMALLEST_NORM = 1e-7


class StackedMuon(torch.optim.Optimizer):
    """torch.optim.Muon with Nesterov momentum and steps scaled to AdamW's (Liu et al. 2025), to rounding."""

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float | Tensor, weight_decay: float) -> None:
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for matrix in matrices:
            shapes.setdefault(matrix.shape, []).append(matrix)
        groups: list[dict[str, Any]] = [{"params": alike} for alike in shapes.values()]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A step by the gradients, which all matrices have."""
        for group in self.param_groups:
            matrices: list[Tensor] = group["params"]
            state = self.state[matrices[0]]
            gradient = torch.stack([matrix.grad for matrix in matrices if matrix.grad is not None])
            if not state:
                state["momentum"] = torch.zeros_like(gradient)
            state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            update = orthogonal(gradient.lerp(state["momentum"], MOMENTUM)).to(gradient.dtype)
            rate = group["lr"]  # a number, or a tensor that a recorded step reads anew
            FOREACH._foreach_mul_(matrices, 1 - rate * group["weight_decay"])
            FOREACH._foreach_sub_(matrices, list(update * (rate * 0.2 * math.sqrt(max(matrices[0].shape)))))


def orthogonal(matrices: Tensor) -> Tensor:
    """Each of the matrices (N, A, B) with its singular values brought near 1, in bfloat16."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / x.flatten(1).norm(dim=1).clamp(min=SMALLEST_NORM)[:, None, None]
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
