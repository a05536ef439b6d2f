"""The examples of a training, in batches: latents and image embeddings of pictures, encodings of captions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import CascadeError
from ...images import embed_pixels, encode_resized
from ...models.handle import Handle
from ..denoising import Noised, add_noise
from ..loss_weight import LossWeight, loss_weight
from ..models import StageBModels, TrainingModels
from ..settings import TrainingSettings
from .buckets import Size, draw_batch, fit, nearest, sizes
from .cache import Cache, Entry, fingerprint, key_of
from .captions import shuffled
from .dataset import Dataset, read_mask, read_pixels
from .held_out import check_sides, is_held_out
from .texts import Texts


@dataclass(frozen=True, eq=False)
class Conditioning:
    """The conditioning of Stage C: sequence (B, T, D), pooled (B, P) and image embeddings (B, 1, Di)."""

    sequence: Tensor
    pooled: Tensor
    images: Tensor

    def part(self, share: slice, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        sequence, pooled, images = (x[share].to(device, dtype) for x in (self.sequence, self.pooled, self.images))
        return sequence, pooled, images


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples of one size for a step of Stage C."""

    indices: list[int]
    noised: Noised  # latents (B, 16, h, w) with noise
    captions: list[str]
    images: Tensor  # embeddings (B, 1, Di), most of them zeros


class Batches(ABC):
    """A source of batches for Stage C. When all of `tasks` are done, they can be drawn.

    An index is an example's place in the source; `captions` are those of one example, of which one is drawn each time.
    """

    settings: TrainingSettings
    texts: Texts
    loss_weight: LossWeight
    _holds_out = False

    @abstractmethod
    def tasks(self) -> list[tuple[str, Callable[[], Entry]]]:
        """Keys of the cache, and how their entries are computed."""

    @abstractmethod
    def groups(self, held_out: bool) -> Sequence[Sequence[int]]:
        """The examples by their sizes: of those that are learned from, or of those that are held out."""

    def draw(self, random: np.random.Generator) -> list[int]:
        """Examples of one size, as many as a batch has."""
        return draw_batch(self.groups(self._holds_out), self.settings.batch_size, random)

    @contextmanager
    def held_out(self) -> Generator[None]:
        """Within it, batches are of the examples that are held out."""
        self._holds_out = True
        try:
            yield
        finally:
            self._holds_out = False

    @abstractmethod
    def latents(self, indices: Sequence[int]) -> Tensor:
        """(B, 16, h, w) float32."""

    @abstractmethod
    def captions_at(self, index: int) -> Sequence[str]: ...

    def embeddings(self, indices: Sequence[int], random: np.random.Generator, width: int) -> Tensor:
        """Image embeddings (B, 1, width); zeros where there are none."""
        return torch.zeros(len(indices), 1, width)

    def batch(self, random: np.random.Generator, stage_c: Handle, offset_noise: float = 0.0) -> Batch:
        """A random batch for Stage C. Times and noise are drawn by torch's own generator."""
        indices = self.draw(random)
        latents = self.latents(indices)
        noised = add_noise(latents, stage_c, self.loss_weight, self.settings.noisy_share, offset_noise)
        noised = replace(noised, area=self.areas(indices))
        captions = self.captions_of(indices, random)
        return Batch(indices, noised, captions, self.embeddings(indices, random, stage_c.config.c_clip_img))

    def areas(self, indices: Sequence[int]) -> Tensor | None:
        """How much errors count in each cell, (B, 1, h, w); None where everywhere alike."""
        return None

    def captions_of(self, indices: Sequence[int], random: np.random.Generator) -> list[str]:
        """A caption of each of these examples, some left out."""
        dropped = random.random(len(indices)) < self.settings.caption_dropout
        choices = (self.captions_at(index) for index in indices)
        drawn = [each[int(random.integers(len(each)))] if len(each) > 1 else each[0] for each in choices]
        if self.settings.shuffle_tags:
            drawn = [shuffled(caption, self.settings.keep_tags, random) for caption in drawn]
        return ["" if drop else caption for caption, drop in zip(drawn, dropped, strict=True)]

    def conditioning(self, batch: Batch) -> Conditioning:
        """The conditioning of a batch."""
        return Conditioning(*self.encodings(batch.captions), batch.images)

    def encodings(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sequences (B, T, D) and pooled vectors (B, P) of captions of the source."""
        return self.texts.encodings(captions)


class Examples(Batches):
    """A data set of pictures in a cache."""

    def __init__(
        self,
        models: TrainingModels | StageBModels,
        dataset: Dataset,
        settings: TrainingSettings,
        cache: Cache,
        *,
        text: bool = True,
    ) -> None:
        """text: keep the captions' encodings; without them the caller encodes captions itself."""
        self.models, self.dataset, self.settings, self.cache, self.text = models, dataset, settings, cache, text
        buckets = sizes(settings.size)
        self.sizes: list[Size] = [nearest(example.size, buckets) for example in dataset.examples]
        held = [is_held_out(example.name, settings.held_out) for example in dataset.examples]
        self._groups = {
            side: _by_size(self._repeated([i for i, each in enumerate(held) if each == side]), self.sizes)
            for side in (False, True)
        }
        check_sides(self._groups, settings.held_out)
        digests = dataset.fingerprints()
        self.fingerprints = [digests[example.name] for example in dataset.examples]
        self.texts = Texts(models.text_encoder, None if settings.shuffle_tags else cache)
        self._masked = settings.unmasked_weight < 1
        self.loss_weight = loss_weight(settings.loss_weight, models.stage.target)
        self.effnet = fingerprint(models.effnet.module)
        self._image_encoder = "" if models.image_encoder is None else fingerprint(models.image_encoder.module)

    @property
    def captions(self) -> list[str]:
        """Each once, the empty one too."""
        return list(dict.fromkeys(["", *(text for example in self.dataset.examples for text in example.captions)]))

    def tasks(self) -> list[tuple[str, Callable[[], Entry]]]:
        found = [(self._key(i), lambda i=i: self._encode(i)) for i in range(len(self.sizes))]
        return [*found, *(self.texts.tasks(self.captions) if self.text else ())]

    def groups(self, held_out: bool) -> Sequence[Sequence[int]]:
        return self._groups[held_out]

    def latents(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([self.cache.get(self._key(i))["latent"] for i in indices])

    def captions_at(self, index: int) -> Sequence[str]:
        return self.dataset.examples[index].captions

    def areas(self, indices: Sequence[int]) -> Tensor | None:
        if not self._masked:
            return None
        masks = torch.stack([self.cache.get(self._key(i))["mask"] for i in indices])
        least = self.settings.unmasked_weight
        return least + (1 - least) * masks

    def embeddings(self, indices: Sequence[int], random: np.random.Generator, width: int) -> Tensor:
        """Image embeddings (B, 1, width) of these examples, most of them zeros, as officially."""
        dropped = random.random(len(indices)) < self.settings.image_dropout
        images = torch.zeros(len(indices), 1, width)
        if self.models.image_encoder is not None:
            for row, index in enumerate(indices):
                if not dropped[row]:
                    images[row, 0] = self.cache.get(self._key(index))["image"]
        return images

    def pixels(self, index: int) -> Tensor:
        """A picture (3, H, W) at its bucket's size."""
        return fit(read_pixels(self.dataset.examples[index].picture), self.sizes[index])

    def _key(self, index: int) -> str:
        masked = ["masked"] if self._masked else []
        encoders = self.effnet, self._image_encoder
        return key_of("picture", self.fingerprints[index], self.sizes[index], *encoders, *masked)

    def _repeated(self, indices: Sequence[int]) -> list[int]:
        """Each example as often as it counts."""
        return [index for index in indices for _ in range(self.dataset.examples[index].repeats)]

    def _encode(self, index: int) -> Entry:
        pixels = self.pixels(index)
        latent = encode_resized(self.models.effnet, pixels[None])[0]
        if not latent.isfinite().all():
            raise CascadeError(f"{self.dataset.examples[index].picture}: its latent has numbers that are not finite")
        entry = {"latent": latent}
        if self._masked:
            mask = fit(read_mask(self.dataset.examples[index]), self.sizes[index])
            entry["mask"] = F.adaptive_avg_pool2d(mask, (latent.shape[-2], latent.shape[-1]))
        if self.models.image_encoder is not None:
            entry["image"] = embed_pixels(self.models.image_encoder, pixels[None])[0]
        return entry


def _by_size(indices: Sequence[int], sizes: Sequence[Hashable]) -> list[list[int]]:
    """Examples of equal size together, in the order in which the sizes come first."""
    groups: dict[Hashable, list[int]] = {}
    for index in indices:
        groups.setdefault(sizes[index], []).append(index)
    return [*groups.values()]
