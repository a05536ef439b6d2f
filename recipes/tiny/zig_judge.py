"""The judging of a LoRA of zigs: what it draws where it never saw them, and what it changes without their word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ...cascade_core.builtin.world import KIND_WEIGHTS, Scene
from ...cascade_core.lora.attach import attach_lora
from ...cascade_core.lora.lora import Lora
from .captions import captions
from .data import test_scenes
from .judge import BATCH, Studio
from .reader import is_right, matches, read
from .zig import counted_zigs, one_zig, zig_caption
from .zig_reader import shows_zigs


def with_lora(studio: Studio, lora: Lora) -> Studio:
    """A studio whose Stage C and text encoder have the LoRA."""
    cascade = studio.cascade
    stage_c, _ = attach_lora(cascade.stage_c, lora)
    text_encoder, _ = attach_lora(cascade.text_encoder, lora)
    return replace(studio, cascade=replace(cascade, stage_c=stage_c, text_encoder=text_encoder))


def held_out(count: int) -> list[Scene]:
    """Scenes whose number, place or background is in none of the lesson's pictures."""
    return [_held_out(i % 5, i // 5) for i in range(count)]


def _held_out(kind: int, i: int) -> Scene:
    if kind == 0:
        return counted_zigs("two", "mint")
    if kind == 1:
        return counted_zigs("two", ("rose", "white", "sky")[i % 3])
    if kind == 2:
        return one_zig(("large", "small")[i % 2], "bottom right", ("mint", "rose", "cream")[i % 3])
    if kind == 3:
        places = "center", "top left", "top right"
        return one_zig(("large", "small")[i % 2], places[i % 3], ("mint", "rose")[i % 2])
    return counted_zigs(("three", "four")[i % 2], ("mint", "rose")[i % 2])


def draws_zigs(studio: Studio, scenes: Sequence[Scene]) -> list[bool]:
    """Whether the picture of each scene's prompt, by the whole cascade, shows it; picture i has the seed i."""
    pictures = _pictures(studio, [zig_caption(scene) for scene in scenes])
    return [shows_zigs(picture, scene) for picture, scene in zip(pictures, scenes, strict=True)]


def verdicts(studio: Studio, count: int) -> list[tuple[bool, dict[str, bool]]]:
    """Whether the pictures of `count` ordinary prompts, a quarter of each kind, are right, and all their attributes."""
    scenes = [scene for kind in KIND_WEIGHTS for scene in test_scenes(kind, count // len(KIND_WEIGHTS))]
    pictures = _pictures(studio, [captions(scene)[0] for scene in scenes])
    return [(is_right(p, scene), matches(read(p), scene)) for p, scene in zip(pictures, scenes, strict=True)]


def _pictures(studio: Studio, prompts: Sequence[str]) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(prompts), BATCH):
            part = prompts[start : start + BATCH]
            pixels = studio.decode(studio.latents(part, start), part, start)
            found += [picture.clamp(0, 1).permute(1, 2, 0).numpy() for picture in pixels]
    return found
