"""Preservation: the network is held to its own predictions for prompts that have nothing to do with what it learns.

This is on latents that it drew itself, once, and on the pictures that it learns from, named by ordinary words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np
import torch
from torch import Tensor

from ..pipeline import encode_text, last
from ..sampling.latent import Latent
from ..sampling.settings import STAGE_C_DEFAULTS
from ..sampling.stages import sample_stage_c
from .data.buckets import CELL
from .data.cache import Entry, fingerprint, key_of
from .data.examples import Conditioning, Examples
from .denoising import Noised, add_noise
from .models import TrainingModels

LEARNED, EMPTY = 0.25, 0.1  # shares of the pictures to learn from, and of the empty prompt
SETTINGS = replace(STAGE_C_DEFAULTS, cfg=1.5)  # latents that the network thinks likely: little guidance


@dataclass(frozen=True, eq=False)
class Preserved:
    """Examples of a step whose predictions shall stay; `conditioning` is that before anything was learned."""

    captions: list[str]
    conditioning: Conditioning
    images: Tensor
    noised: Noised


class Preservation:
    """Draws from `prompts`, and from the examples with captions that `plain_caption` makes ordinary."""

    def __init__(
        self, models: TrainingModels, examples: Examples, prompts: Sequence[str], plain_caption: Callable[[str], str]
    ) -> None:
        self.models = models
        self.examples, self.prompts = examples, list(prompts)
        told = (caption for example in examples.dataset.examples for caption in example.captions)
        self._plain = {caption: plain_caption(caption) for caption in told}
        self._stage_c = fingerprint(models.stage_c.module)
        self._text_encoder = fingerprint(models.text_encoder.module)

    def tasks(self) -> list[tuple[str, Callable[[], Entry]]]:
        drawn = [(self._key(i), lambda i=i: self._draw(i)) for i in range(len(self.prompts))]
        return [*drawn, *self.examples.texts.tasks([*self.prompts, "", *self._plain.values()])]

    def draw(self, random: np.random.Generator, batch: Sequence[int], count: int) -> Preserved:
        """`count` examples of the size of the batch that is learned from."""
        size = self.examples.sizes[batch[0]]
        captions: list[str] = []
        clean: list[Tensor] = []
        for index in islice(cycle(batch), count):
            number = int(random.integers(len(self.prompts))) if self.prompts else -1
            chosen = float(random.random())
            square = size[0] == size[1]  # the latents that were drawn are
            if number < 0 or chosen < LEARNED or not square:
                captions.append(self._plain[self.examples.dataset.examples[index].caption])
                clean.append(self.examples.latents([index])[0])
            else:
                captions.append("" if chosen < LEARNED + EMPTY else self.prompts[number])
                clean.append(self.examples.cache.get(self._key(number))["latent"])
        sequence, pooled = self.examples.encodings(captions)
        images = torch.zeros(count, 1, self.models.stage_c.config.c_clip_img)
        examples = self.examples
        share = examples.settings.noisy_share
        noised = add_noise(torch.stack(clean), self.models.stage_c, examples.loss_weight, share)
        return Preserved(captions, Conditioning(sequence, pooled, images), images, noised)

    def _key(self, number: int) -> str:
        return key_of(
            "kept", self.prompts[number], number, self.examples.settings.size, self._stage_c, self._text_encoder
        )

    def _draw(self, number: int) -> Entry:
        models, side = self.models, self.examples.settings.size // CELL
        empty = Latent(torch.zeros(1, models.stage_c.config.channels, side, side))
        positive, negative = ([encode_text(models.text_encoder, text)] for text in (self.prompts[number], ""))
        latent = last(sample_stage_c(models.stage_c, positive, negative, empty, seed=number, settings=SETTINGS))
        return {"latent": latent[0].float().cpu()}
