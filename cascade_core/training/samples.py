"""Sample pictures, which show how a training goes: the same prompts and seeds every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..models.handle import Handle
from ..pipeline import decode_pixels, encode_text, last, preview_pixels
from ..sampling.condition import Condition
from ..sampling.control import Control
from ..sampling.latent import Latent
from ..sampling.settings import STAGE_C_DEFAULTS, SamplerSettings
from ..sampling.sizes import CELL, CELL_B, stage_b_size_of
from ..sampling.stages import sample_stage_b, sample_stage_c
from .models import StageCModels
from .settings import TrainingSettings


def sample_side(models: StageCModels, size: int) -> int | None:
    """Pixels of a square sample's side; None where nothing can show it."""
    cells = size // CELL
    if models.stage_b is not None and models.stage_a is not None:
        return CELL_B * stage_b_size_of((cells, cells))[0]
    return None if models.previewer is None else cells * models.previewer.config.factor


def paint(
    models: StageCModels,
    settings: TrainingSettings,
    sizes: Sequence[tuple[int, int]],
    stage_c: Handle,
    text_encoder: Handle,
    controls: Sequence[Control] = (),
    sampler: SamplerSettings | None = None,
) -> list[Tensor]:
    """A picture (3, H, W) of each prompt, in full where Stage B and A are there; none where nothing can show them.

    sizes: (height, width) at which the effnet would encode each; controls: one for each, or none. sampler: settings of
    Stage C other than the official ones.
    """
    if sample_side(models, settings.size) is None:
        return []
    negative = [encode_text(text_encoder, "")]
    sampler = sampler or replace(STAGE_C_DEFAULTS, cfg=settings.sample_cfg)
    pictures: list[Tensor] = []
    for number, prompt in enumerate(settings.prompts):
        condition = encode_text(text_encoder, prompt)
        steered = replace(condition, controls=(controls[number],)) if controls else condition
        seed = settings.seed + number
        height, width = sizes[number]
        empty = Latent(torch.zeros(1, stage_c.config.channels, height // CELL, width // CELL))
        latent = last(sample_stage_c(stage_c, [steered], negative, empty, seed=seed, settings=sampler))
        pictures.append(_decode(models, latent, condition, negative, seed))
    return pictures


def _decode(
    models: StageCModels, latent: Tensor, condition: Condition, negative: Sequence[Condition], seed: int
) -> Tensor:
    if models.stage_b is None or models.stage_a is None:
        assert models.previewer is not None
        return preview_pixels(models.previewer, latent)[0]
    sides = stage_b_size_of((latent.shape[-2], latent.shape[-1]))
    empty = Latent(torch.zeros(1, models.stage_b.config.channels, *sides))
    full = last(sample_stage_b(models.stage_b, [condition], negative, Latent(latent), empty, seed=seed))
    return decode_pixels(models.stage_a, full)[0]
