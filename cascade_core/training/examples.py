"""The examples of a training in its cache: latents and image embeddings of the pictures, encodings of the captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..errors import CascadeError
from ..images import embed_pixels, encode_resized
from ..models.handle import Handle
from ..models.text import TextEncoder
from ..sampling.activations import text_bytes
from .buckets import Size, draw_batch, fit, nearest, sizes
from .cache import Cache, Entry, fingerprint, key_of
from .dataset import Dataset, read_pixels
from .denoising import Noised, add_noise
from .models import StageBModels, TrainingModels
from .settings import TrainingSettings


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


class Examples:
    """A data set in a cache. When all of `tasks` are done, batches can be drawn."""

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
        self.groups = [[i for i, size in enumerate(self.sizes) if size == own] for own in dict.fromkeys(self.sizes)]
        digests = dataset.fingerprints()
        self.fingerprints = [digests[example.name] for example in dataset.examples]
        self.effnet, self._text_encoder = fingerprint(models.effnet.module), fingerprint(models.text_encoder.module)
        self._image_encoder = "" if models.image_encoder is None else fingerprint(models.image_encoder.module)

    @property
    def captions(self) -> list[str]:
        """Each once, the empty one too."""
        return list(dict.fromkeys(["", *(example.caption for example in self.dataset.examples)]))

    def tasks(self) -> list[tuple[str, Callable[[], Entry]]]:
        """Keys of the cache, and how their entries are computed."""
        found = [(self._key(i), lambda i=i: self._encode(i)) for i in range(len(self.sizes))]
        return [*found, *(self.caption_tasks(self.captions) if self.text else ())]

    def caption_tasks(self, captions: Sequence[str]) -> list[tuple[str, Callable[[], Entry]]]:
        """Keys of captions, and how they are encoded."""
        return [
            (self._caption_key(each), lambda each=each: self._encode_text(each)) for each in dict.fromkeys(captions)
        ]

    def batch(self, random: np.random.Generator, stage_c: Handle, offset_noise: float = 0.0) -> Batch:
        """A random batch for Stage C. Times and noise are drawn by torch's own generator."""
        indices = self.draw(random)
        latents = self.latents(indices)
        settings = self.settings
        noised = add_noise(latents, stage_c, settings.loss_weight, settings.noisy_share, offset_noise)
        captions = self.captions_of(indices, random)
        return Batch(indices, noised, captions, self.embeddings(indices, random, stage_c.config.c_clip_img))

    def conditioning(self, batch: Batch) -> Conditioning:
        """The conditioning of a batch, of captions in the cache."""
        return Conditioning(*self.encodings(batch.captions), batch.images)

    def draw(self, random: np.random.Generator) -> list[int]:
        return draw_batch(self.groups, self.settings.batch_size, random)

    def latents(self, indices: Sequence[int]) -> Tensor:
        """(B, 16, h, w) float32."""
        return torch.stack([self.cache.get(self._key(i))["latent"] for i in indices])

    def captions_of(self, indices: Sequence[int], random: np.random.Generator) -> list[str]:
        """The captions of these examples, some left out."""
        dropped = random.random(len(indices)) < self.settings.caption_dropout
        return ["" if drop else self.dataset.examples[i].caption for i, drop in zip(indices, dropped, strict=True)]

    def encodings(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sequences (B, T, D) and pooled vectors (B, P) of captions in the cache."""
        entries = [self.cache.get(self._caption_key(caption)) for caption in captions]
        sequences, pooled = (torch.stack([entry[name] for entry in entries]) for name in ("sequence", "pooled"))
        return sequences, pooled

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
        return key_of("picture", self.fingerprints[index], self.sizes[index], self.effnet, self._image_encoder)

    def _caption_key(self, caption: str) -> str:
        return key_of("caption", caption, self._text_encoder)

    def _encode(self, index: int) -> Entry:
        pixels = self.pixels(index)
        latent = encode_resized(self.models.effnet, pixels[None])[0]
        if not latent.isfinite().all():
            raise CascadeError(f"{self.dataset.examples[index].picture}: its latent has numbers that are not finite")
        entry = {"latent": latent}
        if self.models.image_encoder is not None:
            entry["image"] = embed_pixels(self.models.image_encoder, pixels[None])[0]
        return entry

    @torch.inference_mode()
    def _encode_text(self, caption: str) -> Entry:
        handle = self.models.text_encoder
        handle.acquire(text_bytes(handle.config, 1, handle.dtype))
        sequence, pooled = cast(TextEncoder, handle.module).encode([caption], truncate=True)
        return {"sequence": sequence[0].float().cpu(), "pooled": pooled[0].float().cpu()}
