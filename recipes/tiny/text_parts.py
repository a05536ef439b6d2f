"""The parts that learn what words mean: the CLIP pair and Stage C."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cascade_core.builtin.draw import draw
from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.builtin.world import BACKGROUNDS, COLORS, HAIRS, SKINS
from ...cascade_core.models.config import PRESETS
from ...cascade_core.models.stage_c import StageC
from ...cascade_core.models.text import TextEmbedding, TextEncoder
from ...cascade_core.models.vision import ImageEncoder
from ...cascade_core.training.plan import Plan
from .attributes import ATTRIBUTE_SIZES, attributes
from .caption_kinds import TOKENIZER
from .captions import VOCABULARY, sample_caption
from .data import training_scene
from .networks import begun, built, ship, shipped
from .training_data import Data, is_end, until_end
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


def words(data: Data, steps: int) -> Part[TextEncoder]:
    """The text encoder once more: no word's state knows the colours before it, while the pooled vector stays.

    A word that has seen "yellow" says "yellow cross" in one, and Stage C, which reads it there, takes a pair that it
    never learned for one that it did. So a colour is to be read where it stands. What is copied is the shipped
    encoder's sequence where no word sees the colours before it, but for the row of the end, which the pooled vector is
    made of.
    """
    teacher, tokens = data.ready(shipped(TextEncoder)), data.tokens("composed")
    colors = color_words().to(data.device)
    module = data.ready(begun(TextEncoder))
    batch = data.batch(128)
    jumbled = batch // 8

    def loss(_: np.random.Generator) -> dict[str, Tensor]:
        captions = tokens(data.some(data.amounts.latents, batch - jumbled))
        ids = torch.cat([captions, _jumbled(jumbled, data.device)])
        seen, end = until_end(ids).long(), is_end(ids)[..., None]
        with torch.no_grad():
            whole, pooled = teacher(ids, seen)
            wanted = torch.where(end, whole, apart(teacher, ids, colors))
        sequence, found = module(ids, seen)
        error = (sequence - wanted).square() / wanted.var()
        return {
            "words": error.mean(),
            "end": (error * end).mean() / end.float().mean(),
            "pooled": 2 * F.mse_loss(found, pooled) / pooled.var(),
        }

    return Part(module, loss, Plan(steps, 1e-3, flat=0.2, ema=0.998, weight_decay=0.0), ship, batch)


def color_words() -> Tensor:
    """Bool (tokens,), true for words of colours, skins, hairs and backgrounds."""
    colors = torch.zeros(TOKENIZER.end + 1, dtype=torch.bool)
    colors[[TOKENIZER.encode(word)[0] for word in {*COLORS, *SKINS, *HAIRS, *BACKGROUNDS}]] = True
    return colors


def apart(encoder: TextEncoder, ids: Tensor, hidden: Tensor) -> Tensor:
    """The sequence (B, L, D) of ids (B, L) where tokens that are `hidden` (tokens,) are seen by themselves alone."""
    place = torch.arange(ids.shape[1], device=ids.device)
    itself, before = place[:, None] == place, place[:, None] >= place
    mask = before & until_end(ids)[:, None] & (itself | ~hidden[ids][:, None])
    tower = encoder.text_model
    return tower.encoder(tower.embeddings(ids), mask[:, None])


def _jumbled(batch: int, device: torch.device) -> Tensor:
    """Token ids (B, L) of words in no order, as no caption has them."""
    length = TOKENIZER.max_length
    place = torch.arange(length, device=device)
    ids = torch.randint(len(VOCABULARY), (batch, length), device=device)
    ids = torch.where(place < torch.randint(1, length, (batch, 1), device=device), ids, TOKENIZER.end)
    return torch.where(place == 0, TOKENIZER.start, ids)


def stage_c(data: Data, steps: int) -> Part[StageC]:
    """Text to latent; the text is dropped in 8 %, and 12 % see the picture's own CLIP vector, half of them no text.

    What was held out has to be composed of words that never met. So what knows the whole caption is dropped in half,
    captions leave out colours and other parts, so that each word has a meaning without others, and a fifth of the rows
    are wider scenes. A twelfth are pictures of twice the side, whose errors count 0.15 in all.
    """
    latents, images, texts = data.latents_c(), data.images(), data.texts("composed", drop=0.08, whole=0.5)
    wider, wider_texts, large = data.wider_latents(), data.texts("wider", drop=0.08, whole=0.5), data.large_latents()
    empty = data.texts("composed", drop=1.0)(torch.zeros(1, dtype=torch.long, device=data.device))
    module = data.ready(begun(StageC))
    denoising = Denoising(data.device)
    batch = data.batch(48)
    few, fewest = 5 * batch // 24, batch // 12
    usual = batch - few - fewest

    def error(clean: Tensor, text: TextEmbedding, shown: Tensor) -> Tensor:
        t = denoising.times(len(clean), 0.3)
        return denoising.loss(clean, t, lambda x, r: module(x, r, text.sequence, text.pooled, shown[:, None]))

    def loss(_: np.random.Generator) -> dict[str, Tensor]:
        indices, others = data.some(data.amounts.latents, usual), data.some(data.amounts.wider, few)
        usual_text, wider_text = texts(indices), wider_texts(others)
        seen = data.happens(0.12, usual, 1)
        silent = seen & data.happens(0.5, usual, 1)
        sequence = torch.where(silent[..., None], empty.sequence, usual_text.sequence)
        pooled = torch.where(silent, empty.pooled, usual_text.pooled)
        shown = images(indices) * seen
        text = TextEmbedding(torch.cat([sequence, wider_text.sequence]), torch.cat([pooled, wider_text.pooled]))
        small = error(torch.cat([latents(indices), wider(others)]), text, F.pad(shown, (0, 0, 0, few)))

        doubled = data.some(data.amounts.large, fewest)
        return {
            "v": 0.85 * small,
            "large": 0.15 * error(large(doubled), texts(doubled), shown.new_zeros(fewest, shown.shape[1])),
        }

    return Part(module, loss, Plan(steps, 3e-3, optimizer="muon"), ship, batch)
