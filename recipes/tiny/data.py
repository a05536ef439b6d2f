"""The training and test data of the recipe: scene i is a function of i, its pictures are drawn on the fly."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from PIL import Image

from ...cascade_core.builtin.draw import draw
from ...cascade_core.builtin.world import Scene, sample_scene
from ...cascade_core.sampling.sizes import CELL
from .captions import captions

SIZE = 256  # side of a picture: 6 x 6 cells of Stage C, 64 x 64 of Stage A
CELLS = 6  # Stage C cells per side
ENCODED_SIZE = CELL * CELLS  # side at which the encoder sees it
RESERVED_PERCENT = {"one": 8, "relation": 5, "count": 25, "face": 18}  # leaves 200 prompts of a kind or more


def is_reserved(scene: Scene) -> bool:
    """Is this scene's prompt, told from either side, kept out of training to test with?"""
    return any(zlib.crc32(caption.encode()) % 100 < RESERVED_PERCENT[scene.kind] for caption in captions(scene))


@lru_cache(maxsize=1 << 18)
def training_scene(index: int) -> Scene:
    """Scene number `index` of training: neither held out nor reserved."""
    random = np.random.default_rng((1, index))
    while is_reserved(scene := sample_scene(random)):
        pass
    return scene


def test_scenes(kind: str, count: int, held_out: bool = False) -> list[Scene]:
    """Scenes whose prompts were never trained on: reserved ones, or held-out combinations.

    Each prompt once, as long as there are new ones; then again, as the little worlds of counts and faces need.
    """
    random = np.random.default_rng((2, held_out))
    fresh: dict[str, Scene] = {}
    again: list[Scene] = []
    for _ in range(100 * count):
        scene = sample_scene(random, kind, held_out)
        if held_out or is_reserved(scene):
            prompt = captions(scene)[0]
            again.extend([scene] if prompt in fresh else [])
            fresh.setdefault(prompt, scene)
        if len(fresh) == count:
            break
    return [*fresh.values(), *again][:count]


def picture(scene: Scene, scale: int = 1) -> np.ndarray:
    """The scene drawn at full size, uint8 (256, 256, 3), or at a multiple of it."""
    return np.asarray(draw(scene, scale * SIZE))


def encoder_picture(full: np.ndarray) -> np.ndarray:
    """A full picture, or a multiple, at the encoder's size, uint8 (192, 192, 3) or the multiple."""
    side = len(full) * ENCODED_SIZE // SIZE
    return np.asarray(Image.fromarray(full).resize((side, side), Image.Resampling.BILINEAR))
