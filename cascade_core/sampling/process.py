"""The diffusion process: schedule, scaler, target and noise condition, four small independent objects.

Knows no network and no sampler. Time r runs from 1 (noise) to 0 (picture). The same quantities elsewhere: r is `t` in
the official code (gdf) and `timestep_ratio` in diffusers; a² is diffusers' `alpha_cumprod`; b / a is ComfyUI's sigma.
A schedule is a handful of numbers: compute it on the CPU.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .times import END, Time

Coefficient = float | Tensor  # one number, or (B, 1, 1, 1)


@dataclass(frozen=True)
class CosineSchedule:
    """logSNR as a function of time, after Nichol and Dhariwal 2021, eq. 17, with the official clamps.

    var(r) = cos²((s + r) / (1 + s) · π/2) / cos²(s / (1 + s) · π/2) within `limits`; logSNR = ln(var / (1 - var)).
    A `shift` lowers logSNR by 2 ln(shift), which spends more steps on noise. The result stays within the unshifted
    ends, so that only the clean end moves. In float32, whose rounding shows in the official ends -9.21024 and 9.21007.
    """

    s: float = 0.008
    limits: tuple[float, float] = (1e-4, 0.9999)

    def log_snr(self, r: Tensor, shift: float = 1.0) -> Tensor:
        """r: any shape -> float32 of the same shape."""
        var = (self._cos2(r.float()) / self._cos2(r.new_zeros((), dtype=torch.float32))).clamp(*self.limits)
        limits = var.new_tensor(self.limits)
        low, high = torch.log(limits / (1 - limits))
        return (torch.log(var / (1 - var)) - 2 * math.log(shift)).clamp(low, high)

    def noise_condition(self, log_snr: Tensor) -> Tensor:
        """The network's word for the noise: the time that has this logSNR at shift 1, float32.

        The inverse of the cosine without its shift: with shift 2 the network hears of 0.897511 at r = 0.8.
        """
        log_snr = log_snr.double()
        cos2 = torch.sigmoid(log_snr) * self._cos2(torch.zeros_like(log_snr))
        return (torch.acos(cos2.sqrt()) / (math.pi / 2) * (1 + self.s) - self.s).clamp(0, 1).float()

    def _cos2(self, r: Tensor) -> Tensor:
        return torch.cos((self.s + r) / (1 + self.s) * (math.pi / 2)) ** 2


def variance_preserving(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """a and b of x = a·x0 + b·noise with a² + b² = 1: a = sqrt(sigmoid(logSNR)).

    In float64, as samplers take small differences of them.
    """
    return torch.sigmoid(log_snr.double()).sqrt(), torch.sigmoid(-log_snr.double()).sqrt()


class Target(Protocol):
    """The network's prediction: a quantity of x = a·x0 + b·noise."""

    def of(self, x0: Tensor, noise: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        """The right prediction: the target of training."""
        ...

    def x0(self, x: Tensor, prediction: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        """The clean latent that its prediction implies."""
        ...

    def noise(self, x: Tensor, prediction: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        """The noise that its prediction implies."""
        ...


class EpsilonTarget:
    """The noise itself (Ho et al. 2020): the published models."""

    def of(self, x0: Tensor, noise: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        return noise

    def x0(self, x: Tensor, prediction: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        return (x - b * prediction) / a

    def noise(self, x: Tensor, prediction: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        return prediction


class VTarget:
    """v = a·noise - b·x0 (Salimans and Ho 2022): the tiny models, as it divides no prediction by an a close to 0."""

    def of(self, x0: Tensor, noise: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        return a * noise - b * x0

    def x0(self, x: Tensor, prediction: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        return a * x - b * prediction

    def noise(self, x: Tensor, prediction: Tensor, a: Coefficient, b: Coefficient) -> Tensor:
        return b * x + a * prediction


TARGETS: dict[str, Target] = {"epsilon": EpsilonTarget(), "v": VTarget()}


@dataclass(frozen=True)
class Process:
    """The way from picture to noise, and back by predictions.

    `x0_clamp` bounds the predicted latent to ±x0_clamp, for models that are too small to keep it there themselves.
    """

    target: Target
    x0_clamp: float | None = None
    schedule: CosineSchedule = CosineSchedule()

    def timesteps(self, steps: int, start: float = 1.0, shift: float = 1.0) -> list[Time]:
        """`steps` evaluations from r = start towards 0, evenly spaced: S + 1 times."""
        r = torch.linspace(start, 0.0, steps + 1, dtype=torch.float64)
        log_snr = self.schedule.log_snr(r, shift)
        columns = (r, *variance_preserving(log_snr), self.schedule.noise_condition(log_snr))
        r_a_b_condition = ([float(value) for value in column] for column in columns)
        return [Time(*numbers) for numbers in zip(*r_a_b_condition, strict=True)]

    def time_of(self, sigma: float, shift: float = 1.0) -> Time:
        """The time with b / a = sigma, within the schedule's ends or not."""
        if sigma == 0:
            return END
        log_snr = torch.tensor(-2 * math.log(sigma), dtype=torch.float64)
        a, b = variance_preserving(log_snr)
        least = self.schedule.limits[0]
        if log_snr < math.log(least / (1 - least)) + 1e-5:  # the noisy end is long: it begins at 1
            r = 1.0
        else:
            r = float(self.schedule.noise_condition(log_snr + 2 * math.log(shift)))
        return Time(r, float(a), float(b), float(self.schedule.noise_condition(log_snr)))

    def coefficients(self, r: Tensor, shift: float = 1.0) -> tuple[Tensor, Tensor]:
        """a, b: (B, 1, 1, 1) float32 for r (B,)."""
        a, b = variance_preserving(self.schedule.log_snr(r, shift))
        return a.float().view(-1, 1, 1, 1), b.float().view(-1, 1, 1, 1)

    def diffuse(self, x0: Tensor, noise: Tensor, r: Tensor, shift: float = 1.0) -> Tensor:
        """x0 (B, C, H, W) with the noise of time r (B,) or (1,)."""
        a, b = self.coefficients(r, shift)
        return a.to(x0.device) * x0 + b.to(x0.device) * noise

    def split(self, x: Tensor, prediction: Tensor, a: Coefficient, b: Coefficient) -> tuple[Tensor, Tensor]:
        """The (x0, noise) that a prediction implies; always x = a·x0 + b·noise, clamped or not."""
        x0 = self.target.x0(x, prediction, a, b)
        if self.x0_clamp is None:
            return x0, self.target.noise(x, prediction, a, b)
        x0 = x0.clamp(-self.x0_clamp, self.x0_clamp)
        return x0, (x - a * x0) / b
