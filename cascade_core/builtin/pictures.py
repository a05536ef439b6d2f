"""Pictures that need no file, for trying workflows that take a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from .world import Scene, counted_shapes, face_scene, one_shape, related_shapes

if TYPE_CHECKING:  # the names alone are listed without them
    import numpy as np
    from PIL import Image

SEED = 1
SIDE = 256  # pixels, what the tiny cascade draws
SMALL_SIDE = 16  # pixels, of the picture to enlarge
MARGIN = 32  # pixels, around the close-up
HOLE = 1.1  # half side of a hole in radii of the shape that it takes away


@dataclass(frozen=True)
class BuiltInPicture:
    """A scene as a picture-loading node gives it."""

    compose: Callable[[np.random.Generator], Scene]
    side: int = SIDE  # pixels of the finished picture's side
    margin: int = 0  # pixels that are cut off on all sides
    hole: int | None = None  # which of the shapes lies in a transparent square

    @cached_property
    def scene(self) -> Scene:
        """What is on it: always the same."""
        import numpy as np

        return self.compose(np.random.default_rng(SEED))

    def draw(self) -> Image.Image:
        """RGB, or RGBA where there is a hole; the colours are still there under it."""
        import numpy as np
        from PIL import Image

        from .draw import around, draw

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


_HEART_AND_STAR = partial(related_shapes, ("large", "pink", "heart"), "left of", ("large", "yellow", "star"), "sky")
_FACE_WITH_GLASSES = partial(face_scene, "brown", "black", True, True, "open mouth", "sky")

BUILT_IN_PICTURES: dict[str, BuiltInPicture] = {
    "circle (built-in)": BuiltInPicture(partial(one_shape, "red", "circle", "large", "center", "white")),
    "heart and star (built-in)": BuiltInPicture(_HEART_AND_STAR),
    "diamond above cross (built-in)": BuiltInPicture(
        partial(related_shapes, ("small", "orange", "diamond"), "above", ("large", "blue", "cross"), "cream")
    ),
    "three squares (built-in)": BuiltInPicture(partial(counted_shapes, "three", "green", "square", "rose")),
    "face (built-in)": BuiltInPicture(partial(face_scene, "tan", "brown", False, False, "smile", "mint")),
    "face with glasses (built-in)": BuiltInPicture(_FACE_WITH_GLASSES),
    "circle at the top left (built-in)": BuiltInPicture(
        partial(one_shape, "red", "circle", "large", "top left", "white")
    ),
    "heart and a hole (built-in)": BuiltInPicture(_HEART_AND_STAR, hole=1),
    "close-up of a face (built-in)": BuiltInPicture(_FACE_WITH_GLASSES, margin=MARGIN),
    "small heart and star (built-in)": BuiltInPicture(_HEART_AND_STAR, side=SMALL_SIDE),
}
"""The built-in pictures by the names that a node offers."""
