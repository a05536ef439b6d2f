"""Latents with captions to learn from, as `cascade encode` writes them: any number of them, none of which is kept.

Each file is gone through once, for an index of it in the cache: where its latents lie, their sizes, their captions. A
batch then reads its own rows from the files and the indices alone; in memory remain four bytes a latent.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ...errors import CascadeError
from ...kinds import STAGE_C_CHANNELS
from ...models.family import check_family
from ...wording import first_of
from ..loss_weight import loss_weight
from ..models import StageCModels
from ..settings import TrainingSettings
from . import latent_files
from .cache import Cache, Entry, key_of
from .examples import Batches
from .held_out import check_sides
from .texts import Texts

OPEN_INDICES = 256  # of files, kept from batch to batch: some 100 kB each
NUMBERS = {"F16": np.float16, "F32": np.float32}


@dataclass(frozen=True)
class LatentSet:
    """Files of latents that one encoder wrote."""

    files: tuple[Path, ...]
    origin: latent_files.Origin

    def fingerprints(self) -> dict[str, str]:
        """A digest of each file's header, which says of what and by what it was made, and of the file's size."""
        return {path.name: latent_files.fingerprint(path) for path in self.files}

    def in_words(self) -> str:
        return f"files of latents: {len(self.files)}, by {self.origin.effnet}"


def read_latents(paths: Sequence[Path]) -> LatentSet:
    """The sets of files of these names, as `--to` of `cascade encode` had them, or files of such sets.

    Only the first file is looked into. CascadeError where there is none.
    """
    found = [member for path in paths for member in latent_files.members(path)]
    missing = next((path for path in paths if not latent_files.members(path)), None)
    if missing is not None:
        raise CascadeError(f"There are no latents in {missing}: name what `cascade encode --to` wrote")
    files = tuple(dict.fromkeys(found))
    names = [path.name for path in files]
    twice = sorted({name for name in names if names.count(name) > 1}) if len({*names}) < len(names) else []
    if twice:
        raise CascadeError(f"Two files of latents have the same name ({first_of(twice)}): rename one of each two")
    return LatentSet(files, latent_files.read(files[0]).origin)


class EncodedExamples(Batches):
    """The examples of a set of latents."""

    def __init__(self, models: StageCModels, latents: LatentSet, settings: TrainingSettings, cache: Cache) -> None:
        check_family(models.text_encoder, "latents", latents.origin.family)
        if models.image_encoder is not None:
            raise CascadeError("image_encoder: latents have no pictures to show it: leave it out")
        if settings.unmasked_weight < 1:
            raise CascadeError("unmasked_weight: latents have no masks: leave it at 1")
        self.settings, self.cache, self.set = settings, cache, latents
        self.texts = Texts(models.text_encoder, None)
        self.loss_weight = loss_weight(settings.loss_weight, models.stage.target)
        self.keys = [key_of("latents", *each) for each in latents.fingerprints().items()]
        self._index = lru_cache(maxsize=OPEN_INDICES)(self._read_index)
        self._first: np.ndarray[Any, Any] | None = None  # the number of each file's first latent
        self._groups: dict[bool, list[Sequence[int]]] = {False: [], True: []}  # the latents of each size

    def tasks(self) -> list[tuple[str, Callable[[], Entry]]]:
        return [(key, lambda path=path: self._look(path)) for key, path in zip(self.keys, self.set.files, strict=True)]

    def groups(self, held_out: bool) -> Sequence[Sequence[int]]:
        self._prepare()
        return self._groups[held_out]

    def latents(self, indices: Sequence[int]) -> Tensor:
        return torch.stack([self.latent(index) for index in indices])

    def latent(self, index: int) -> Tensor:
        """(16, h, w) float32."""
        number, row, entry = self._place(index)
        height, width = entry["sizes"][row]
        precision = NUMBERS[latent_files.PRECISIONS[self.set.origin.precision]]
        shape = STAGE_C_CHANNELS, int(height), int(width)
        mapped = np.memmap(self.set.files[number], precision, "r", int(entry["starts"][row]), shape)
        return torch.as_tensor(mapped.astype(np.float32))

    def captions_at(self, index: int) -> Sequence[str]:
        _, row, entry = self._place(index)
        first, last = (int(number) for number in entry["captions"][row : row + 2])
        places = [int(place) for place in entry["letters"][first : last + 1]]
        text = entry["text"].numpy()
        return [bytes(text[start:end]).decode() for start, end in pairwise(places)] or ("",)

    def __len__(self) -> int:
        self._prepare()
        return sum(len(group) for side in self._groups.values() for group in side)

    def _read_index(self, number: int) -> Entry:
        return self.cache.get(self.keys[number])

    def _place(self, index: int) -> tuple[int, int, Entry]:
        """The number of the file that has this latent, its row there, and the file's index."""
        self._prepare()
        assert self._first is not None
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        return number, index - int(self._first[number]), self._index(number)

    def _prepare(self) -> None:
        if self._first is not None:
            return
        firsts = [0]
        found: dict[tuple[bool, int, int], list[Any]] = {}
        for key in self.keys:
            entry, first = self.cache.get(key), firsts[-1]
            own, held = entry["sizes"].numpy(), entry["marks"].numpy() < self.settings.held_out * 2**32
            for height, width in np.unique(own, axis=0).tolist():
                alike = (own == (height, width)).all(1)
                for side in (False, True):
                    (rows,) = (alike & (held == side)).nonzero()
                    if len(rows):
                        found.setdefault((side, height, width), []).append((first + rows).astype(np.int32))
            firsts.append(first + len(own))
        for side, *size in sorted(found):
            self._groups[side].append(cast(Any, np.concatenate(found[side, size[0], size[1]])))
        check_sides(self._groups, self.settings.held_out)
        self._first = np.array(firsts[:-1])

    def _look(self, path: Path) -> Entry:
        """The index of a file: for each latent its first byte, its size, and which of the captions are its own."""
        shard = latent_files.read(path)
        if shard.origin != self.set.origin:
            raise CascadeError(
                f"{path} was written {shard.origin}, but {self.set.files[0]} {self.set.origin}: train on files that"
                " one encoder wrote with the same options"
            )
        names = sorted(shard.pictures)
        tensors = [shard.header.tensors[name] for name in names]
        captions = [shard.pictures[name].captions for name in names]
        texts = [text.encode() for own in captions for text in own]
        return {
            "starts": torch.tensor([tensor.start for tensor in tensors], dtype=torch.int64),
            "sizes": torch.tensor([tensor.shape[1:] for tensor in tensors], dtype=torch.int32),
            "marks": torch.as_tensor([zlib.crc32(name.encode()) for name in names]),
            "captions": torch.as_tensor(np.cumsum([0, *map(len, captions)])),
            "letters": torch.as_tensor(np.cumsum([0, *map(len, texts)])),
            "text": torch.frombuffer(bytearray(b"".join(texts) or b" "), dtype=torch.uint8),
        }
