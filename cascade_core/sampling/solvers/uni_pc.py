"""UniPC (Zhao et al. 2023): a predictor and a corrector of the same order, with one evaluation a step."""

from __future__ import annotations

from itertools import pairwise
from math import expm1, factorial, log, sqrt
from typing import TYPE_CHECKING, cast

from ..times import Time
from .trace import Denoise, Draw, Times, Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

ORDER = 3
LAST_SIGMA = 0.001  # in the place of 0, whose λ is infinite: so much of the noise stays


def uni_pc(denoise: Denoise, x: Tensor, times: Times, noise: Draw) -> Trace:
    """UniPC-3 for predicted pictures, with B1(h) = h (Zhao et al. 2023, algorithms 1 and 2).

    Each prediction first corrects the step that led to it, and then predicts the next. The first steps are of lower
    order for want of predictions, and the last two for stability.
    """
    steps = len(times) - 1
    most = max(1, min(ORDER, steps - 1))
    past: list[tuple[Time, Tensor]] = []  # the latest first
    corrected = x
    for i, (now, then) in enumerate(pairwise(times)):
        x0, _ = denoise(x, now)
        if past:
            corrected = _step(corrected, past[: _order(i, steps, most)], now, x0)
        past = [(now, x0), *past[: ORDER - 1]]
        a = 1 / sqrt(1 + LAST_SIGMA**2)
        to = then if then.b > 0 else Time(then.r, a, LAST_SIGMA * a)
        x = then.a / to.a * _step(corrected, past[: _order(i + 1, steps, most)], to)
        yield i, x0, x


def _order(to: int, steps: int, most: int) -> int:
    """The order of the step that leads to a time."""
    return to if to < most else min(most, steps + 1 - to)


def _step(x: Tensor, past: list[tuple[Time, Tensor]], then: Time, x0_then: Tensor | None = None) -> Tensor:
    """x from the latest time of `past` to `then`: predicted, or corrected by the prediction there."""
    (now, x0), *older = past
    h = log(now.sigma / then.sigma)
    ratios = [log(now.sigma / time.sigma) / h for time, _ in older]  # (λ_before - λ) / h, below 0
    differences = [(x0_before - x0) / r for r, (_, x0_before) in zip(ratios, older, strict=True)]
    if x0_then is not None:
        ratios.append(1.0)
        differences.append(x0_then - x0)
    stepped = then.b / now.b * x + then.a * (1 - then.sigma / now.sigma) * x0
    for weight, difference in zip(_weights(ratios, h), differences, strict=True):
        stepped = stepped + then.a * h * weight * difference
    return stepped


def _weights(ratios: list[float], h: float) -> list[float]:
    """The weights w with sum_m w_m r_m^(n-1) = n! φ_(n+1)(-h) for n = 1, 2, ... (Zhao et al. 2023, theorem 3.1).

    A single one is 1/2, its limit, as the paper has it for UniP-2 and UniC-1.
    """
    import torch

    if len(ratios) < 2:
        return [0.5] * len(ratios)
    orders = range(1, len(ratios) + 1)
    phi = -expm1(-h) / h  # φ1, and by its recurrence φ_(n+1)(z) = (φ_n(z) - 1 / n!) / z the others
    right: list[float] = []
    for n in orders:
        phi = (phi - 1 / factorial(n)) / -h
        right.append(factorial(n) * phi)
    left = [[ratio ** (n - 1) for ratio in ratios] for n in orders]
    solve = cast("Callable[[Tensor, Tensor], Tensor]", torch.linalg.solve)  # pyright: ignore[reportUnknownMemberType]
    solved = solve(torch.tensor(left, dtype=torch.float64), torch.tensor(right, dtype=torch.float64))
    return [float(weight) for weight in solved]
