"""Percents of a run: what acts only for a part of it."""

TOLERANCE = 1e-6  # times are sums of decimals: a window from 0.3 includes the step at 0.29999999


def within(r: float, start: float, end: float) -> bool:
    """Is the time r = 1 - percent between two percents, ends included?"""
    return start - TOLERANCE <= 1 - r <= end + TOLERANCE
