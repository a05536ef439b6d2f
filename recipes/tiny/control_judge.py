"""The judging of the tiny ControlNets: trials with prompts that leave out what the hint shows, read by the reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...cascade_core.builtin.draw import around
from ...cascade_core.builtin.faces import CartoonFaces
from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.builtin.world import BACKGROUNDS, COLORS, HELD_OUT_SHAPES, RADII, SHAPES, Scene
from ...cascade_core.hints import (
    Hint,
    apply_control,
    make_canny_hint,
    make_identity_hint,
    make_inpaint_hint,
    make_super_resolution_hint,
)
from ...cascade_core.images import psnr
from ...cascade_core.models.handle import Handle
from ...cascade_core.pipeline import last
from ...cascade_core.sampling.latent import Latent
from ...cascade_core.sampling.stages import sample_stage_c
from .captions import bare_face_caption, told_apart
from .data import CELLS, SIZE, picture, test_scenes
from .judge import BATCH, SETTINGS, Studio
from .reader import matches, read
from .training_data import shrunk

SMALL_SIDE = 16  # pixels a side of the pictures that super-resolution enlarges to 256
HOLE = 1.4  # half side of an inpainted hole in radii of the shape that it hides


@dataclass(frozen=True)
class Trial:
    """A picture to take the hint from, the prompt, and what has to come out."""

    source: Scene
    prompt: str
    wanted: Scene
    mask: np.ndarray | None = None  # bool (SIZE, SIZE), of inpainting


def canny_trials(count: int) -> list[Trial]:
    """Edges of one or two shapes; the prompt gives them other colours and says neither place, size nor relation."""
    random = np.random.default_rng(11)
    scenes = [
        scene
        for pair in zip(*(test_scenes(kind, count) for kind in ("one", "relation")), strict=True)
        for scene in pair
    ][:count]
    trials: list[Trial] = []
    for scene in scenes:
        shapes = tuple(replace(shape, color=_other_color(shape.shape, random)) for shape in scene.shapes)
        wanted = replace(scene, shapes=shapes, background=str(random.choice(list(BACKGROUNDS))))
        trials.append(Trial(scene, told_apart(wanted), wanted))
    return trials


def inpainting_trials(count: int) -> list[Trial]:
    """One of two shapes is hidden; the prompt says what shall be in its place, and nothing else."""
    random = np.random.default_rng(12)
    trials: list[Trial] = []
    for scene in test_scenes("relation", count):
        number = int(random.integers(2))
        kept, hidden = scene.shapes[1 - number], scene.shapes[number]
        shape = kept.shape
        while shape in (kept.shape, hidden.shape):
            shape = str(random.choice(SHAPES))
        new = replace(hidden, shape=shape, color=_other_color(shape, random), size=str(random.choice(list(RADII))))
        wanted = replace(scene, shapes=(new, kept) if number == 0 else (kept, new))
        mask = around(hidden.x, hidden.y, HOLE * 0.215, SIZE)
        trials.append(Trial(scene, f"a {new.size} {new.color} {new.shape}", wanted, mask))
    return trials


def super_resolution_trials(count: int) -> list[Trial]:
    """Small pictures of everything, with no prompt."""
    kinds = ("one", "relation", "count", "face")
    scenes = [scene for row in zip(*(test_scenes(kind, count) for kind in kinds), strict=True) for scene in row]
    return [Trial(scene, "", scene) for scene in scenes[:count]]


def identity_trials(count: int) -> list[Trial]:
    """Faces of which the prompt says nothing, before another background."""
    random = np.random.default_rng(14)
    trials: list[Trial] = []
    for scene in test_scenes("face", count):
        background = str(random.choice([name for name in BACKGROUNDS if name != scene.background]))
        trials.append(Trial(scene, bare_face_caption(background), replace(scene, background=background)))
    return trials


TRIALS: dict[str, Callable[[int], list[Trial]]] = {
    "canny": canny_trials,
    "inpainting": inpainting_trials,
    "super_resolution": super_resolution_trials,
    "identity": identity_trials,
}
RIGHT = {
    "canny": ("color", "shape", "size", "place", "relation", "background"),
    "inpainting": ("count", "color", "shape", "relation", "background"),
    "identity": ("skin", "hair", "length", "glasses", "mouth", "background"),
}
"""The verdicts that must all hold, where a scene has them."""


def hint_of(mode: str, studio: Studio, trials: Sequence[Trial]) -> Hint:
    """The trials' hints, made from drawn pictures as a node makes them."""
    pixels = to_pixels(np.stack([picture(trial.source) for trial in trials]))
    if mode == "canny":
        return make_canny_hint(pixels)
    if mode == "inpainting":
        masks = torch.as_tensor(np.stack([trial.mask for trial in trials if trial.mask is not None]))
        return make_inpaint_hint(pixels, masks[:, None])
    if mode == "super_resolution":
        return make_super_resolution_hint(studio.effnet, shrunk(pixels, SMALL_SIDE))
    return make_identity_hint(CartoonFaces(), pixels)


@torch.inference_mode()
def steer(studio: Studio, controlnet: Handle, mode: str, trials: Sequence[Trial], strength: float, seed: int) -> Tensor:
    """The trials' pictures (N, 3, 256, 256); picture i has the seed + i."""
    prompts = [trial.prompt for trial in trials]
    hint = hint_of(mode, studio, trials)
    positive = [apply_control(one, controlnet, hint, strength) for one in studio.conditions(prompts)]
    empty = Latent(torch.zeros(len(trials), 16, CELLS, CELLS))
    negative = studio.conditions([""])
    latents = last(sample_stage_c(studio.cascade.stage_c, positive, negative, empty, seed=seed, settings=SETTINGS))
    return studio.decode(latents, prompts, seed)


def judge_control(studio: Studio, controlnet: Handle, mode: str, count: int, strength: float = 1.0) -> dict[str, float]:
    """Shares of `count` trials that show each attribute, and `right`: all that count; decibels where they measure."""
    trials = TRIALS[mode](count)
    rows: list[dict[str, float]] = []
    for start in range(0, count, BATCH):
        part = trials[start : start + BATCH]
        for trial, pixels in zip(part, steer(studio, controlnet, mode, part, strength, start), strict=True):
            rows.append(_verdict(mode, trial, pixels))
    names = sorted({name for row in rows for name in row})
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _verdict(mode: str, trial: Trial, pixels: Tensor) -> dict[str, float]:
    full = to_pixels(picture(trial.source)[None])[0]
    if mode == "super_resolution":
        bicubic = F.interpolate(shrunk(full[None], SMALL_SIDE), (SIZE, SIZE), mode="bicubic")[0].clamp(0, 1)
        ours, theirs = psnr(pixels, full), psnr(bicubic, full)
        return {"psnr": ours, "bicubic": theirs, "right": float(ours > theirs)}
    seen = matches(read(pixels.permute(1, 2, 0).numpy()), trial.wanted)
    row = {name: float(value) for name, value in seen.items()}
    row["right"] = float(all(seen[name] for name in RIGHT[mode] if name in seen))
    if trial.mask is not None:
        outside = ~torch.as_tensor(trial.mask)
        row["psnr_outside"] = psnr(pixels[:, outside], full[:, outside])
    return row


def _other_color(shape: str, random: np.random.Generator) -> str:
    """A colour in which training shows this shape."""
    return str(random.choice([color for color in COLORS if (color, shape) not in HELD_OUT_SHAPES]))
