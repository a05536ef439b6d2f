"""The encodings of captions: from a cache, or computed for each batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from ...models.handle import Handle
from ...models.text import TextEncoder
from ...sampling.activations import text_bytes
from .cache import Cache, Entry, fingerprint, key_of


class Texts:
    """What the text encoder makes of captions, as Stage B and C take it, longer ones cut off as officially."""

    def __init__(self, text_encoder: Handle, cache: Cache | None) -> None:
        """cache: of captions that come again and again; None computes them each time, which any number of them may."""
        self.text_encoder, self.cache = text_encoder, cache
        self._fingerprint = fingerprint(text_encoder.module)

    def tasks(self, captions: Sequence[str]) -> list[tuple[str, Callable[[], Entry]]]:
        """Keys of captions that have to be in the cache, and how they are encoded."""
        if self.cache is None:
            return []
        return [(self._key(each), lambda each=each: self._entry(each)) for each in dict.fromkeys(captions)]

    def encodings(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sequences (B, T, D) and pooled vectors (B, P), float32, on the CPU."""
        if self.cache is None:
            return self._encode(captions)
        entries = [self.cache.get(self._key(caption)) for caption in captions]
        sequences, pooled = (torch.stack([entry[name] for entry in entries]) for name in ("sequence", "pooled"))
        return sequences, pooled

    def _key(self, caption: str) -> str:
        return key_of("caption", caption, self._fingerprint)

    def _entry(self, caption: str) -> Entry:
        sequences, pooled = self._encode([caption])
        return {"sequence": sequences[0], "pooled": pooled[0]}

    @torch.no_grad()
    def _encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        handle = self.text_encoder
        handle.acquire(text_bytes(handle.config, len(captions), handle.dtype))
        sequences, pooled = cast(TextEncoder, handle.module).encode(captions, truncate=True)
        return sequences.float().cpu(), pooled.float().cpu()
