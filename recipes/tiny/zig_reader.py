"""Reading pictures of zigs without a neural network, beside `reader.py`, which knows shapes of one colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ...cascade_core.builtin.color_names import nearest_name
from ...cascade_core.builtin.pixels import READ_SIZE, border_color, scaled_pixels
from ...cascade_core.builtin.world import BACKGROUNDS, COLORS, Scene, Shape
from .components import components, dilate
from .reader import COLOR_DISTANCE, SIZE_LIMIT, SMALLEST_OVERLAP, SMALLEST_SHARE, UNLIKE_BACKGROUND, place_of
from .shape_fit import fit_shape
from .zig import BOTTOM, SHAPE, TOP

ZIG, OTHER = "zig", "other"
SEAM = 0.15
"""Half width of the seam between the halves, in radii, that is not read: the decoder blurs it."""
LEAST_CONTRAST = 0.5
"""Share of the halves' difference in colour below which they count as one colour."""
FARTHEST = 100.0
"""Colour distance beyond which a half has another colour: beside green, orange turns yellowish (79)."""


def matches_zigs(picture: ArrayLike, scene: Scene) -> dict[str, bool]:
    """Whether a picture shows the scene's background, its number of objects, nothing but zigs, and their place."""
    pixels = scaled_pixels(picture)
    background_rgb = border_color(pixels)
    objects = _read_objects(pixels, background_rgb)
    verdicts = {
        "background": nearest_name(background_rgb, BACKGROUNDS, COLOR_DISTANCE) == scene.background,
        "count": len(objects) == len(scene.shapes),
        "zig": bool(objects) and all(shape.shape == ZIG for shape in objects),
    }
    if scene.place is not None:
        verdicts["place"] = bool(objects) and all(place_of(shape) == scene.place for shape in objects)
    return verdicts


def shows_zigs(picture: ArrayLike, scene: Scene) -> bool:
    """Whether all of it is right."""
    return all(matches_zigs(picture, scene).values())


def _read_objects(pixels: np.ndarray, background_rgb: np.ndarray) -> list[Shape]:
    distance = np.linalg.norm(pixels - background_rgb, axis=2)
    found = components(distance > UNLIKE_BACKGROUND, round(SMALLEST_SHARE * READ_SIZE * READ_SIZE))
    all_found = np.any(found, axis=0)
    return [_read_object(pixels, distance, part, dilate(part, 3) & (part | ~all_found)) for part in found]


def _read_object(pixels: np.ndarray, distance: np.ndarray, part: np.ndarray, zone: np.ndarray) -> Shape:
    # Two colours differ from the background by unlike amounts: the lesser of them counts as full coverage.
    fit = fit_shape((distance / np.percentile(distance[part], 30)).clip(0, 1) * zone)
    y = (np.arange(READ_SIZE) + 0.5)[:, None]
    halves = part & (y < fit.y - SEAM * fit.r), part & (y > fit.y + SEAM * fit.r)
    round_enough = fit.shape == SHAPE and fit.overlap >= SMALLEST_OVERLAP
    is_zig = round_enough and _two_colored([pixels[half] for half in halves])
    red, green, blue = np.rint(np.median(pixels[part], axis=0)).astype(int).tolist()
    radius = fit.r / READ_SIZE
    return Shape(
        ZIG if is_zig else OTHER,
        ZIG if is_zig else OTHER,
        "large" if radius >= SIZE_LIMIT else "small",
        fit.x / READ_SIZE,
        fit.y / READ_SIZE,
        radius,
        (red, green, blue),
    )


def _two_colored(halves: Sequence[np.ndarray]) -> bool:
    """Are these the upper and the lower half's pixels (n, 3) of a zig?"""
    if any(len(half) == 0 for half in halves):
        return False
    wanted = np.array([COLORS[TOP], COLORS[BOTTOM]], float)
    found = np.array([np.median(half, axis=0) for half in halves])
    across = wanted[0] - wanted[1]
    contrast = (found[0] - found[1]) @ across / (across @ across)
    return bool(contrast >= LEAST_CONTRAST and np.linalg.norm(found - wanted, axis=1).max() <= FARTHEST)
