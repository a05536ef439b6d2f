"""Recognising the parts of a cartoon face by drawing faces and comparing."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from .color_names import UNCLEAR, nearest_name
from .draw import CLOTHES, draw
from .pixels import border_color, scaled_pixels
from .world import BACKGROUNDS, FACE_CENTER, FACE_RADII, HAIRS, MOUTHS, PLACE_JITTER, SKINS, Face, Rgb, Scene

FIT_SIZE = 64
"""Side in pixels at which places and radii are searched."""
SHOULDER_DISTANCE = 55.0
"""Farthest distance of the colour at the bottom from the clothes' colour; blue shapes are 80 away."""
COLOR_DISTANCE = 60.0
"""Farthest distance of skin or hair from the nearest colour that has a name."""
LARGEST_DIFFERENCE = 24.0
"""Mean difference per channel between a picture and its face redrawn above which it shows no face."""
MOSTLY = 0.5
"""Share of a pixel from which its colour counts for the region."""
OUTLIER = 80.0
"""Colour distance beyond which a pixel counts as simply wrong while fitting."""


def fit_face(picture: np.ndarray, background: np.ndarray) -> Face | None:
    """The face in a square float picture (S, S, 3) from 0 to 255 in front of a plain background colour.

    None when there is no face. A skin or hair colour that is no known one is called "unclear".
    """
    if not _has_shoulders(picture):
        return None
    background_rgb = _rgb(background)
    placed = _placed_face(picture, background)
    skin_mask, hair_mask, _, _ = region_masks(replace(placed, glasses=True, mouth="open mouth"), picture.shape[0])
    skin_rgb, hair_rgb = _median(picture, skin_mask), _median(picture, hair_mask)
    known = replace(placed, skin_rgb=skin_rgb, hair_rgb=hair_rgb)
    lengths = [replace(known, long=long) for long in (False, True)]
    known = min(lengths, key=lambda face: _difference(picture, face, background_rgb))
    variants = [replace(known, glasses=glasses, mouth=mouth) for glasses, mouth in product((False, True), MOUTHS)]
    differences = [_difference(picture, face, background_rgb) for face in variants]
    if min(differences) > LARGEST_DIFFERENCE:
        return None
    best = variants[int(np.argmin(differences))]
    return replace(
        best,
        skin=nearest_name(np.asarray(skin_rgb), SKINS, COLOR_DISTANCE),
        hair=nearest_name(np.asarray(hair_rgb), HAIRS, COLOR_DISTANCE),
    )


def _has_shoulders(picture: np.ndarray) -> bool:
    side = picture.shape[0]
    patch = picture[round(side * 0.965) :, round(side * 0.4) : round(side * 0.6)]
    return float(np.linalg.norm(np.median(patch, axis=(0, 1)) - CLOTHES)) < SHOULDER_DISTANCE


def _placed_face(picture: np.ndarray, background: np.ndarray) -> Face:
    """The candidate that fits best with any skin and hair colour: place, radius, a first guess at the hair's length."""
    factor = picture.shape[0] // FIT_SIZE
    blocks = np.reshape(picture, (FIT_SIZE, factor, FIT_SIZE, factor, 3))
    small = np.reshape(blocks.mean((1, 3)), (-1, 3))
    colors = np.array([*SKINS.values(), *HAIRS.values(), background, CLOTHES], np.float32)
    distances = np.linalg.norm(small[:, None] - colors, axis=2)
    errors = (np.minimum(distances, OUTLIER) ** 2).astype(np.float32)
    faces, (skin, hair, behind, clothes) = _candidates()
    hair_start, behind_at, clothes_at = len(SKINS), len(SKINS) + len(HAIRS), len(SKINS) + len(HAIRS) + 1
    cost = (skin @ errors[:, :hair_start]).min(1) + (hair @ errors[:, hair_start:behind_at]).min(1)
    cost += behind @ errors[:, behind_at] + clothes @ errors[:, clothes_at]
    return faces[int(np.argmin(cost))]


@lru_cache(maxsize=1)
def _candidates() -> tuple[list[Face], np.ndarray]:
    """Faces at all places and radii, with their masks (4, faces, pixels) of skin, hair, background and clothes."""
    shifts = np.linspace(-PLACE_JITTER, PLACE_JITTER, 5)
    radii = np.linspace(*FACE_RADII, 4)
    black: Rgb = (0, 0, 0)
    faces: list[Face] = []
    masks: list[np.ndarray] = []
    for x, y, r, long in product(shifts + FACE_CENTER[0], shifts + FACE_CENTER[1], radii, (False, True)):
        face = Face(UNCLEAR, UNCLEAR, long, True, "open mouth", float(x), float(y), float(r), black, black)
        faces.append(face)
        masks.append(region_masks(face, FIT_SIZE))
    stacked = np.reshape(np.stack(masks, axis=1), (4, len(faces), -1)).astype(np.float32)
    return faces, stacked


def region_masks(face: Face, size: int) -> np.ndarray:
    """The shares of skin, hair, background and clothes in every pixel: (4, size, size) from 0 to 1."""
    black: Rgb = (0, 0, 0)
    unlit = _drawn(replace(face, skin_rgb=black, hair_rgb=black), black, size)
    lit = _drawn(replace(face, skin_rgb=(255, 0, 0), hair_rgb=(0, 255, 0)), (0, 0, 255), size)
    # A pixel is a mixture of colours, so giving a region its own channel changes that channel by the region's share.
    skin, hair, background = np.moveaxis((lit - unlit) / 255, 2, 0)
    below_head = np.arange(size)[:, None] + 0.5 > (face.y + 1.2 * face.r) * size
    clothes = np.where(below_head, 1 - skin - hair - background, 0)
    return np.stack([skin, hair, background, clothes])


def _drawn(face: Face, background_rgb: Rgb, size: int) -> np.ndarray:
    background = next(iter(BACKGROUNDS))
    return np.asarray(draw(Scene("face", background, background_rgb, face=face), size), np.float32)


def _difference(picture: np.ndarray, face: Face, background_rgb: Rgb) -> float:
    return float(np.abs(picture - _drawn(face, background_rgb, picture.shape[0])).mean())


def _median(picture: np.ndarray, mask: np.ndarray) -> Rgb:
    return _rgb(np.median(picture[mask > MOSTLY], axis=0))


def _rgb(color: np.ndarray) -> Rgb:
    red, green, blue = np.rint(color).astype(int).tolist()
    return red, green, blue


def find_face(picture: ArrayLike) -> Face | None:
    """The face that a square picture shows, and nothing else of it; takes what `scaled_pixels` takes."""
    pixels = scaled_pixels(picture)
    return fit_face(pixels, border_color(pixels))
