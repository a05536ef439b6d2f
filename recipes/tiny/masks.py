"""Masks to train and test inpainting with: holes over an object, anywhere, or all around."""

from __future__ import annotations

import numpy as np

from ...cascade_core.builtin.draw import around
from ...cascade_core.builtin.world import Scene

OBJECT, BOX, BORDER, ALL = 0.55, 0.2, 0.17, 0.04  # shares of the kinds of masks; what remains has no hole
REACH = (1.15, 1.6)  # a hole's half side in radii of what it hides


def sample_mask(scene: Scene, size: int, random: np.random.Generator) -> np.ndarray:
    """A random mask for a scene's picture: bool (size, size), true where the picture is hidden."""
    kind = float(random.random())
    if kind < OBJECT:
        hidden = scene.shapes[int(random.integers(len(scene.shapes)))] if scene.shapes else scene.face
        assert hidden is not None
        mask = around(hidden.x, hidden.y, hidden.r * float(random.uniform(*REACH)), size)
        return mask & _disc(mask) if random.random() < 0.3 else mask
    kind -= OBJECT
    if kind < BOX:
        x, y = random.uniform(0.1, 0.9, 2)
        return around(float(x), float(y), float(random.uniform(0.05, 0.4)), size)
    kind -= BOX
    mask = np.zeros((size, size), bool)
    if kind < BORDER:
        mask[:] = True
        low = [round(size * float(random.uniform(0, 0.35)) * bool(random.integers(2))) for _ in range(2)]
        high = [size - round(size * float(random.uniform(0, 0.35)) * bool(random.integers(2))) for _ in range(2)]
        mask[low[0] : high[0], low[1] : high[1]] = False
    else:
        mask[:] = kind - BORDER < ALL
    return mask


def _disc(mask: np.ndarray) -> np.ndarray:
    """The ellipse inside a box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    dy, dx = ((at - part.mean()) / (len(part) / 2) for at, part in ((y, rows), (x, columns)))
    return dy**2 + dx**2 <= 1
