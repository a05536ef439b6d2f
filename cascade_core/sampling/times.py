"""Times of a run, and percents of it: what acts only for a part. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = 1e-6  # times are sums of decimals: a window from 0.3 includes the step at 0.29999999


@dataclass(frozen=True, eq=False)
class Time:
    """A time at which a run stands or the network is evaluated: x = a x0 + b noise.

    Told apart by identity, as two steps may have the same noise.
    """

    r: float  # from 1 (noise) to 0, before the shift
    a: float
    b: float  # 0 at the very end
    condition: float = 0.0  # the network's word for the noise
    second: Time | None = None  # where a sampler evaluates a second time on its way to the next

    @property
    def sigma(self) -> float:
        """Noise over picture, b / a, by which samplers of other programs count."""
        return self.b / self.a


END = Time(0.0, 1.0, 0.0)
"""The picture itself."""


def within(r: float, start: float, end: float) -> bool:
    """Is the time r = 1 - percent between two percents, ends included?"""
    return start - TOLERANCE <= 1 - r <= end + TOLERANCE
