"""The distance of a picture's outlines from those that were drawn."""

from __future__ import annotations

import numpy as np

from ...cascade_core.builtin.draw import CLOTHES, DARK, EYE_WHITE, LIPS
from ...cascade_core.builtin.world import Scene
from .components import CV

ALIKE = 40.0  # colours nearer than this, as black hair and dark glasses, are one: noise draws lines between them
FARTHEST = 16.0  # pixels: an outline that is missing altogether is this far


def outline_error(found: np.ndarray, drawn: np.ndarray, scene: Scene) -> float:
    """Mean distance in pixels between the outlines of a picture and of the drawn one, both uint8 (H, W, 3).

    Outlines lie where the nearest of the scene's own colours changes, so a face's eyes and mouth have theirs. Each
    pixel of either picture's outlines counts with its distance to the nearest of the other's, at most FARTHEST; the
    mean is over both directions, so what is missing, what is torn and what is too much all count.
    """
    ours, theirs = (_outlines(picture, scene) for picture in (found, drawn))
    if not ours.any() or not theirs.any():
        return 0.0 if ours.any() == theirs.any() else FARTHEST
    return float(np.mean([_away(ours, theirs), _away(theirs, ours)]))


def _outlines(picture: np.ndarray, scene: Scene) -> np.ndarray:
    """True (H, W) for pixels whose right or lower neighbour is nearer to another colour of the scene."""
    colors = np.array(_colors(scene), np.float32)
    nearest = np.square(picture[:, :, None].astype(np.float32) - colors).sum(-1).argmin(-1)
    outlines = np.zeros(nearest.shape, bool)
    outlines[:, :-1] |= nearest[:, :-1] != nearest[:, 1:]
    outlines[:-1] |= nearest[:-1] != nearest[1:]
    return outlines


def _colors(scene: Scene) -> list[tuple[int, int, int]]:
    colors = [scene.background_rgb, *(shape.rgb for shape in scene.shapes)]
    if scene.face is not None:
        colors += [scene.face.skin_rgb, scene.face.hair_rgb, CLOTHES, DARK, EYE_WHITE, LIPS]
    kept: list[tuple[int, int, int]] = []
    for color in colors:
        if all(np.linalg.norm(np.subtract(color, other)) > ALIKE for other in kept):
            kept.append(color)
    return kept


def _away(outlines: np.ndarray, others: np.ndarray) -> float:
    """Mean distance of a picture's outline pixels from the nearest of another's."""
    distance = CV.distanceTransform((~others).astype(np.uint8), CV.DIST_L2, CV.DIST_MASK_PRECISE)
    return float(np.minimum(distance[outlines], FARTHEST).mean())
