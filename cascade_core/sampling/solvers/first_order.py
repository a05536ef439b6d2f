"""Samplers of one evaluation a step that remember nothing."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING

from .trace import Denoise, Draw, Times, Trace, ancestral

if TYPE_CHECKING:
    from torch import Tensor


def ddpm(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """The official sampler: ancestral noise of the posterior's variance sigma² (Song et al. 2020, eq. 16, η = 1)."""
    for i, (now, then) in enumerate(pairwise(times)):
        x0, eps = denoise(x, now)
        sigma = then.b / now.b * sqrt(1 - (now.a / then.a) ** 2)
        x = then.a * x0 + sqrt(then.b**2 - sigma**2) * eps + sigma * noise()
        yield i, x0, x


def ddim(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """Deterministic (Song et al. 2020, eq. 12, η = 0): the predicted noise is put back, weaker."""
    for i, (now, then) in enumerate(pairwise(times)):
        x0, eps = denoise(x, now)
        x = then.a * x0 + then.b * eps
        yield i, x0, x


def euler(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """Euler's method on d(x/a) = eps dsigma with sigma = b / a (Karras et al. 2022, algorithm 1).

    In exact arithmetic this is `ddim`, the same line through the same point: pictures differ by rounding only. It is
    here under the name by which people of other programs know it.
    """
    for i, (now, then) in enumerate(pairwise(times)):
        x0, eps = denoise(x, now)
        x = then.a * (x / now.a + (then.b / then.a - now.b / now.a) * eps)
        yield i, x0, x


def euler_ancestral(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """Euler's method to below the next time, and fresh noise up to it (Song et al. 2020, eq. 16, η = 1).

    In exact arithmetic this is `ddpm`, whose pictures differ by rounding only; it is the name that most shared
    workflows have.
    """
    for i, (now, then) in enumerate(pairwise(times)):
        x0, eps = denoise(x, now)
        down, up = ancestral(now.sigma, then.sigma)
        x = then.a * (x0 + down * eps + up * noise())
        yield i, x0, x


def lcm(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """The prediction with all of its noise drawn anew (Luo et al. 2023, algorithm 2): for consistency models."""
    for i, (now, then) in enumerate(pairwise(times)):
        x0, _ = denoise(x, now)
        x = then.a * x0 + then.b * noise()
        yield i, x0, x
