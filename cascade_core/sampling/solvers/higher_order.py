"""Samplers of the ODE d(x/a) = eps dsigma of Karras et al. 2022, of higher order than Euler's method."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING

from .trace import Denoise, Draw, Times, Trace, ancestral

if TYPE_CHECKING:
    from torch import Tensor

LMS_ORDER = 4  # most predictions that a step of `lms` goes by


def heun(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """Heun's method (Karras et al. 2022, algorithm 1): the mean slope of both ends of a step.

    The step to the end, where there is no noise to divide by, is Euler's.
    """
    for i, (now, then) in enumerate(pairwise(times)):
        x0, eps = denoise(x, now)
        if now.second is not None:
            _, eps_there = denoise(then.a * (x0 + then.sigma * eps), now.second)
            eps = (eps + eps_there) / 2
        x = then.a * (x / now.a + (then.sigma - now.sigma) * eps)
        yield i, x0, x


def dpm_2(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """DPM-Solver-2 (Lu et al. 2022, algorithm 1) as a midpoint method: the slope halfway in log sigma."""
    for i, (now, then) in enumerate(pairwise(times)):
        x0, eps = denoise(x, now)
        if now.second is not None:
            mid = now.second
            _, eps = denoise(mid.a * (x0 + mid.sigma * eps), mid)
        x = then.a * (x / now.a + (then.sigma - now.sigma) * eps)
        yield i, x0, x


def dpm_2_ancestral(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """`dpm_2` to below the next time, and fresh noise up to it."""
    for i, (now, then) in enumerate(pairwise(times)):
        x0, eps = denoise(x, now)
        down, up = ancestral(now.sigma, then.sigma)
        if now.second is not None:
            mid = now.second
            _, eps = denoise(mid.a * (x0 + mid.sigma * eps), mid)
        x = then.a * (x / now.a + (down - now.sigma) * eps + up * noise())
        yield i, x0, x


def lms(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """The Adams-Bashforth method of up to order 4 for steps of unequal length (Hairer et al. 1993, III.1 and III.5).

    The slope over a step is the polynomial through the latest slopes.
    """
    import torch

    sigmas = [time.sigma for time in times]
    slopes: list[Tensor] = []
    for i, (now, then) in enumerate(pairwise(times)):
        x0, eps = denoise(x, now)
        slopes = [eps, *slopes[: LMS_ORDER - 1]]
        if then.b == 0:
            x = x0
        else:
            nodes = [sigmas[i - k] for k in range(len(slopes))]
            weights = [_integral(nodes, k, now.sigma, then.sigma) for k in range(len(slopes))]
            change = sum((w * slope for w, slope in zip(weights, slopes, strict=True)), start=torch.zeros_like(x))
            x = then.a * (x / now.a + change)
        yield i, x0, x


def _integral(nodes: list[float], k: int, start: float, end: float) -> float:
    """Integral of Lagrange's polynomial that is 1 at node k and 0 at the others, of degree 3 or less.

    By Gauss and Legendre's rule of two points, which is exact for these.
    """
    middle, half = (start + end) / 2, (end - start) / 2

    def value(sigma: float) -> float:
        product = 1.0
        for j, node in enumerate(nodes):
            if j != k:
                product *= (sigma - node) / (nodes[k] - node)
        return product

    return half * (value(middle - half / sqrt(3)) + value(middle + half / sqrt(3)))
