"""Pictures that need no file, for trying workflows that take a picture."""

from __future__ import annotations

import numpy as np

from .world import Scene, counted_shapes, face_scene, one_shape, related_shapes

SEED = 1

BUILT_IN_PICTURES: dict[str, Scene] = {
    "circle (built-in)": one_shape("red", "circle", "large", "center", "white", np.random.default_rng(SEED)),
    "heart and star (built-in)": related_shapes(
        ("large", "pink", "heart"), "left of", ("large", "yellow", "star"), "sky", np.random.default_rng(SEED)
    ),
    "diamond above cross (built-in)": related_shapes(
        ("small", "orange", "diamond"), "above", ("large", "blue", "cross"), "cream", np.random.default_rng(SEED)
    ),
    "three squares (built-in)": counted_shapes("three", "green", "square", "rose", np.random.default_rng(SEED)),
    "face (built-in)": face_scene("tan", "brown", False, False, "smile", "mint", np.random.default_rng(SEED)),
    "face with glasses (built-in)": face_scene(
        "brown", "black", True, True, "open mouth", "sky", np.random.default_rng(SEED)
    ),
}
"""Scenes by the name a picture-loading node offers them under."""
