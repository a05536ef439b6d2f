"""The judging of few steps: what a LoRA of them draws, beside the stages without it and their teacher.

    python -m stable_cascade_nodes.recipes.tiny.few_steps_judge WORK [--lora FILE] [--count 2000]

Prints a table of prompts that were never trained on, a quarter of each kind. WORK keeps every way's pictures, so that
the teacher draws once.

right      share of the pictures that show what their prompts say, see `reader.py`
apart      mean distance of the pixels from the teacher's of the same prompt and seed (RMS, in 1/255)
Frechet    distance of the distribution from the teacher's (Heusel et al. 2017), in the image encoder's vectors
calls      evaluations of Stage C and of Stage B's network for a picture
CPU        seconds of one processor for a picture, in batches of 32, text and Stage A included
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ...cascade_core.builtin import NAME, lora_path, weights_path
from ...cascade_core.builtin.world import KIND_WEIGHTS, Scene
from ...cascade_core.files.load import load
from ...cascade_core.images import embed_pixels
from ...cascade_core.lora.attach import attach_lora, fuse_lora
from ...cascade_core.lora.read import read_lora
from ...cascade_core.sampling.settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS, SamplerSettings
from .data import SIZE, test_scenes
from .few_steps import FAST
from .judge import BATCH, SETTINGS, Studio, told
from .reader import is_right


@dataclass(frozen=True)
class Way:
    """A way from prompts to pictures."""

    name: str
    stage_c: SamplerSettings
    stage_b: SamplerSettings
    fast: bool = False

    @property
    def calls(self) -> tuple[int, int]:
        stage_c, stage_b = (each.steps * (1 + (each.cfg != 1)) for each in (self.stage_c, self.stage_b))
        return stage_c, stage_b


def few(steps: int, sampler: str, fast: bool) -> Way:
    stage_c, stage_b = (
        replace(settings, steps=count, cfg=1.0, sampler=sampler)
        for settings, count in ((STAGE_C_DEFAULTS, steps), (STAGE_B_DEFAULTS, 1))
    )
    return Way(f"{'fast' if fast else 'undistilled'}, {steps} + 1", stage_c, stage_b, fast)


def teacher(name: str, sampler: str) -> Way:
    return Way(name, replace(SETTINGS, sampler=sampler), replace(STAGE_B_DEFAULTS, sampler=sampler))


TEACHER = teacher("teacher, 20 + 10", "ddim")
WAYS = (TEACHER, *(few(steps, "lcm", fast) for fast in (False, True) for steps in (1, 2)))


def with_fast(studio: Studio, lora: Path) -> Studio:
    """A studio whose stages have the LoRA in their weights."""
    cascade, read = studio.cascade, read_lora(lora)
    stages = {stage: fuse_lora(attach_lora(getattr(cascade, stage), read)[0]) for stage in ("stage_c", "stage_b")}
    return replace(studio, cascade=replace(cascade, **stages))


@dataclass(frozen=True)
class Drawn:
    pictures: np.ndarray  # (N, 256, 256, 3) uint8
    seconds: float  # of a processor, for each

    @cached_property
    def vectors(self) -> np.ndarray:
        """Those of the image encoder (N, D)."""
        return vectors(self.pictures)


def draw(studio: Studio, way: Way, scenes: Sequence[Scene], keep: Path | None = None, weights: bytes = b"") -> Drawn:
    """The picture of each scene's prompt; picture i has the seed i. keep: a folder of what was drawn before.

    weights: what tells studios apart there.
    """
    studio = replace(studio, settings_c=way.stage_c, settings_b=way.stage_b)
    pictures, seconds = np.empty((len(scenes), SIZE, SIZE, 3), np.uint8), 0.0
    for start in range(0, len(scenes), BATCH):
        prompts = told(scenes[start : start + BATCH])
        asked = hashlib.sha256(repr((way, prompts, start)).encode() + weights).hexdigest()[:16]
        path = None if keep is None else keep / f"{asked}.npz"
        if path is not None and path.exists():
            with np.load(path) as file:
                part = Drawn(file["pictures"], float(file["seconds"]))
        else:
            part = _draw(studio, prompts, start)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(path, pictures=part.pictures, seconds=part.seconds)
        pictures[start : start + BATCH] = part.pictures
        seconds += part.seconds * len(prompts) / len(scenes)
    return Drawn(pictures, seconds)


@torch.inference_mode()
def _draw(studio: Studio, prompts: Sequence[str], seed: int) -> Drawn:
    started = time.process_time()
    pixels = studio.decode(studio.latents(prompts, seed), prompts, seed)
    pictures = (pixels * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return Drawn(pictures, (time.process_time() - started) / len(prompts))


@torch.inference_mode()
def vectors(pictures: np.ndarray) -> np.ndarray:
    """The image encoder's vectors (N, D), float64."""
    encoder = load("image_encoder", weights_path("image_encoder"), name=NAME)
    parts = [
        torch.as_tensor(part).permute(0, 3, 1, 2) / 255 for part in np.array_split(pictures, -(-len(pictures) // 64))
    ]
    return torch.cat([embed_pixels(encoder, part) for part in parts]).double().numpy()


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """The Frechet distance of two sets of vectors (N, D) as normal distributions (Heusel et al. 2017)."""
    apart = one.mean(0) - other.mean(0)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    values, axes = np.linalg.eigh(first)
    root = axes * np.sqrt(values.clip(0)) @ axes.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(apart @ apart + np.trace(first) + np.trace(second) - 2 * shared)


def rms(one: np.ndarray, other: np.ndarray) -> float:
    """The mean over pictures of their distance, in 1/255."""
    return float(np.mean([np.sqrt(np.mean((a.astype(float) - b) ** 2)) for a, b in zip(one, other, strict=True)]))


def scenes_to_judge(count: int) -> list[Scene]:
    """A quarter of each kind."""
    return [scene for kind in KIND_WEIGHTS for scene in test_scenes(kind, count // len(KIND_WEIGHTS))]


def row(way: Way, drawn: Drawn, taught: Drawn, scenes: Sequence[Scene]) -> dict[str, float]:
    """The table's numbers of a way, by their names."""
    right = np.mean([is_right(picture, scene) for picture, scene in zip(drawn.pictures, scenes, strict=True)])
    distance = frechet(drawn.vectors, taught.vectors)
    stage_c, stage_b = way.calls
    numbers = {"right": float(right), "apart": rms(drawn.pictures, taught.pictures), "Frechet": distance}
    return numbers | {"calls C": stage_c, "calls B": stage_b, "CPU": drawn.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", metavar="WORK", type=Path)
    parser.add_argument("--lora", metavar="FILE", type=Path, default=lora_path(FAST))
    parser.add_argument("--count", metavar="N", type=int, default=2000, help="pictures of each way (%(default)s)")
    options = parser.parse_args()
    studio, scenes = Studio.load(), scenes_to_judge(options.count)
    fast, weights = with_fast(studio, options.lora), options.lora.read_bytes()
    taught = draw(studio, TEACHER, scenes, options.work)
    for number, way in enumerate(WAYS):
        drawn = draw(fast if way.fast else studio, way, scenes, options.work, weights if way.fast else b"")
        numbers = row(way, drawn, taught, scenes)
        if number == 0:
            print(f"| | {' | '.join(numbers)} |\n|{'---|' * (1 + len(numbers))}")
        print(f"| {way.name} | {' | '.join(f'{value:.4g}' for value in numbers.values())} |", flush=True)


if __name__ == "__main__":
    main()
