"""Scenes in colours that the picture world does not have there, for Stage C: blue hair, mint skin, a brown star.

Each word then goes with two to three times as many others, so that it has to have a meaning of its own, of which what
was held out can be composed. All words are those of captions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ...cascade_core.builtin.world import (
    BACKGROUNDS,
    COLOR_JITTER,
    COLORS,
    HAIRS,
    SKINS,
    Face,
    Jitter,
    Rgb,
    Scene,
    sample_scene,
)

FACES = 0.6  # share of these scenes: skins and hairs have the fewest partners

_PLAIN = ("gray", "mint", "rose", "sky")
_BRIGHT = ("green", "blue", "yellow", "orange", "purple", "pink")
SHAPE_COLORS: dict[str, Rgb] = {
    **{word: BACKGROUNDS[word] for word in ("white", *_PLAIN)},
    **{word: HAIRS[word] for word in ("brown", "blonde")},
    "tan": SKINS["tan"],
}
HAIR_COLORS: dict[str, Rgb] = {
    **{word: COLORS[word] for word in _BRIGHT},
    **{word: BACKGROUNDS[word] for word in _PLAIN},
}
SKIN_COLORS: dict[str, Rgb] = {
    **{word: COLORS[word] for word in _BRIGHT},
    **{word: BACKGROUNDS[word] for word in ("white", "gray", "mint", "sky")},
}


def wider_scene(index: int) -> Scene:
    """Scene number `index` of these. Of two shapes one may be the picture world's; no combination is held out."""
    random = np.random.default_rng((7, index))
    scene = sample_scene(random, "face" if random.random() < FACES else None)
    if scene.face is not None:
        return replace(scene, face=_recolored(scene.face, scene.background, random))
    kept = int(random.integers(3)) if scene.kind == "relation" else None  # one of two may stay as it is
    colors = [_other(SHAPE_COLORS, (scene.background,), random) for _ in scene.shapes]
    if scene.kind == "count":
        colors = colors[:1] * len(scene.shapes)
    shapes = [
        shape if place == kept else replace(shape, color=word, rgb=rgb)
        for place, (shape, (word, rgb)) in enumerate(zip(scene.shapes, colors, strict=True))
    ]
    return replace(scene, shapes=tuple(shapes))


def _recolored(face: Face, background: str, random: np.random.Generator) -> Face:
    """The face with another skin, other hair, or both."""
    changed = random.integers(3)
    if changed != 1:
        skin, rgb = _other(SKIN_COLORS, (background,), random)
        face = replace(face, skin=skin, skin_rgb=rgb)
    if changed != 0:
        hair, rgb = _other(HAIR_COLORS, (background, face.skin), random)
        face = replace(face, hair=hair, hair_rgb=rgb)
    return face


def _other(table: dict[str, Rgb], taken: Collection[str], random: np.random.Generator) -> tuple[str, Rgb]:
    """A word of the table that is not taken, and its colour with the world's jitter."""
    words = [word for word in table if word not in taken]
    word = words[int(random.integers(len(words)))]
    return word, Jitter(random).rgb(table[word], COLOR_JITTER)
