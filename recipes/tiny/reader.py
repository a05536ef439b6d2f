"""Reading pictures of the picture world without a neural network, and judging them against a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...cascade_core.builtin.color_names import UNCLEAR, nearest_name
from ...cascade_core.builtin.face_fit import fit_face
from ...cascade_core.builtin.pixels import READ_SIZE, border_color, scaled_pixels
from ...cascade_core.builtin.world import BACKGROUNDS, COLORS, PLACES, Face, Scene, Shape
from .components import components, dilate
from .shape_fit import fit_shape

SMALLEST_SHARE = 0.005
"""Share of the picture below which a spot is a speck and no object."""
UNLIKE_BACKGROUND = 45.0
"""Colour distance from the background from which a pixel may belong to an object."""
COLOR_DISTANCE = 75.0
"""Colour distance beyond which no colour word fits."""
SMALLEST_OVERLAP = 0.7
"""Overlap with the best template below which no shape word fits."""
SIZE_LIMIT = 0.2
"""Radius from which a shape is large."""
PLACE_TOLERANCE = 0.12
SMALLEST_GAP = 0.2
"""Distance of centres from which one shape is beside or above another."""

RIGHT: dict[str, tuple[str, ...]] = {
    "one": ("color", "shape", "place", "background"),
    "relation": ("color", "shape", "relation", "background"),
    "count": ("count", "color", "shape", "background"),
    "face": ("skin", "hair", "length"),
}
"""The verdicts of ``matches`` that must all hold for a picture to be right, by the scene's kind."""


@dataclass(frozen=True)
class Reading:
    """The content of a picture: words and measures, "unclear" where no word fits; a face or any number of shapes."""

    background: str
    shapes: tuple[Shape, ...]
    face: Face | None


def read(picture: ArrayLike) -> Reading:
    """Read a picture: uint8 (H, W, 3), or floats from 0 to 1 of that shape, as an array, CPU tensor or Pillow image.

    Raises ValueError for anything else.
    """
    pixels = scaled_pixels(picture)
    background_rgb = border_color(pixels)
    background = nearest_name(background_rgb, BACKGROUNDS, COLOR_DISTANCE)
    face = fit_face(pixels, background_rgb)
    return Reading(background, () if face is not None else _read_shapes(pixels, background_rgb), face)


def matches(reading: Reading, scene: Scene) -> dict[str, bool]:
    """For every attribute that the scene's kind has, whether the reading agrees with the scene.

    "color" and "shape" hold when they are right for all objects; "place" is absent when the scene names none.
    """
    verdicts = {"background": reading.background == scene.background}
    if scene.face is not None:
        verdicts.update(_face_verdicts(reading.face, scene.face))
    elif scene.kind == "relation":
        verdicts.update(_relation_verdicts(reading.shapes, scene))
    else:
        verdicts.update(_alike_verdicts(reading.shapes, scene))
    return verdicts


def is_right(picture: ArrayLike, scene: Scene) -> bool:
    """Whether the picture shows everything of the scene that counts for its kind, see ``RIGHT``."""
    verdicts = matches(read(picture), scene)
    return all(verdicts.get(attribute, True) for attribute in RIGHT[scene.kind])


def _read_shapes(pixels: np.ndarray, background: np.ndarray) -> tuple[Shape, ...]:
    unlike = np.linalg.norm(pixels - background, axis=2) > UNLIKE_BACKGROUND
    found = components(unlike, round(SMALLEST_SHARE * READ_SIZE * READ_SIZE))
    all_found = np.any(found, axis=0)
    shapes: list[Shape] = []
    for part in found:
        color = np.median(pixels[part], axis=0)
        shapes.append(_read_shape(pixels, background, color, dilate(part, 3) & (part | ~all_found)))
    return tuple(shapes)


def _read_shape(pixels: np.ndarray, background: np.ndarray, color: np.ndarray, zone: np.ndarray) -> Shape:
    """The shape inside a zone that holds it with its soft edge."""
    contrast = color - background
    # How far a pixel has gone from the background to the shape's colour: its coverage, also under blur.
    coverage = ((pixels - background) @ contrast / (contrast @ contrast)).clip(0, 1) * zone
    fit = fit_shape(coverage)
    radius = fit.r / READ_SIZE
    red, green, blue = np.rint(color).astype(int).tolist()
    return Shape(
        nearest_name(color, COLORS, COLOR_DISTANCE),
        fit.shape if fit.overlap >= SMALLEST_OVERLAP else UNCLEAR,
        "large" if radius >= SIZE_LIMIT else "small",
        fit.x / READ_SIZE,
        fit.y / READ_SIZE,
        radius,
        (red, green, blue),
    )


def _face_verdicts(face: Face | None, wanted: Face) -> dict[str, bool]:
    return {
        "skin": face is not None and face.skin == wanted.skin,
        "hair": face is not None and face.hair == wanted.hair,
        "length": face is not None and face.long == wanted.long,
        "glasses": face is not None and face.glasses == wanted.glasses,
        "mouth": face is not None and face.mouth == wanted.mouth,
    }


def _alike_verdicts(shapes: tuple[Shape, ...], scene: Scene) -> dict[str, bool]:
    """Verdicts where all the scene's shapes are alike: one shape, or several counted ones."""
    wanted = scene.shapes[0]
    verdicts = {
        "count": len(shapes) == len(scene.shapes),
        "color": bool(shapes) and all(shape.color == wanted.color for shape in shapes),
        "shape": bool(shapes) and all(shape.shape == wanted.shape for shape in shapes),
    }
    if scene.kind == "one":
        verdicts["size"] = bool(shapes) and all(shape.size == wanted.size for shape in shapes)
        if scene.place is not None:
            verdicts["place"] = bool(shapes) and all(place_of(shape) == scene.place for shape in shapes)
    return verdicts


def _relation_verdicts(shapes: tuple[Shape, ...], scene: Scene) -> dict[str, bool]:
    if len(shapes) != len(scene.shapes):
        return dict.fromkeys(("count", "color", "shape", "size", "relation"), False)
    # Which shape of the picture is meant by which of the scene: the way round that agrees in more words.
    return max((_told_verdicts(order, scene) for order in (shapes, shapes[::-1])), key=lambda told: sum(told.values()))


def _told_verdicts(shapes: tuple[Shape, ...], scene: Scene) -> dict[str, bool]:
    """Verdicts when the picture's shapes are taken to be the scene's, in this order."""
    pairs = list(zip(shapes, scene.shapes, strict=True))
    return {
        "count": True,
        "color": all(shape.color == wanted.color for shape, wanted in pairs),
        "shape": all(shape.shape == wanted.shape for shape, wanted in pairs),
        "size": all(shape.size == wanted.size for shape, wanted in pairs),
        "relation": _relation(*shapes) == scene.relation,
    }


def place_of(shape: Shape) -> str:
    """The word for where a shape lies, or "unclear"."""
    distances = {place: np.hypot(shape.x - x, shape.y - y) for place, (x, y) in PLACES.items()}
    place = min(distances, key=distances.__getitem__)
    return place if distances[place] <= PLACE_TOLERANCE else UNCLEAR


def _relation(first: Shape, second: Shape) -> str:
    across, down = second.x - first.x, second.y - first.y
    if max(abs(across), abs(down)) < SMALLEST_GAP:
        return UNCLEAR
    if abs(across) > abs(down):
        return "left of" if across > 0 else "right of"
    return "above" if down > 0 else "below"
