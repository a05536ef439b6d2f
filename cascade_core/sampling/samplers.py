"""Samplers: how one prediction after another becomes a picture.

Each is a generator of (index, x0, x): the prediction of step `index` and the latent of the next time. The result is the
x0 of the last step. A sampler knows no network, no guidance and no schedule: `denoise(x, index)` returns (x0, eps) with
x = a·x0 + b·eps, `table` has (a, b) of each time (one more than there are steps), `noise()` draws standard noise anew.

Importing this needs no torch: names and help are read where nothing is computed. A new sampler is a generator here and
its line in SAMPLERS; the help pages in web/docs name it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Denoise: TypeAlias = "Callable[[Tensor, int], tuple[Tensor, Tensor]]"
Table: TypeAlias = Sequence[tuple[float, float]]
Draw: TypeAlias = "Callable[[], Tensor]"
Trace: TypeAlias = "Iterator[tuple[int, Tensor, Tensor]]"


def ddpm(denoise: Denoise, x: Tensor, table: Table, noise: Draw) -> Trace:
    """The official sampler: ancestral noise of the posterior's variance sigma² (Song et al. 2020, eq. 16, η = 1)."""
    for i, ((a, b), (a_next, b_next)) in enumerate(pairwise(table)):
        x0, eps = denoise(x, i)
        sigma = b_next / b * sqrt(1 - (a / a_next) ** 2)
        x = a_next * x0 + sqrt(b_next**2 - sigma**2) * eps + sigma * noise()
        yield i, x0, x


def ddim(denoise: Denoise, x: Tensor, table: Table, noise: Draw) -> Trace:
    """Deterministic (Song et al. 2020, eq. 12, η = 0): the predicted noise is put back, weaker."""
    for i, (_, (a_next, b_next)) in enumerate(pairwise(table)):
        x0, eps = denoise(x, i)
        x = a_next * x0 + b_next * eps
        yield i, x0, x


def euler(denoise: Denoise, x: Tensor, table: Table, noise: Draw) -> Trace:
    """Euler's method on d(x/a) = eps dsigma with sigma = b / a (Karras et al. 2022, algorithm 1).

    In exact arithmetic this is `ddim`, the same line through the same point: pictures differ by rounding only. It is
    here under the name by which people of other programs know it.
    """
    for i, ((a, b), (a_next, b_next)) in enumerate(pairwise(table)):
        x0, eps = denoise(x, i)
        x = a_next * (x / a + (b_next / a_next - b / a) * eps)
        yield i, x0, x


def lcm(denoise: Denoise, x: Tensor, table: Table, noise: Draw) -> Trace:
    """The prediction with all of its noise drawn anew (Luo et al. 2023, algorithm 2): for consistency models."""
    for i, (_, (a_next, b_next)) in enumerate(pairwise(table)):
        x0, _ = denoise(x, i)
        x = a_next * x0 + b_next * noise()
        yield i, x0, x


@dataclass(frozen=True)
class Sampler:
    """A sampler as people choose it: `help` says in a few words what it is for."""

    run: Callable[[Denoise, Tensor, Table, Draw], Trace]
    help: str


SAMPLERS = {
    "ddpm": Sampler(ddpm, "the official one, adds fresh noise in every step"),
    "ddim": Sampler(ddim, "adds none"),
    "euler": Sampler(euler, "adds none and gives the same picture as ddim"),
    "lcm": Sampler(lcm, "for distilled models"),
}
