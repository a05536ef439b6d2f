"""The share of the tiny cascade's pictures that show what their prompts say, whole and part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ...cascade_core.builtin import FAMILY, NAME, weights_path
from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.builtin.world import Scene
from ...cascade_core.files.load import load
from ...cascade_core.images import psnr
from ...cascade_core.models.handle import Handle
from ...cascade_core.models.stage_a import StageA
from ...cascade_core.models.text import TextEncoder
from ...cascade_core.pipeline import Cascade, decode_pixels, last, preview_pixels
from ...cascade_core.sampling.condition import Condition
from ...cascade_core.sampling.latent import Latent
from ...cascade_core.sampling.settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS, SamplerSettings
from ...cascade_core.sampling.stages import sample_stage_b, sample_stage_c
from .captions import captions
from .data import CELLS, SIZE, encoder_picture, picture
from .outlines import outline_error
from .reader import RIGHT, matches, read

BATCH = 32
SETTINGS = replace(STAGE_C_DEFAULTS, cfg=1.5)  # as in the shipped workflow: the tiny world leaves guidance little to do


@dataclass(frozen=True)
class Studio:
    """The built-in cascade, and the parts that tell which of it limits a picture."""

    cascade: Cascade
    effnet: Handle
    previewer: Handle
    settings_c: SamplerSettings = SETTINGS
    settings_b: SamplerSettings = STAGE_B_DEFAULTS

    @staticmethod
    def load(folder: Path | None = None) -> Studio:
        """The weights of a folder; the shipped ones where none is given."""

        def part(kind: str) -> Handle:
            shipped = weights_path(kind)
            return load(kind, shipped if folder is None else folder / shipped.name, name=NAME)

        cascade = Cascade(*(part(kind) for kind in ("text_encoder", "stage_c", "stage_b", "stage_a")))
        return Studio(cascade, part("effnet"), part("previewer"))

    def conditions(self, prompts: Sequence[str]) -> list[Condition]:
        """One condition for a batch of prompts."""
        sequence, pooled = cast(TextEncoder, self.cascade.text_encoder.module).encode(prompts)
        return [Condition(sequence, pooled, family=FAMILY)]

    def latents(self, prompts: Sequence[str], seed: int) -> Tensor:
        """Prompts -> Stage C latents (N, 16, 6, 6), with the workflow's settings, or those chosen."""
        empty = Latent(torch.zeros(len(prompts), 16, CELLS, CELLS))
        conditions = self.conditions(prompts), self.conditions([""])
        return last(sample_stage_c(self.cascade.stage_c, *conditions, empty, seed=seed, settings=self.settings_c))

    def decode(self, latents: Tensor, prompts: Sequence[str], seed: int) -> Tensor:
        """Stage C latents -> pixels (N, 3, 256, 256) by Stage B, with the default settings or those chosen, and A."""
        empty = Latent(torch.zeros(len(prompts), 4, SIZE // 4, SIZE // 4))
        conditions = self.conditions(prompts), self.conditions([""])
        given = Latent(latents), empty
        run = sample_stage_b(self.cascade.stage_b, *conditions, *given, seed=seed, settings=self.settings_b)
        return decode_pixels(self.cascade.stage_a, last(run))

    def encode(self, scenes: Sequence[Scene]) -> Tensor:
        """Drawn pictures -> Stage C latents."""
        return self.effnet.module(to_pixels(np.stack([encoder_picture(picture(scene)) for scene in scenes])))

    def through_stage_a(self, scenes: Sequence[Scene]) -> Tensor:
        """Drawn pictures -> Stage A's latents -> pixels: the best that Stage B could be shown as."""
        module = cast(StageA, self.cascade.stage_a.module)
        return decode_pixels(self.cascade.stage_a, module.encode(to_pixels(np.stack([picture(s) for s in scenes]))))

    def preview(self, latents: Tensor) -> Tensor:
        """Stage C latents -> small pixels by the previewer."""
        return preview_pixels(self.previewer, latents)


def told(scenes: Sequence[Scene]) -> list[str]:
    """The scenes' full prompts."""
    return [captions(scene)[0] for scene in scenes]


Painter = Callable[["Studio", Sequence[Scene], int], Tensor]

PAINTERS: dict[str, Painter] = {
    "stage_a": lambda studio, scenes, seed: studio.through_stage_a(scenes),
    "whole": lambda studio, scenes, seed: studio.decode(studio.latents(told(scenes), seed), told(scenes), seed),
    "stage_c": lambda studio, scenes, seed: studio.preview(studio.latents(told(scenes), seed)),
    "stage_b": lambda studio, scenes, seed: studio.decode(studio.encode(scenes), told(scenes), seed),
    "previewer": lambda studio, scenes, seed: studio.preview(studio.encode(scenes)),
}
"""Ways from scenes to pictures: by the whole cascade, or by a part of it, around the others."""


def judge(studio: Studio, painter: str, scenes: Sequence[Scene]) -> dict[str, float]:
    """The share of pictures that show each attribute of their scenes, and `right`: all that count for the kind.

    `scenes` are of one kind; picture i has the seed i.
    """
    verdicts: list[dict[str, bool]] = []
    with torch.inference_mode():
        for start in range(0, len(scenes), BATCH):
            part = scenes[start : start + BATCH]
            for scene, pixels in zip(part, PAINTERS[painter](studio, part, start), strict=True):
                verdict = matches(read(pixels.clamp(0, 1).permute(1, 2, 0).numpy()), scene)
                verdicts.append(verdict | {"right": all(verdict[name] for name in RIGHT[scene.kind])})
    return {name: float(np.mean([verdict[name] for verdict in verdicts])) for name in verdicts[0]}


@torch.inference_mode()
def nearness(studio: Studio, painter: str, scenes: Sequence[Scene]) -> dict[str, float]:
    """Mean PSNR (`decibels`) and `outline_error` in pixels (`outline`) of pictures that a painter makes of drawn ones.

    For the painters that see the drawn picture and give one of its size: stage_a and stage_b.
    """
    decibels, outlines = list[float](), list[float]()
    for start in range(0, len(scenes), BATCH):
        part = scenes[start : start + BATCH]
        for scene, pixels in zip(part, PAINTERS[painter](studio, part, start), strict=True):
            drawn = picture(scene)
            found = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            decibels.append(psnr(torch.as_tensor(found) / 255, torch.as_tensor(np.array(drawn)) / 255))
            outlines.append(outline_error(found, drawn, scene))
    return {"decibels": float(np.mean(decibels)), "outline": float(np.mean(outlines))}
