"""The training data of the recipe: scenes from seeds, and caches of what is made of their pictures.

Scene i is a function of i. What a network makes of the pictures (pixels at the encoder's size, Stage A latents,
Stage C latents) is computed once and kept in memory-mapped arrays; the caches are filled front to back and can be
read as far as they are filled.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from PIL import Image
from torch import Tensor

from .captions import captions
from .draw import draw
from .world import Scene, sample_scene

SIZE = 256  # side of a picture: 6 x 6 cells of Stage C, 64 x 64 of Stage A
CELLS = 6  # Stage C cells per side
ENCODED_SIZE = 32 * CELLS  # side at which the encoder sees it
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
    """Scenes whose prompts were never trained on: reserved ones, or held-out combinations; no prompt twice."""
    random = np.random.default_rng((2, held_out))
    scenes: dict[str, Scene] = {}
    for _ in range(200 * count):
        scene = sample_scene(random, kind, held_out)
        if held_out or is_reserved(scene):
            scenes.setdefault(captions(scene)[0], scene)
        if len(scenes) == count:
            break
    return list(scenes.values())


def picture(scene: Scene) -> np.ndarray:
    """The scene drawn at full size, uint8 (256, 256, 3)."""
    return np.asarray(draw(scene, SIZE))


def encoder_picture(full: np.ndarray) -> np.ndarray:
    """A full picture at the encoder's size, uint8 (192, 192, 3)."""
    return np.asarray(Image.fromarray(full).resize((ENCODED_SIZE, ENCODED_SIZE), Image.Resampling.BILINEAR))


def to_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in 0..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


class Cache:
    """Rows computed once, in order, kept in a file; `filled` rows can be read."""

    def __init__(self, path: Path, rows: int, shape: tuple[int, ...], dtype: type) -> None:
        self.path = path
        self.counter = path.with_suffix(".filled")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            open_memmap(path, mode="w+", dtype=dtype, shape=(rows, *shape)).flush()
        self.rows = open_memmap(path, mode="r+")

    @property
    def filled(self) -> int:
        return int(self.counter.read_text()) if self.counter.exists() else 0

    def fill(self, make: Callable[[range], np.ndarray], batch: int = 64) -> None:
        """Compute the rows that are missing with `make(indices)`; can be stopped and continued."""
        for start in range(self.filled, len(self.rows), batch):
            indices = range(start, min(start + batch, len(self.rows)))
            self.rows[indices.start : indices.stop] = make(indices)
            partial = self.counter.with_suffix(".partial")
            partial.write_text(str(indices.stop))
            partial.replace(self.counter)

    def fill_rows(self, indices: range, rows: np.ndarray) -> None:
        """Set rows that another cache counts."""
        self.rows[indices.start : indices.stop] = rows

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self.rows[indices]

