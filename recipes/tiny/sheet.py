"""A sheet of pictures by other weights and by the shipped ones, side by side, with the same prompts and seeds.

    python -m stable_cascade_nodes.recipes.tiny.sheet OTHER_WEIGHTS SHEET.jpg

OTHER_WEIGHTS is a folder like cascade_core/builtin/weights. Of each kind six prompts that were never trained on, the
last two of combinations held out of training; left the other weights' picture, right the shipped one's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...cascade_core.builtin import weights_path
from ...cascade_core.builtin.world import KIND_WEIGHTS, Scene
from .data import test_scenes
from .judge import Studio, told

TILE, GAP = 160, 12  # pixels of a picture's side, and between pairs
COLUMNS = 4
PAPER = (38, 38, 43)


def scenes() -> list[Scene]:
    """Six of each kind."""
    return [scene for kind in KIND_WEIGHTS for scene in (*test_scenes(kind, 4), *test_scenes(kind, 2, held_out=True))]


@torch.inference_mode()
def pictures(studio: Studio, prompts: list[str]) -> list[Image.Image]:
    """Each prompt's picture by the whole cascade, with the seed 0 + its number."""
    pixels = studio.decode(studio.latents(prompts, 0), prompts, 0)
    arrays = (pixels.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(np.ascontiguousarray(each)) for each in arrays]


def sheet(left: list[Image.Image], right: list[Image.Image]) -> Image.Image:
    """Pairs in rows of COLUMNS."""
    rows = -(-len(left) // COLUMNS)
    paper = Image.new("RGB", (COLUMNS * (2 * TILE + GAP) + GAP, rows * (TILE + GAP) + GAP), PAPER)
    for number, pair in enumerate(zip(left, right, strict=True)):
        row, column = divmod(number, COLUMNS)
        for side, picture in enumerate(pair):
            at = GAP + column * (2 * TILE + GAP) + side * TILE, GAP + row * (TILE + GAP)
            paper.paste(picture.resize((TILE, TILE), Image.Resampling.LANCZOS), at)
    return paper


def main(other: str, file: str) -> None:
    prompts = told(scenes())
    shipped = weights_path("stage_a").parent
    sheet(*(pictures(Studio.load(folder), prompts) for folder in (Path(other), shipped))).save(file, quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])
