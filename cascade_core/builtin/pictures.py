"""Pictures that need no file, for trying workflows that take a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .draw import around, draw
from .world import Scene, counted_shapes, face_scene, one_shape, related_shapes

SEED = 1
SIDE = 256  # pixels, what the tiny cascade draws
SMALL_SIDE = 16  # pixels, of the picture to enlarge
MARGIN = 32  # pixels, around the close-up
HOLE = 1.1  # half side of a hole in radii of the shape that it takes away


@dataclass(frozen=True)
class BuiltInPicture:
    """A scene as a picture-loading node gives it."""

    scene: Scene
    side: int = SIDE  # pixels of the finished picture's side
    margin: int = 0  # pixels that are cut off on all sides
    hole: int | None = None  # which of the shapes lies in a transparent square

    def draw(self) -> Image.Image:
        """RGB, or RGBA where there is a hole; the colours are still there under it."""
        picture = draw(self.scene, SIDE)
        end = SIDE - self.margin
        picture = picture.crop((self.margin, self.margin, end, end))
        if self.side < SIDE:
            return picture.resize((self.side, self.side), Image.Resampling.BOX)
        if self.hole is None:
            return picture
        shape = self.scene.shapes[self.hole]
        hidden = around(shape.x, shape.y, HOLE * shape.r, SIDE)
        picture.putalpha(Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
        return picture


def _fixed() -> np.random.Generator:
    return np.random.default_rng(SEED)


_HEART_AND_STAR = related_shapes(("large", "pink", "heart"), "left of", ("large", "yellow", "star"), "sky", _fixed())
_FACE_WITH_GLASSES = face_scene("brown", "black", True, True, "open mouth", "sky", _fixed())

BUILT_IN_PICTURES: dict[str, BuiltInPicture] = {
    "circle (built-in)": BuiltInPicture(one_shape("red", "circle", "large", "center", "white", _fixed())),
    "heart and star (built-in)": BuiltInPicture(_HEART_AND_STAR),
    "diamond above cross (built-in)": BuiltInPicture(
        related_shapes(("small", "orange", "diamond"), "above", ("large", "blue", "cross"), "cream", _fixed())
    ),
    "three squares (built-in)": BuiltInPicture(counted_shapes("three", "green", "square", "rose", _fixed())),
    "face (built-in)": BuiltInPicture(face_scene("tan", "brown", False, False, "smile", "mint", _fixed())),
    "face with glasses (built-in)": BuiltInPicture(_FACE_WITH_GLASSES),
    "circle at the top left (built-in)": BuiltInPicture(
        one_shape("red", "circle", "large", "top left", "white", _fixed())
    ),
    "heart and a hole (built-in)": BuiltInPicture(_HEART_AND_STAR, hole=1),
    "close-up of a face (built-in)": BuiltInPicture(_FACE_WITH_GLASSES, margin=MARGIN),
    "small heart and star (built-in)": BuiltInPicture(_HEART_AND_STAR, side=SMALL_SIDE),
}
"""The built-in pictures by the names that a node offers."""
