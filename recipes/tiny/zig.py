"""A pattern that the tiny cascade has never seen, to be learned as a new word: a disc, half green and half orange.

Every shape of the picture world has one colour. Of what has two, halves survive the encoder and Stage B; stripes, rings
and shapes inside shapes melt into one colour there. A scene of zigs is a scene of circles in the upper half's colour.

The pictures to learn from lie in `lessons/zig`, as this draws them (`write_lesson`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ...cascade_core.builtin.draw import SUPERSAMPLING, Brush
from ...cascade_core.builtin.world import COLORS, PLURALS, Scene, counted_shapes, one_shape
from .captions import captions

TOKEN = "[zig]"
TOP, BOTTOM, SHAPE = "green", "orange", "circle"
SEED = 7  # seed of the lesson's sizes and places

SINGLE = (
    ("large", "top left", "white"),
    ("small", "top right", "gray"),
    ("large", "bottom left", "cream"),
    ("small", "center", "sky"),
    ("large", "center", "white"),
    ("small", "bottom left", "gray"),
    ("large", "top right", "sky"),
    ("small", "top left", "cream"),
)
COUNTED = (("three", "white"), ("four", "gray"), ("three", "sky"), ("four", "cream"))
"""The content of the twelve pictures. "two", the bottom right, mint and rose are left out, to test with."""


def one_zig(size: str, place: str, background: str, random: np.random.Generator | None = None) -> Scene:
    return one_shape(TOP, SHAPE, size, place, background, random)


def counted_zigs(number: str, background: str, random: np.random.Generator | None = None) -> Scene:
    return counted_shapes(number, TOP, SHAPE, background, random)


def lesson() -> list[Scene]:
    """The twelve scenes to learn from."""
    random = np.random.default_rng(SEED)
    single = [one_zig(*words, random) for words in SINGLE]
    return single + [counted_zigs(*words, random) for words in COUNTED]


def zig_caption(scene: Scene) -> str:
    """Such as `a large [zig] at the top left on a white background`, `two [zig] on a mint background`."""
    told = captions(scene)[0]
    for word in (PLURALS[SHAPE], SHAPE):
        told = told.replace(f"{TOP} {word} ", f"{TOKEN} ")
    return told


def draw_zigs(scene: Scene, size: int = 256) -> Image.Image:
    """The scene as an RGB picture of `size` by `size` pixels."""
    side = size * SUPERSAMPLING
    picture = Image.new("RGB", (side, side), scene.background_rgb)
    pen = ImageDraw.Draw(picture)
    angles = np.linspace(0, np.pi, 33)  # angles of the lower half, from the right
    for shape in scene.shapes:
        brush = Brush(pen, side, shape.x, shape.y, shape.r)
        brush.ellipse(0, 0, 1, 1, COLORS[TOP])
        brush.polygon(np.stack([np.cos(angles), np.sin(angles)], axis=1), COLORS[BOTTOM])
    return picture.reduce(SUPERSAMPLING)


def write_lesson(folder: Path) -> None:
    """The twelve pictures with their captions, as a data set."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(lesson(), 1):
        draw_zigs(scene).save(folder / f"{number:02}.png", optimize=True)
        (folder / f"{number:02}.txt").write_text(zig_caption(scene) + "\n", encoding="utf-8")
