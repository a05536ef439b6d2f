"""DPM-Solver++ (Lu et al. 2022b): exponential integrators of the predicted picture over λ = log(a / b) = -log sigma.

A step of length h = λ' - λ keeps b' / b of x and takes a' (1 - exp(-h)) of the prediction (section 4.1). The SDE's
step (section 5, η = 1) does so as if it were twice as long, and replaces what is missing by fresh noise. Its samplers,
`..._sde`, draw that from a Brownian path over sigma, of which a step through the midpoint gets the same sum of noise as
one without: noise(sigma, sigma_next) is an increment of the path, divided by its deviation.
"""

from __future__ import annotations

from itertools import pairwise
from math import expm1, log, sqrt
from typing import TYPE_CHECKING

from ..times import Time
from .trace import Denoise, Draw, Times, Trace, ancestral

if TYPE_CHECKING:
    from torch import Tensor


def dpmpp_2s_ancestral(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """DPM-Solver++(2S) (algorithm 1, r = 1/2): the prediction halfway; to below the next time, and fresh noise."""
    for i, (now, then) in enumerate(pairwise(times)):
        x0, _ = denoise(x, now)
        down, up = ancestral(now.sigma, then.sigma)
        better = x0
        if now.second is not None:
            mid = now.second
            better, _ = denoise(mid.a * _towards(x / now.a, x0, mid.sigma / now.sigma), mid)
        x = then.a * (_towards(x / now.a, better, down / now.sigma) + up * noise())
        yield i, x0, x


def dpmpp_sde(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """The SDE's solver of two evaluations (algorithm 1, r = 1/2, on section 5): noise at the midpoint and at the end.

    Both lead from the start of the step down to below their time, and by the Brownian path up to it.
    """
    for i, (now, then) in enumerate(pairwise(times)):
        x0, _ = denoise(x, now)
        better = x0
        if now.second is not None:
            mid = now.second
            down, up = ancestral(now.sigma, mid.sigma)
            there = _towards(x / now.a, x0, down / now.sigma) + up * noise(now.sigma, mid.sigma)
            better, _ = denoise(mid.a * there, mid)
        if then.b == 0:
            x = x0
        else:
            down, up = ancestral(now.sigma, then.sigma)
            x = then.a * (_towards(x / now.a, better, down / now.sigma) + up * noise(now.sigma, then.sigma))
        yield i, x0, x


def dpmpp_2m(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """DPM-Solver++(2M) (algorithm 2): the prediction drawn on through the one before, half a step far."""
    before: Time | None = None
    x0_before = x
    for i, (now, then) in enumerate(pairwise(times)):
        x0, _ = denoise(x, now)
        ahead = x0
        if before is not None and then.b > 0:
            ahead = x0 + _length(now, then) / (2 * _length(before, now)) * (x0 - x0_before)
        x = then.b / now.b * x + then.a * (1 - then.sigma / now.sigma) * ahead
        before, x0_before = now, x0
        yield i, x0, x


def dpmpp_2m_sde(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """SDE-DPM-Solver++(2M) (section 5), in its midpoint form."""
    before: Time | None = None
    x0_before = x
    for i, (now, then) in enumerate(pairwise(times)):
        x0, _ = denoise(x, now)
        if then.b == 0:
            x = x0
        else:
            h = _length(now, then)
            ahead = x0 if before is None else x0 + h / (2 * _length(before, now)) * (x0 - x0_before)
            x = _sde_step(x, ahead, now, then) + _sde_noise(now, then) * noise(now.sigma, then.sigma)
        before, x0_before = now, x0
        yield i, x0, x


def dpmpp_3m_sde(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """The SDE's step of section 5 with a polynomial through the latest three predictions.

    Its coefficients are those of exponential integrators, φ2 and φ3 (Hochbruck and Ostermann 2010, section 2), at twice
    the step's length; the differences are Newton's.
    """
    past: list[tuple[Time, Tensor]] = []  # the latest first
    for i, (now, then) in enumerate(pairwise(times)):
        x0, _ = denoise(x, now)
        if then.b == 0:
            x = x0
        else:
            h = _length(now, then)
            phi_2 = expm1(-2 * h) / (2 * h) + 1
            phi_3 = phi_2 / (2 * h) - 0.5
            stepped = _sde_step(x, x0, now, then)
            if past:
                (before, x0_before), *older = past
                r = _length(before, now) / h
                slope = (x0 - x0_before) / r
                if older:
                    long_before, x0_long_before = older[0]
                    r_before = _length(long_before, before) / h
                    bend = (slope - (x0_before - x0_long_before) / r_before) / (r + r_before)
                    stepped = stepped + then.a * (phi_2 * (slope + r * bend) - phi_3 * bend)
                else:
                    stepped = stepped + then.a * phi_2 * slope
            x = stepped + _sde_noise(now, then) * noise(now.sigma, then.sigma)
        past = [(now, x0), *past[:1]]
        yield i, x0, x


def halfway(sigma: float, sigma_next: float) -> float:
    """The sigma halfway in λ."""
    return sqrt(sigma * sigma_next)


def halfway_down(sigma: float, sigma_next: float) -> float:
    """The sigma halfway in λ to where an ancestral step goes down to."""
    return halfway(sigma, ancestral(sigma, sigma_next)[0])


def _length(now: Time, then: Time) -> float:
    """h = λ' - λ."""
    return log(now.sigma / then.sigma)


def _towards(x: Tensor, x0: Tensor, kept: float) -> Tensor:
    """x / a on its straight way to the prediction, with this share of its noise kept."""
    return kept * x + (1 - kept) * x0


def _sde_step(x: Tensor, x0: Tensor, now: Time, then: Time) -> Tensor:
    """The step of the SDE without its noise: exp(-h) b' / b of x and a' (1 - exp(-2 h)) of the prediction."""
    kept = then.sigma / now.sigma
    return kept * (then.b / now.b) * x + then.a * (1 - kept**2) * x0


def _sde_noise(now: Time, then: Time) -> float:
    """The deviation of the noise of the SDE's step: b' sqrt(1 - exp(-2 h))."""
    return then.b * sqrt(1 - (then.sigma / now.sigma) ** 2)
