"""The parts that learn what words mean: the CLIP pair and Stage C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cascade_core.builtin import weights_path
from ...cascade_core.builtin.draw import draw
from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.models.config import PRESETS
from ...cascade_core.models.stage_c import StageC
from ...cascade_core.models.text import TextEncoder
from ...cascade_core.models.vision import ImageEncoder
from ...cascade_core.training.plan import Plan
from .attributes import ATTRIBUTE_SIZES
from .caches import LATENTS, fill_latents, latents_cache
from .captions import leave_out_colors
from .data import training_scene
from .training_part import Part, attribute_loss, built, captions_of, denoising_loss, labels_of, ship, shipped, times


class ClipPair(nn.Module):
    """Both CLIP towers, and linear readers of a scene's attributes that make their vectors say who has which colour."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.image = built(TextEncoder), built(ImageEncoder)
        width = PRESETS["text_encoder"]["tiny"].projection_dim
        self.text_reader = nn.Linear(width, sum(ATTRIBUTE_SIZES))
        self.image_reader = nn.Linear(width, sum(ATTRIBUTE_SIZES))
        self.temperature = nn.Parameter(torch.tensor(2.6))


def clip(work: Path, steps: int) -> Part[ClipPair]:
    """Contrastive, with both towers' vectors also read for the scene's attributes."""
    module = ClipPair()
    batch = 128

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.integers(1 << 20, size=batch)
        pictures = np.stack([np.asarray(draw(training_scene(int(i)), 64)) for i in indices])
        labels = labels_of(indices)
        text = module.text.encode(captions_of(indices, random)).pooled
        image = module.image(to_pixels(pictures))
        scores = module.temperature.exp().clamp(max=50) * F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).T
        pairs = torch.arange(batch)
        return {
            "contrast": 0.25 * (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.T, pairs)),
            "text": 3 * attribute_loss(module.text_reader(text), labels),
            "image": 3 * attribute_loss(module.image_reader(image), labels),
        }

    def finish(trained: ClipPair) -> None:
        ship(trained.text)
        ship(trained.image)

    return Part(module, loss, Plan(steps, 1.5e-3, ema=0.998), finish, batch)


def stage_c(work: Path, steps: int) -> Part[StageC]:
    """Text to latent; the text is dropped in 8 %, and 12 % see the picture's own CLIP vector, half of them no text.

    What was held out has to be composed of words that never met. So the pooled vector, which knows which words do meet,
    is dropped in 30 %, and in 40 % colours are left out, so that each word has a meaning without the others.
    """
    fill_latents(work, LATENTS)
    effnets = latents_cache(work)
    text, image = shipped(TextEncoder), shipped(ImageEncoder)
    module = shipped(StageC).requires_grad_(True) if weights_path("stage_c").exists() else built(StageC)
    batch = 48

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.integers(LATENTS, size=batch)
        clean = torch.as_tensor(effnets[indices]).float()
        told = captions_of(indices, random, drop=0.08)
        seen = np.flatnonzero(random.random(batch) < 0.12)
        told = ["" if i in seen and random.random() < 0.5 else caption for i, caption in enumerate(told)]
        told = [leave_out_colors(each, random, 0.5) if random.random() < 0.4 else each for each in told]
        images = torch.zeros(batch, 1, PRESETS["image_encoder"]["tiny"].projection_dim)
        with torch.no_grad():
            sequence, pooled = text.encode(told)
            if len(seen):
                drawn = [np.asarray(draw(training_scene(int(i)), 64)) for i in indices[seen]]
                images[seen, 0] = image(to_pixels(np.stack(drawn)))
        pooled = pooled * torch.as_tensor(random.random((batch, 1)) >= 0.3)
        return {
            "v": denoising_loss(clean, times(random, batch, 0.3), lambda x, r: module(x, r, sequence, pooled, images))
        }

    return Part(module, loss, Plan(steps, 3e-3, muon=True), ship, batch)
