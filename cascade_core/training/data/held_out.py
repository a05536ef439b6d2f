"""Examples that are held out of training: which ones, and that there are enough on either side."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from ...errors import CascadeError


def is_held_out(name: str, share: float) -> bool:
    """Whether an example is among the share that is held out: by its name, so that added ones move no others."""
    return zlib.crc32(name.encode()) < share * 2**32


def check_sides(groups: Mapping[bool, Sequence[Sequence[int]]], share: float) -> None:
    """CascadeError where nothing is left to learn from, or nothing is held out that should be."""
    if not groups[False] or (share and not groups[True]):
        side = "held out" if groups[False] else "learned from"
        raise CascadeError(f"held_out: with a share of {share} none of these pictures is {side}: choose another, or 0")
