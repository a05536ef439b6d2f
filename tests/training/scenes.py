"""Data sets of the tiny picture world, written as people have them: pictures, captions, control pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.world import Scene, sample_scene
from stable_cascade_nodes.recipes.tiny.captions import sparse_caption

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
KINDS = ("one", "relation", "count")
LEFT_OUT = 0.5  # share of what captions do not tell, so that the control picture has something to say


def silhouette(scene: Scene) -> Image.Image:
    """The scene's shapes in white on black: where they are, how large, of what form."""
    shapes = tuple(replace(shape, rgb=WHITE) for shape in scene.shapes)
    return draw(replace(scene, background_rgb=BLACK, shapes=shapes))


def write_silhouettes(folder: Path, count: int, seed: int = 3) -> list[Scene]:
    """`count` drawn scenes with captions that leave much out, and their silhouettes in `control`."""
    random = np.random.default_rng(seed)
    scenes = [sample_scene(random, KINDS[i % len(KINDS)]) for i in range(count)]
    (folder / "control").mkdir(parents=True)
    for number, scene in enumerate(scenes):
        draw(scene).save(folder / f"{number:04}.png")
        silhouette(scene).save(folder / "control" / f"{number:04}.png")
        caption = sparse_caption(scene, random, LEFT_OUT)
        (folder / f"{number:04}.txt").write_text(caption or "something")  # an empty caption would be none
    return scenes
