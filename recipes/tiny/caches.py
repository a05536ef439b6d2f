"""Caches of what networks compute of the training pictures, once, in memory-mapped files.

Pixels at the encoder's size, Stage A latents and Stage C latents; filled front to back, and continued where they stop.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from torch import Tensor

from ...cascade_core.builtin import FAMILY, weights_path
from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.files.load import load
from ...cascade_core.hints import enlarged
from ...cascade_core.models.effnet import Effnet
from ...cascade_core.models.stage_a import StageA
from ...cascade_core.models.text import TextEncoder
from ...cascade_core.pipeline import last
from ...cascade_core.sampling.condition import Condition
from ...cascade_core.sampling.latent import Latent
from ...cascade_core.sampling.settings import STAGE_B_DEFAULTS
from ...cascade_core.sampling.stages import sample_stage_b
from .data import CELLS, ENCODED_SIZE, encoder_picture, picture, training_scene
from .training_part import shipped

PICTURES = 24576  # kept with their Stage A latents, for the decoder's parts
SMALL_SIDES = (12, 16, 16, 16, 20, 24, 32, 64)  # sides of the pictures that super-resolution enlarges
SMALL_PICTURES = 8192  # kept as the latents of small pictures, for super-resolution
ESTIMATES = 512  # kept as Stage B leaves them, for Stage A's decoder
LATENTS = 65536  # kept as Stage C latents only, for Stage C


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

    def fill(self, make: Callable[[range], np.ndarray], rows: int, batch: int = 64) -> None:
        """Compute what is missing of the first `rows` with `make(indices)`; can be stopped and continued."""
        for start in range(self.filled, rows, batch):
            indices = range(start, min(start + batch, rows))
            self.rows[indices.start : indices.stop] = make(indices)
            partial = self.counter.with_suffix(".partial")
            partial.write_text(str(indices.stop))
            partial.replace(self.counter)

    def fill_rows(self, indices: range, rows: np.ndarray) -> None:
        """Set rows that another cache counts."""
        self.rows[indices.start : indices.stop] = rows

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self.rows[indices]


def _weights(kind: str) -> str:
    """A mark of the shipped weights, so that no latents are read that others made."""
    return f"{zlib.crc32(weights_path(kind).read_bytes()):08x}"


def pictures_cache(work: Path) -> tuple[Cache, Cache]:
    """Pictures at the encoder's size, and their Stage A latents."""
    pixels = Cache(work / "pictures.npy", PICTURES, (ENCODED_SIZE, ENCODED_SIZE, 3), np.uint8)
    latents = Cache(work / f"latents_a-{_weights('stage_a')}.npy", PICTURES, (4, 64, 64), np.float16)
    return pixels, latents


def fill_pictures(work: Path, rows: int = PICTURES) -> None:
    """Draw the first `rows` pictures once and encode them with Stage A."""
    pixels, latents = pictures_cache(work)
    module = shipped(StageA)

    @torch.no_grad()
    def make(indices: range) -> np.ndarray:
        full = [picture(training_scene(i)) for i in indices]
        pixels.fill_rows(indices, np.stack([encoder_picture(each) for each in full]))
        with torch.autocast("cpu", torch.bfloat16):
            return module.encode(to_pixels(np.stack(full))).half().numpy()

    latents.fill(make, rows, batch=16)


def fill_latents(work: Path, rows: int = PICTURES) -> None:
    """Encode the first `rows` pictures with the frozen effnet."""
    pixels, _ = pictures_cache(work)
    cache = latents_cache(work)
    module = shipped(Effnet)

    @torch.no_grad()
    def make(indices: range) -> np.ndarray:
        if indices.stop <= PICTURES:
            pictures = pixels[np.arange(indices.start, indices.stop)]
        else:
            pictures = np.stack([encoder_picture(picture(training_scene(i))) for i in indices])
        return module(to_pixels(pictures)).half().numpy()

    cache.fill(make, rows)


def fill_estimates(work: Path) -> Cache:
    """Stage A latents as Stage B leaves them, of the first pictures: from their Stage C latents, with no text.

    And with no guidance, which doubles the time and hardly changes them.
    """
    cache = Cache(work / f"estimates-{_weights('stage_b')}.npy", ESTIMATES, (4, 64, 64), np.float16)
    effnets = latents_cache(work)
    stage_b = load("stage_b", weights_path("stage_b"))
    settings = replace(STAGE_B_DEFAULTS, cfg=1.0)
    condition = [Condition(*shipped(TextEncoder).encode([""]), family=FAMILY)]

    @torch.inference_mode()
    def make(indices: range) -> np.ndarray:
        latent = Latent(torch.as_tensor(effnets[np.arange(indices.start, indices.stop)]).float())
        empty = Latent(torch.zeros(len(indices), 4, 64, 64))
        steps = sample_stage_b(stage_b, condition, condition, latent, empty, seed=indices.start, settings=settings)
        return last(steps).half().numpy()

    cache.fill(make, ESTIMATES, batch=32)
    return cache


def fill_small_latents(work: Path) -> Cache:
    """Encode pictures that were shrunk to a few pixels, as the super-resolution hint does."""
    cache = Cache(work / f"latents_small-{_weights('effnet')}.npy", SMALL_PICTURES, (16, CELLS, CELLS), np.float16)
    module = shipped(Effnet)

    @torch.no_grad()
    def make(indices: range) -> np.ndarray:
        full = to_pixels(np.stack([picture(training_scene(i)) for i in indices]))
        sides = [SMALL_SIDES[i % len(SMALL_SIDES)] for i in indices]
        small = [shrunk(one[None], side) for one, side in zip(full, sides, strict=True)]
        return module(torch.cat([enlarged(one) for one in small])).half().numpy()

    cache.fill(make, SMALL_PICTURES)
    return cache


def shrunk(pixels: Tensor, side: int) -> Tensor:
    """Pictures (B, 3, H, W) at a few pixels a side, as a file of them would hold."""
    small = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
    return (small.clamp(0, 1) * 255).round() / 255


def latents_cache(work: Path) -> Cache:
    """Stage C latents of the cached pictures, and of more."""
    return Cache(work / f"latents_c-{_weights('effnet')}.npy", LATENTS, (16, CELLS, CELLS), np.float16)
