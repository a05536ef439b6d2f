"""Schedules by name: which times a run of so many steps stands at.

`cosine` is the official one, evenly spaced in r (`Process.timesteps`). The others are ComfyUI's, so that the settings
of shared workflows mean the same here: each makes a list of sigmas, the highest first and 0 last, out of ComfyUI's
table of 10,000 sigmas for Stable Cascade. Not all make exactly as many as there are steps: ddim_uniform may make more,
where 10,000 is no multiple of them, and beta fewer, where two would be the same.

Importing this needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from .samplers import Sampler
from .times import Time

if TYPE_CHECKING:
    from torch import Tensor

TABLE_SIZE = 10_000
FULL_DENOISE = 0.9999  # above it a run is a whole one


@dataclass(frozen=True, eq=False)
class SigmaTable:
    """ComfyUI's numbers of Stable Cascade's noise, in float32 as there, whose rounding shows at the clean end.

    They differ from `CosineSchedule` in one point: the variance is clamped after the shift, so that every shift has the
    same ends, 0.01 and 99.995.
    """

    shift: float
    s: float = 0.008
    limits: tuple[float, float] = (1e-4, 0.9999)

    @cached_property
    def sigmas(self) -> Tensor:
        """(10000,), from the smallest to the largest."""
        import torch

        return self.sigma((torch.arange(1, TABLE_SIZE + 1, dtype=torch.float64) / TABLE_SIZE).float())

    def sigma(self, r: Tensor) -> Tensor:
        """The sigma of the times r, with the shift."""
        s = r.new_tensor(self.s)
        cos2 = ((r + s) / (1 + s) * math.pi * 0.5).cos() ** 2
        var = cos2 / (s / (1 + s) * math.pi * 0.5).cos() ** 2
        if self.shift != 1:
            var = ((var / (1 - var)).log() + 2 * (1 / r.new_tensor(self.shift)).log()).sigmoid()
        var = var.clamp(*self.limits)
        return ((1 - var) / var) ** 0.5

    def time(self, sigma: Tensor) -> Tensor:
        """The time r at which the schedule has a sigma without the shift: the network's word for the noise."""
        s = sigma.new_tensor(self.s)
        least = (s / (1 + s) * math.pi * 0.5).cos() ** 2
        var = (1 / (sigma**2 + 1)).clamp(0, 1)
        return ((var * least) ** 0.5).acos() / (math.pi * 0.5) * (1 + s) - s


def _simple(table: SigmaTable, steps: int) -> list[float]:
    """Evenly spaced entries of the table, from the last one: evenly spaced in r, like `cosine`."""
    stride = TABLE_SIZE / steps
    return [float(table.sigmas[-1 - int(i * stride)]) for i in range(steps)]


def _normal(table: SigmaTable, steps: int) -> list[float]:
    """Evenly spaced in the network's time, both ends included."""
    return _spaced(table, steps)


def _sgm_uniform(table: SigmaTable, steps: int) -> list[float]:
    """The same without the clean end (Stability AI's generative-models)."""
    return _spaced(table, steps + 1)[:-1]


def _spaced(table: SigmaTable, count: int) -> list[float]:
    import torch

    first, last = (float(table.time(table.sigmas[k])) for k in (-1, 0))
    return [float(table.sigma(r)) for r in torch.linspace(first, last, count)]


def _karras(table: SigmaTable, steps: int) -> list[float]:
    """Evenly spaced in the seventh root of sigma (Karras et al. 2022, eq. 5, rho = 7)."""
    import torch

    low, high = (float(table.sigmas[k]) ** (1 / 7) for k in (0, -1))
    return [float(sigma) for sigma in (high + torch.linspace(0, 1, steps) * (low - high)) ** 7]


def _exponential(table: SigmaTable, steps: int) -> list[float]:
    """Evenly spaced in the logarithm of sigma (Lu et al. 2022, uniform steps of logSNR)."""
    import torch

    low, high = (math.log(float(table.sigmas[k])) for k in (0, -1))
    return [float(sigma) for sigma in torch.linspace(high, low, steps).exp()]


def _ddim_uniform(table: SigmaTable, steps: int) -> list[float]:
    """Entries of the table at a whole stride, counted from the clean end (Song et al. 2020, appendix D.2)."""
    stride = max(TABLE_SIZE // steps, 1)
    return [float(sigma) for sigma in table.sigmas[1::stride].flip(0)]


def _beta(table: SigmaTable, steps: int) -> list[float]:
    """Entries at the quantiles of Beta(0.6, 0.6), which are dense at both ends (Lee et al. 2024)."""
    places = [_beta_quantile(1 - i / steps, 0.6) * (TABLE_SIZE - 1) for i in range(steps)]
    entries = [int(place + 0.5 + 1e-9) for place in places]  # the median is halfway between two, and goes up
    return [float(table.sigmas[entry]) for entry in dict.fromkeys(entries)]


def _beta_quantile(share: float, a: float) -> float:
    """Where the distribution Beta(a, a) has this share below it, by bisection."""
    if share > 0.5:
        return 1 - _beta_quantile(1 - share, a)
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_below(middle, a) < share else (low, middle)
    return low


def _beta_below(x: float, a: float) -> float:
    """The share of Beta(a, a) below x <= 1/2: the power series of the incomplete beta function (DLMF 8.17.7)."""
    term, total = 1.0, 0.0
    for n in range(60):
        total += term / (a + n)
        term *= (1 - a + n) / (n + 1) * x
    return x**a * total * math.gamma(2 * a) / math.gamma(a) ** 2


@dataclass(frozen=True)
class Schedule:
    """A schedule as people choose it; `sigmas` without the 0 at the end, and None for the official one."""

    sigmas: Callable[[SigmaTable, int], list[float]] | None
    help: str


SCHEDULES = {
    "cosine": Schedule(None, "ours and the official one"),
    "simple": Schedule(_simple, "the same times as ComfyUI has them"),
    "normal": Schedule(_normal, "even in the network's time"),
    "sgm_uniform": Schedule(_sgm_uniform, "the same without the clean end"),
    "karras": Schedule(_karras, "many steps at little noise"),
    "exponential": Schedule(_exponential, "even in the logarithm of the noise"),
    "ddim_uniform": Schedule(_ddim_uniform, "begins a little below full noise"),
    "beta": Schedule(_beta, "dense at both ends"),
}


def scheduled_sigmas(schedule: str, steps: int, denoise: float, shift: float, sampler: Sampler) -> list[float]:
    """The sigmas of a run by one of ComfyUI's schedules, with the 0 at the end, by its rules.

    Below `denoise` 1 they are the last `steps` of a whole run of steps / denoise. Some samplers leave the last one
    before the end out.
    """
    make = SCHEDULES[schedule].sigmas
    assert make is not None, "cosine has times of its own"
    whole = denoise > FULL_DENOISE
    count = steps if whole else int(steps / denoise)
    sigmas = make(SigmaTable(shift), count + sampler.skips_penultimate)
    if sampler.skips_penultimate:
        sigmas = sigmas[:-1]
    return [*(sigmas if whole else sigmas[-steps:]), 0.0]


def for_sampler(sampler: Sampler, times: Sequence[Time], time_of: Callable[[float], Time]) -> list[Time]:
    """The times as a sampler needs them: with those of its second evaluations, and without repeated ones.

    time_of: makes the time of a sigma between two of them.
    """
    if not sampler.repeats:
        times = [now for i, now in enumerate(times) if i == 0 or now.sigma != times[i - 1].sigma]
    if sampler.second is None:
        return list(times)
    linked = [times[-1]]
    for now in reversed(times[:-1]):
        then = linked[0]
        second = None
        if then.b > 0:
            sigma = sampler.second(now.sigma, then.sigma)
            second = then if sigma == then.sigma else time_of(sigma)
        linked.insert(0, replace(now, second=second))
    return linked


def evaluated(times: Sequence[Time]) -> list[Time]:
    """The times at which a run evaluates the network, each once."""
    both = [time for now in times[:-1] for time in (now, now.second) if time is not None]
    return list(dict.fromkeys(both))
