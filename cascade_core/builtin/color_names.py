"""Naming measured colours by the nearest colour that has a name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .world import Rgb

UNCLEAR = "unclear"
"""The word for whatever no word of the picture world fits."""


def nearest_name(color: np.ndarray, names: Mapping[str, Rgb], tolerance: float) -> str:
    """The name whose RGB colour is nearest, or "unclear" when that is farther away than ``tolerance``."""
    distances = {name: float(np.linalg.norm(color - np.asarray(rgb))) for name, rgb in names.items()}
    name = min(distances, key=distances.__getitem__)
    return name if distances[name] < tolerance else UNCLEAR
