"""The detector of cartoon faces: where they are by drawing and comparing, who they are by the built-in CLIP vector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..files.load import load
from ..hints import Box, FoundFace
from ..models.handle import Handle
from ..models.vision import ImageEncoder
from . import FAMILY, NAME, weights_path
from .face_fit import find_face, region_masks
from .pixels import to_pixels
from .world import BACKGROUNDS, Face, Scene

EMBEDDED_SIZE = 64  # side at which a face is embedded
PLAIN = "white"  # every face is cut out and put on this, so that its background does not count
PARTS = (1, 2, 3)  # a face is looked for in squares of the short side, of half and of a third of it
SMALLEST_SQUARE = 48
OVERLAP = 0.1  # share of a square in which faces were found already, up to which it is looked at


def face_box(face: Face, size: int) -> Box:
    """The head with its hair, shoulders not: left, top, right, bottom in pixels of a picture with this side."""
    left, right = face.x - 1.1 * face.r, face.x + 1.1 * face.r
    top, bottom = face.y - 1.12 * face.r, face.y + 1.05 * face.r
    return left * size, top * size, right * size, bottom * size


def on_plain(scene: Scene) -> Scene:
    """The scene before the plain background."""
    return replace(scene, background=PLAIN, background_rgb=BACKGROUNDS[PLAIN])


class CartoonFaces:
    """Finds faces as the picture world draws them: one to a square, alone or side by side in a larger picture."""

    name, family = NAME, FAMILY

    @property
    def width(self) -> int:
        return self.encoder.config.projection_dim

    def __init__(self, image_encoder: Handle | None = None) -> None:
        """image_encoder: the built-in one, loaded here if None."""
        self.encoder = image_encoder or load("image_encoder", weights_path("image_encoder"), name=NAME)

    def detect(self, picture: Tensor) -> list[FoundFace]:
        """Faces in a picture (3, H, W) in 0..1, the larger first."""
        pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        found: list[FoundFace] = []
        taken = np.zeros(pixels.shape[:2], bool)
        for x, y, side in _squares(pixels.shape[1], pixels.shape[0]):
            if taken[y : y + side, x : x + side].mean() > OVERLAP:
                continue
            square = pixels[y : y + side, x : x + side]
            face = find_face(square)
            if face is not None:
                left, top, right, bottom = face_box(face, side)
                taken[y : y + side, x : x + side] = True
                found.append(FoundFace((x + left, y + top, x + right, y + bottom), self._embed(square, face)))
        return found

    @torch.inference_mode()
    def _embed(self, square: np.ndarray, face: Face) -> Tensor:
        """L2-normalised CLIP vector of the face alone."""
        small = Image.fromarray(square).resize((EMBEDDED_SIZE, EMBEDDED_SIZE), Image.Resampling.BOX)
        behind = region_masks(face, EMBEDDED_SIZE)[2][..., None]
        alone = np.asarray(small, np.float32) * (1 - behind) + np.array(BACKGROUNDS[PLAIN]) * behind
        device = self.encoder.acquire()
        module = cast(ImageEncoder, self.encoder.module)
        return F.normalize(module(to_pixels(alone[None]).to(device)).float().cpu()[0], dim=0)


def _squares(width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Left, top and side of the squares to look in; they overlap by half and touch all edges."""
    short = min(width, height)
    for side in (short // part for part in PARTS):
        if side < SMALLEST_SQUARE:
            return
        for y in _starts(height, side):
            for x in _starts(width, side):
                yield x, y, side


def _starts(length: int, side: int) -> list[int]:
    count = 1 + int(np.ceil(2 * (length - side) / side))
    return [round(start) for start in np.linspace(0, length - side, count)]
