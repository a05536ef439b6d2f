"""What every sampler is: a generator over the times of a run. None needs torch at import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING, TypeAlias

from ..times import Time

if TYPE_CHECKING:
    from torch import Tensor

Denoise: TypeAlias = "Callable[[Tensor, Time], tuple[Tensor, Tensor]]"
Times: TypeAlias = Sequence[Time]
Draw: TypeAlias = "Callable[..., Tensor]"
Trace: TypeAlias = "Iterator[tuple[int, Tensor, Tensor]]"


def ancestral(sigma: float, sigma_next: float) -> tuple[float, float]:
    """(down, up): the sigma to step down to, and the deviation of the fresh noise that leads up to sigma_next again.

    The deviation of DDPM's posterior (Song et al. 2020, eq. 16, η = 1) for x / a: up² = s'² (s² - s'²) / s².
    """
    up = min(sigma_next, sigma_next * sqrt(sigma**2 - sigma_next**2) / sigma)
    return sqrt(sigma_next**2 - up**2), up
