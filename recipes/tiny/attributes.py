"""The content of a scene as class numbers, the supervised targets of training."""

from __future__ import annotations

import numpy as np

from ...cascade_core.builtin.world import BACKGROUNDS, COLORS, HAIRS, MOUTHS, RADII, SHAPES, SKINS, Scene

CELLS = 9
COLOR_START, SHAPE_START, SIZE_START = 0, CELLS, 2 * CELLS
BACKGROUND_INDEX = 3 * CELLS
FACE_START = BACKGROUND_INDEX + 1

ATTRIBUTE_SIZES: tuple[int, ...] = (
    *(CELLS * (1 + len(COLORS),)),
    *(CELLS * (1 + len(SHAPES),)),
    *(CELLS * (1 + len(RADII),)),
    len(BACKGROUNDS),
    1 + len(SKINS),
    1 + len(HAIRS),
    3,
    3,
    1 + len(MOUTHS),
)
"""The number of classes of every entry of ``attributes``."""


def attributes(scene: Scene) -> np.ndarray:
    """The scene's class numbers, int64 of shape (33,), in the words' order in ``world``.

    Entries 0..8 are the colours, 9..17 the shapes and 18..26 the sizes (1 small, 2 large) in the nine thirds-by-thirds
    cells of the picture, row by row, 0 where no shape has its centre; counted shapes are small. Entry 27 is the
    background, from 0. Entries 28..32 are the face's skin, hair, length (1 short, 2 long), glasses (1 no, 2 yes) and
    mouth, all 0 without a face.
    """
    values = np.zeros(len(ATTRIBUTE_SIZES), np.int64)
    for shape in scene.shapes:
        cell = 3 * min(int(shape.y * 3), 2) + min(int(shape.x * 3), 2)
        values[COLOR_START + cell] = 1 + list(COLORS).index(shape.color)
        values[SHAPE_START + cell] = 1 + SHAPES.index(shape.shape)
        values[SIZE_START + cell] = 1 + list(RADII).index(shape.size)
    values[BACKGROUND_INDEX] = list(BACKGROUNDS).index(scene.background)
    face = scene.face
    if face is not None:
        values[FACE_START:] = (
            1 + list(SKINS).index(face.skin),
            1 + list(HAIRS).index(face.hair),
            1 + int(face.long),
            1 + int(face.glasses),
            1 + MOUTHS.index(face.mouth),
        )
    return values
