"""The hints that a ControlNet learns by: own control pictures, or hints made from the pictures themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CascadeError
from ..hints import Detector, FoundFace, canny_edges, foremost, make_super_resolution_hint, masked_picture, paint_faces
from ..models.handle import Handle
from .data.buckets import fit
from .data.cache import Entry, key_of
from .data.dataset import read_pixels
from .data.examples import Examples
from .data.masks import random_mask

MOST_FACES = 4
DROPPED_FACES, FILLING_FACES = 0.05, 0.3  # faces not painted, lone faces painted all over: as officially


class HintMaker(ABC):
    """One kind of hint: what is cached of example number `index`, and the hint of a step made of that."""

    channels: int

    def __init__(self, examples: Examples, detector: Detector | None) -> None:
        self.examples = examples

    @abstractmethod
    def make(self, index: int) -> Entry: ...

    @abstractmethod
    def hint(self, entry: Entry, size: tuple[int, int], random: np.random.Generator) -> Tensor:
        """(C, H, W) for a picture of (height, width) pixels."""


class CachedHints:
    """The hints of a data set in its cache."""

    def __init__(self, examples: Examples, kind: str, detector: Detector | None = None) -> None:
        if kind not in KINDS:
            raise CascadeError(f"hint: expected one of {', '.join(KINDS)}, found {kind!r}")
        self.examples, self.kind = examples, kind
        self.maker = KINDS[kind](examples, detector)
        self._detector = "" if detector is None else detector.name

    def tasks(self) -> list[tuple[str, Callable[[], Entry]]]:
        return [(self._key(i), partial(self.maker.make, i)) for i in range(len(self.examples.sizes))]

    def draw(self, indices: Sequence[int], random: np.random.Generator) -> Tensor:
        """Hints (B, C, H, W) of examples of one size."""
        entries = [self.examples.cache.get(self._key(index)) for index in indices]
        size = self.examples.sizes[indices[0]]
        return torch.stack([self.maker.hint(entry, size, random) for entry in entries])

    def _key(self, index: int) -> str:
        examples = self.examples
        return key_of(
            "hint", self.kind, self._detector, examples.fingerprints[index], examples.sizes[index], examples.effnet
        )


class _Own(HintMaker):
    """A control picture as it is."""

    channels = 3

    def make(self, index: int) -> Entry:
        path = self.examples.dataset.examples[index].control
        assert path is not None  # Dataset.with_controls saw to that
        return {"pixels": _levels(fit(read_pixels(path), self.examples.sizes[index]))}

    def hint(self, entry: Entry, size: tuple[int, int], random: np.random.Generator) -> Tensor:
        return entry["pixels"].float() / 255


class _Canny(HintMaker):
    channels = 1

    def make(self, index: int) -> Entry:
        return {"edges": canny_edges(self.examples.pixels(index)[None])[0].half()}

    def hint(self, entry: Entry, size: tuple[int, int], random: np.random.Generator) -> Tensor:
        return entry["edges"].float()


class _Inpainting(HintMaker):
    """The picture with a hole that is another every time."""

    channels = 4

    def make(self, index: int) -> Entry:
        return {"pixels": _levels(self.examples.pixels(index))}

    def hint(self, entry: Entry, size: tuple[int, int], random: np.random.Generator) -> Tensor:
        mask = random_mask(*size, random)
        return masked_picture(entry["pixels"][None].float() / 255, mask[None])[0]


class _SuperResolution(HintMaker):
    """The latent of the picture at half its size, doubled."""

    def __init__(self, examples: Examples, detector: Detector | None) -> None:
        super().__init__(examples, detector)
        self.channels = examples.models.effnet.config.c_latent

    def make(self, index: int) -> Entry:
        small = F.interpolate(self.examples.pixels(index)[None], scale_factor=0.5, mode="nearest")
        return {"latent": make_super_resolution_hint(self.examples.models.effnet, small).map[0]}

    def hint(self, entry: Entry, size: tuple[int, int], random: np.random.Generator) -> Tensor:
        return entry["latent"]


class _Identity(HintMaker):
    """Faces: boxes and embeddings are cached, and painted anew every time."""

    def __init__(self, examples: Examples, detector: Detector | None) -> None:
        if detector is None:
            raise CascadeError("hint: identity needs a detector of faces: choose one")
        super().__init__(examples, detector)
        self.detector, self.channels = detector, detector.width

    def make(self, index: int) -> Entry:
        pixels = self.examples.pixels(index)
        faces = foremost(self.detector.detect(pixels), (pixels.shape[-2], pixels.shape[-1]), MOST_FACES)
        if not faces:
            raise CascadeError(
                f"No face was found in {self.examples.dataset.examples[index].picture} by the detector"
                f" {self.detector.name}: take it out of the folder, or choose another detector"
            )
        boxes = torch.tensor([face.box for face in faces])
        return {"boxes": boxes, "embeddings": torch.stack([face.embedding.float().cpu() for face in faces])}

    def hint(self, entry: Entry, size: tuple[int, int], random: np.random.Generator) -> Tensor:
        everything = [0.0, 0.0, float(size[1]), float(size[0])]
        boxes = cast(list[list[float]], entry["boxes"].tolist())  # pyright: ignore[reportUnknownMemberType]
        if len(boxes) == 1 and random.random() < FILLING_FACES:
            boxes = [everything]
        faces: list[FoundFace] = []
        for (left, top, right, bottom), embedding in zip(boxes, entry["embeddings"], strict=True):
            shown = random.random() >= DROPPED_FACES
            faces.append(FoundFace((left, top, right, bottom), embedding * shown))
        return paint_faces(faces, *size)


def _levels(pixels: Tensor) -> Tensor:
    return pixels.mul(255).round().to(torch.uint8)


KINDS: dict[str, type[HintMaker]] = {
    "own": _Own,
    "canny": _Canny,
    "inpainting": _Inpainting,
    "super_resolution": _SuperResolution,
    "identity": _Identity,
}


CHANNELS = {"own": 3, "canny": 1, "inpainting": 4}
"""Channels of the hints whose width does not depend on the models."""


def fits_family(detector: Detector | None, stage_c: Handle) -> None:
    """Refuse a detector whose embeddings belong to other models."""
    if detector is not None and detector.family != stage_c.family:
        raise CascadeError(
            f"The detector {detector.name} is for {detector.family} models, but Stage C {stage_c.name} is of"
            f" {stage_c.family}: choose another detector"
        )
