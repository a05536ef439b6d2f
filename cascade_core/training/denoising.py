"""The loss of all diffusion stages: how far the network's prediction is off, at random times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.handle import Handle
from ..sampling.process import TARGETS, Process

NOISIEST = 0.1  # share of the times that are called the noisiest
Predict = Callable[[Tensor, Tensor], Tensor]  # x (B, C, h, w), noise condition (B,) -> the network's prediction


@dataclass(frozen=True, eq=False)
class Noised:
    """Clean latents with noise, and what the network should predict; all float32."""

    x: Tensor  # (B, C, h, w)
    condition: Tensor  # (B,)
    target: Tensor  # (B, C, h, w)
    weight: Tensor  # (B,)

    def part(self, share: slice, device: torch.device) -> Noised:
        """A share of the rows, on another device."""
        return Noised(*(each[share].to(device) for each in (self.x, self.condition, self.target, self.weight)))


def add_noise(
    clean: Tensor,
    handle: Handle,
    loss_weight: str,
    noisy_share: float = 0.0,
    offset: float = 0.0,
    noise: Tensor | None = None,
) -> Noised:
    """Draw times and noise by torch's own generator, on the CPU, for clean latents (B, C, h, w) on it.

    Times are uniform in 0.001..1; noisy_share of them in the noisiest tenth, where the layout is decided. p2: errors
    count by b², so that what is nearly clean counts little (Choi et al. 2022, with both of its constants 1); auto: that
    for networks that predict the noise, as officially, and no weight for others. offset: of noise that is the same all
    over a channel. noise: instead of ordinary noise.
    """
    early = torch.rand(len(clean))
    if noisy_share:
        early = torch.where(torch.rand(len(clean)) < noisy_share, early * NOISIEST, early)
    times = (1 - early + 0.001).clamp(0.001, 1)
    noise = torch.randn_like(clean) if noise is None else noise
    if offset:
        noise = noise + offset * torch.randn(*clean.shape[:2], 1, 1)
    by_noise = loss_weight == "p2" or (loss_weight == "auto" and handle.target == "epsilon")
    return noised_at(times, clean, noise, Process(TARGETS[handle.target]), by_noise)


def noised_at(times: Tensor, clean: Tensor, noise: Tensor, process: Process, by_noise: bool = False) -> Noised:
    """Clean latents (B, C, h, w) with this noise at times (B,). by_noise: errors count by b², else all alike."""
    a, b = process.coefficients(times)
    condition = process.schedule.noise_condition(process.schedule.log_snr(times))
    weight = b.flatten() ** 2 if by_noise else torch.ones(len(clean))
    return Noised(a * clean + b * noise, condition, process.target.of(clean, noise, a, b), weight)


def denoising_loss(noised: Noised, predict: Predict) -> Tensor:
    """The weighted mean squared error, a scalar."""
    error = predict(noised.x, noised.condition).float() - noised.target
    return (error.square().flatten(1).mean(1) * noised.weight).mean()
