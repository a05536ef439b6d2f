"""The parts that learn what words mean: the CLIP pair and Stage C."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cascade_core.builtin.draw import draw
from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.models.config import PRESETS
from ...cascade_core.models.stage_c import StageC
from ...cascade_core.models.text import TextEncoder
from ...cascade_core.models.vision import ImageEncoder
from ...cascade_core.training.plan import Plan
from .attributes import ATTRIBUTE_SIZES, attributes
from .captions import sample_caption
from .data import training_scene
from .networks import begun, built, ship
from .training_data import Data
from .training_part import Denoising, Part, attribute_loss


class ClipPair(nn.Module):
    """Both CLIP towers, and linear readers of a scene's attributes that make their vectors say who has which colour."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.image = built(TextEncoder), built(ImageEncoder)
        width = PRESETS["text_encoder"]["tiny"].projection_dim
        self.text_reader = nn.Linear(width, sum(ATTRIBUTE_SIZES))
        self.image_reader = nn.Linear(width, sum(ATTRIBUTE_SIZES))
        self.temperature = nn.Parameter(torch.tensor(2.6))


def clip(data: Data, steps: int) -> Part[ClipPair]:
    """Contrastive, with both towers' vectors also read for the scene's attributes."""
    module = data.ready(ClipPair())
    batch = 128

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.integers(1 << 20, size=batch)
        pictures = np.stack([np.asarray(draw(training_scene(int(i)), 64)) for i in indices])
        scenes = [training_scene(int(i)) for i in indices]
        labels = torch.as_tensor(np.stack([attributes(scene) for scene in scenes])).to(data.device)
        text = module.text.encode([sample_caption(scene, random) for scene in scenes]).pooled
        image = module.image(to_pixels(pictures).to(data.device))
        scores = module.temperature.exp().clamp(max=50) * F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).T
        pairs = torch.arange(batch, device=data.device)
        return {
            "contrast": 0.25 * (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.T, pairs)),
            "text": 3 * attribute_loss(module.text_reader(text), labels),
            "image": 3 * attribute_loss(module.image_reader(image), labels),
        }

    def finish(trained: ClipPair) -> None:
        ship(trained.text)
        ship(trained.image)

    return Part(module, loss, Plan(steps, 1.5e-3, ema=0.998), finish, batch)


def stage_c(data: Data, steps: int) -> Part[StageC]:
    """Text to latent; the text is dropped in 8 %, and 12 % see the picture's own CLIP vector, half of them no text.

    What was held out has to be composed of words that never met. So the pooled vector, which knows which words do meet,
    is dropped in 30 %, and captions leave out colours and other parts, so that each word has a meaning without others.
    """
    effnets, images, texts = data.latents_c(), data.images(), data.texts("composed", drop=0.08)
    empty = data.texts("composed", drop=1.0)(torch.zeros(1, dtype=torch.long, device=data.device))
    module = data.ready(begun(StageC))
    denoising = Denoising(data.device)
    batch = data.batch(48)

    def loss(_: np.random.Generator) -> dict[str, Tensor]:
        indices = data.some(data.amounts.latents, batch)
        clean = effnets(indices)
        sequence, pooled = texts(indices)
        seen = data.happens(0.12, batch, 1)
        silent = seen & data.happens(0.5, batch, 1)
        sequence = torch.where(silent[..., None], empty.sequence, sequence)
        pooled = torch.where(silent, empty.pooled, pooled) * data.happens(0.7, batch, 1)
        shown = (images(indices) * seen)[:, None]
        t = denoising.times(batch, 0.3)
        return {"v": denoising.loss(clean, t, lambda x, r: module(x, r, sequence, pooled, shown))}

    return Part(module, loss, Plan(steps, 3e-3, optimizer="muon"), ship, batch)
