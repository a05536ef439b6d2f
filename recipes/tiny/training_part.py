"""A part of the recipe, and the losses that parts share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cascade_core.models.linear import has_arithmetic
from ...cascade_core.sampling.process import TARGETS, Process
from ...cascade_core.training.denoising import Noised
from ...cascade_core.training.loop import Loss
from ...cascade_core.training.plan import Plan
from .attributes import ATTRIBUTE_SIZES
from .networks import Network

CPU = torch.device("cpu")
PROCESS = Process(TARGETS["v"])
WARM_UP = 300  # steps after which BatchNorm keeps its statistics: those of a small batch blur the colours
GRID = 1 << 16  # times that are told apart


class WarmUp:
    """Lets the BatchNorms of a module follow the batches for their first WARM_UP steps; call it before each."""

    _steps: int | None = None

    def __init__(self, module: nn.Module) -> None:
        self.norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]

    def __call__(self) -> None:
        if self._steps is None:  # asked once, when a state was read: a GPU would have to be waited for
            self._steps = int(self.norms[0].get_buffer("num_batches_tracked")) if self.norms else WARM_UP
        for norm in self.norms:
            norm.train(self._steps < WARM_UP)
        self._steps += 1

    @property
    def over(self) -> bool:
        """Will nothing change from now on?"""
        return self._steps is not None and self._steps > WARM_UP


@dataclass(frozen=True)
class Part(Generic[Network]):
    """One stretch of training: what is trained, on what loss, how long, and how its result is shipped."""

    module: Network
    loss: Loss  # most draw by torch's own generators, and need not the one that they are given
    plan: Plan
    ship: Callable[[Network], None]
    batch: int
    warm_up: WarmUp | None = None  # what the loss begins with


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of all attributes; logits (B, sum of ATTRIBUTE_SIZES), labels (B, n)."""
    parts = torch.split(logits, list(ATTRIBUTE_SIZES), dim=1)
    losses = [F.cross_entropy(part, labels[:, i]) for i, part in enumerate(parts)]
    return torch.stack(losses).mean()


def autocast(device: torch.device, enabled: bool = True) -> torch.autocast:
    """Matrix products in bfloat16 on this device; not on a processor without it, which takes six times as long."""
    has_it = device.type != "cpu" or has_arithmetic(torch.bfloat16)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and has_it)


class Denoising:
    """Noise at random times and the loss of what a network makes of it, on a device.

    The process is computed on the CPU, so its numbers lie in a table of GRID times.
    """

    def __init__(self, device: torch.device = CPU) -> None:
        self.device = device
        grid = (torch.arange(GRID + 1) / GRID).clamp(0.001, 1)
        a, b = PROCESS.coefficients(grid)
        condition = PROCESS.schedule.noise_condition(PROCESS.schedule.log_snr(grid))
        self._table = torch.stack([a.flatten(), b.flatten(), condition]).to(device)

    def times(self, batch: int, noisy: float) -> Tensor:
        """Times (B,) in 0.001..1, a share of them from the noisiest tenth."""
        early, early_or_late, drawn = torch.rand(3, batch, device=self.device)
        return torch.where(early_or_late < noisy, 1 - 0.1 * early, drawn)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """a and b (B, 1, 1, 1) and the noise condition (B,) at times (B,)."""
        a, b, condition = self._table[:, (t * GRID).round().long()]
        return a.view(-1, 1, 1, 1), b.view(-1, 1, 1, 1), condition

    def noised(self, clean: Tensor, t: Tensor) -> Noised:
        """Latents (B, C, h, w) with noise of times (B,), and the v that a network should find."""
        a, b, condition = self.coefficients(t)
        noise = torch.randn_like(clean)
        target = PROCESS.target.of(clean, noise, a, b)
        log_snr = 2 * (a / b).log().flatten()
        return Noised(a * clean + b * noise, condition, target, torch.ones_like(t), log_snr)

    def loss(
        self, clean: Tensor, t: Tensor, predict: Callable[[Tensor, Tensor], Tensor], weight: Tensor | None = None
    ) -> Tensor:
        """Mean squared error of the network's v; predict(x, noise condition). weight: of cells, (B, 1, h, w)."""
        noised = self.noised(clean, t)
        with autocast(self.device):
            v = predict(noised.x, noised.condition)
        error = (v.float() - noised.target).square()
        return (error if weight is None else error * weight).mean()
