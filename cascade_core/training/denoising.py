"""The loss of all diffusion stages: how far the network's prediction is off, at random times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.handle import Handle
from ..sampling.process import TARGETS, Process
from . import sharded
from .loss_weight import LossWeight

NOISIEST = 0.1  # share of the times that are called the noisiest
Predict = Callable[[Tensor, Tensor], Tensor]  # x (B, C, h, w), noise condition (B,) -> the network's prediction


@dataclass(frozen=True, eq=False)
class Noised:
    """Clean latents with noise, and what the network should predict; all float32."""

    x: Tensor  # (B, C, h, w)
    condition: Tensor  # (B,)
    target: Tensor  # (B, C, h, w)
    weight: Tensor  # (B,)
    log_snr: Tensor  # (B,) logarithm of signal over noise
    area: Tensor | None = None  # (B, 1, h, w) how much the errors of each cell count; None: all alike

    def part(self, share: slice, device: torch.device) -> Noised:
        """A share of the rows, on another device."""
        every = self.x, self.condition, self.target, self.weight, self.log_snr, self.area
        return Noised(*(None if each is None else each[share].to(device) for each in every))  # pyright: ignore[reportArgumentType]  (the last alone may be None)


def add_noise(
    clean: Tensor,
    handle: Handle,
    loss_weight: LossWeight,
    noisy_share: float = 0.0,
    offset: float = 0.0,
    noise: Tensor | None = None,
) -> Noised:
    """Draw times and noise by torch's own generator, on the CPU, for clean latents (B, C, h, w) on it.

    Times are uniform in 0.001..1; noisy_share of them in the noisiest tenth, where the layout is decided. offset: of
    noise that is the same all over a channel. noise: instead of ordinary noise.
    """
    early = torch.rand(len(clean))
    if noisy_share:
        early = torch.where(torch.rand(len(clean)) < noisy_share, early * NOISIEST, early)
    times = (1 - early + 0.001).clamp(0.001, 1)
    noise = torch.randn_like(clean) if noise is None else noise
    if offset:
        noise = noise + offset * torch.randn(*clean.shape[:2], 1, 1)
    return noised_at(times, clean, noise, Process(TARGETS[handle.target]), loss_weight)


def noised_at(
    times: Tensor, clean: Tensor, noise: Tensor, process: Process, loss_weight: LossWeight | None = None
) -> Noised:
    """Clean latents (B, C, h, w) with this noise at times (B,). loss_weight: how errors count; None: all alike."""
    a, b = process.coefficients(times)
    log_snr = process.schedule.log_snr(times)
    condition = process.schedule.noise_condition(log_snr)
    weight = torch.ones(len(clean)) if loss_weight is None else loss_weight.of(log_snr)
    return Noised(a * clean + b * noise, condition, process.target.of(clean, noise, a, b), weight, log_snr)


def denoising_loss(noised: Noised, predict: Predict, loss_weight: LossWeight | None = None) -> Tensor:
    """The weighted mean squared error, a scalar; `loss_weight` learns from the errors of all processes.

    Without gradients, where nothing is learned, all errors count alike.
    """
    squares = (predict(noised.x, noised.condition).float() - noised.target).square()
    errors = (squares if noised.area is None else squares * noised.area).flatten(1).mean(1)
    if not torch.is_grad_enabled():
        return errors.mean()
    if loss_weight is not None and loss_weight.learned:
        loss_weight.learn(sharded.joined(noised.log_snr), sharded.joined(errors.detach()))
    return (errors * noised.weight).mean()
