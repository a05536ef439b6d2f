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
from ..sampling.stages import sample_stage_b, sample_stage_c
from .buckets import CELL
from .models import TrainingModels
from .settings import TrainingSettings

PIXELS_PER_CELL = 128 / 3  # pixels of the finished picture in one cell of Stage C


def sample_side(models: TrainingModels, size: int) -> int | None:
    """Pixels of a square sample's side; None where nothing can show it."""
    cells = size // CELL
    if models.stage_b is not None and models.stage_a is not None:
        return 4 * _side_b(cells)
    return None if models.previewer is None else cells * models.previewer.config.factor


def _side_b(cells: int) -> int:
    """A side of Stage B's latent, for so many cells of Stage C's."""
    return round(cells * PIXELS_PER_CELL / 4)


def paint(
    models: TrainingModels,
    settings: TrainingSettings,
    sizes: Sequence[tuple[int, int]],
    stage_c: Handle,
    text_encoder: Handle,
    controls: Sequence[Control] = (),
) -> list[Tensor]:
    """A picture (3, H, W) of each prompt, in full where Stage B and A are there.

    sizes: (height, width) at which the effnet would encode each; controls: one for each, or none.
    """
    negative = [encode_text(text_encoder, "")]
    pictures: list[Tensor] = []
    for number, prompt in enumerate(settings.prompts):
        condition = encode_text(text_encoder, prompt)
        steered = replace(condition, controls=(controls[number],)) if controls else condition
        seed = settings.seed + number
        height, width = sizes[number]
        empty = torch.zeros(1, stage_c.config.channels, height // CELL, width // CELL)
        latent = last(sample_stage_c(stage_c, [steered], negative, empty, seed=seed, cfg=settings.sample_cfg))
        pictures.append(_decode(models, latent, condition, negative, seed))
    return pictures


def _decode(
    models: TrainingModels, latent: Tensor, condition: Condition, negative: Sequence[Condition], seed: int
) -> Tensor:
    if models.stage_b is None or models.stage_a is None:
        assert models.previewer is not None
        return preview_pixels(models.previewer, latent)[0]
    sides = [_side_b(side) for side in latent.shape[-2:]]
    empty = torch.zeros(1, models.stage_b.config.channels, *sides)
    full = last(sample_stage_b(models.stage_b, [condition], negative, latent, empty, seed=seed))
    return decode_pixels(models.stage_a, full)[0]
