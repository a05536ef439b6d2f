"""Hints: what a ControlNet is shown of a picture, made as the official filters make it.

Pictures are (B, 3, H, W) in 0..1; of one with a fourth channel the first three count. A hint covers the whole picture
and is brought to the size of the latent when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import CascadeError
from .libraries import PACKAGES, install_command
from .models.config import ControlNetConfig
from .models.effnet import Effnet
from .models.family import check_family, check_kind
from .models.handle import Handle
from .sampling.activations import effnet_bytes
from .sampling.checks import ASPECT
from .sampling.condition import Condition
from .sampling.control import Control
from .sampling.masked import fit_mask
from .sampling.sizes import CELL, encode_size

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

CANNY_SIDE = 224  # edges are found at this size, whatever the picture's
SMALLEST_SIDE = 192  # pixels of a picture's short side for super-resolution: of less the encoder sees too little
FACE_COLORS = [
    tuple(level * half for level in color)
    for half in (1.0, 0.5)
    for color in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 0))
]  # boxes in the overview, in turn


@dataclass(frozen=True, eq=False)
class Hint:
    """A ControlNet's input, and a picture of it for people."""

    kind: str  # "picture", "canny", "inpainting", "super_resolution", "identity"
    map: Tensor  # (B, C, H, W), what the network takes; C tells the kinds apart
    picture: Tensor  # (B, 3, H, W) in 0..1, what a person can see of it
    size: tuple[int, int]  # (height, width) in pixels of the picture that it covers
    family: str | None = None  # the encoder's or detector's that made it; None: none was needed


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face that a detector found: its box, and its L2-normalised embedding (D,)."""

    box: Box
    embedding: Tensor


class Detector(Protocol):
    """Finds faces and says who they are."""

    @property
    def name(self) -> str:
        """Name that the person chose."""
        ...

    @property
    def family(self) -> str:
        """Family of the ControlNets that know its embeddings."""
        ...

    @property
    def width(self) -> int:
        """Numbers in an embedding."""
        ...

    def detect(self, picture: Tensor) -> Sequence[FoundFace]:
        """Faces in a picture (3, H, W) in 0..1."""
        ...


def apply_control(
    condition: Condition,
    controlnet: Handle,
    hint: Hint,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
) -> Condition:
    """The condition, steered by one more hint between two percents of the run; several add up.

    Raises CascadeError for a hint that is not this ControlNet's.
    """
    check_kind(controlnet, "controlnet")
    config = cast(ControlNetConfig, controlnet.config)
    if hint.map.shape[1] != config.c_in:
        raise CascadeError(
            f"ControlNet {controlnet.name} takes hints of {config.c_in} channels, but this {_said(hint.kind)} hint has"
            f" {hint.map.shape[1]}: choose the ControlNet for {_said(hint.kind)}, or make the hint that it was made for"
        )
    check_family(controlnet, "hint", hint.family)
    if strength < 0:
        raise CascadeError(f"strength: expected at least 0, found {strength}")
    if start > end:
        raise CascadeError(f"start_percent {start} lies after end_percent {end}: exchange them")
    control = Control(controlnet, hint.map, hint.size, strength, start, end)
    return replace(condition, controls=(*condition.controls, control))


def make_picture_hint(pixels: Tensor) -> Hint:
    """Pictures as they are, for ControlNets that learned from own control pictures."""
    pixels = _rgb(pixels).float()
    return Hint("picture", pixels, pixels, _size(pixels))


def make_canny_hint(pixels: Tensor, low: float = 100, high: float = 200) -> Hint:
    """Edges of pictures; `low` and `high` are Canny's thresholds, 0..255 and beyond."""
    pixels = _rgb(pixels)
    if low > high:
        raise CascadeError(f"low {low} lies over high {high}: exchange them")
    edges = canny_edges(pixels, low, high)
    return Hint("canny", edges, edges.expand(-1, 3, -1, -1), _size(pixels))


def import_opencv() -> Any:
    """OpenCV, by whichever of its packages; it is no requirement, since two of them in one Python break each other."""
    try:
        return import_module("cv2")
    except ImportError as error:
        raise CascadeError(f"Canny edges need OpenCV: {install_command(PACKAGES['cv2'])}") from error


def canny_edges(pixels: Tensor, low: float = 100, high: float = 200) -> Tensor:
    """Pictures (B, 3, H, W) -> edges (B, 1, H, W) in 0..1, found at 224 x 224 and resized."""
    cv2 = import_opencv()
    small = F.interpolate(pixels.float(), (CANNY_SIDE, CANNY_SIDE), mode="bilinear")
    levels = (small * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    found: list[np.ndarray] = [cv2.Canny(one, low, high) for one in levels]
    edges = torch.as_tensor(np.stack(found)).float()[:, None] / 255
    return F.interpolate(edges, _size(pixels), mode="bilinear")


def check_aspect(mask: Tensor, size: tuple[int, int]) -> None:
    """Raises CascadeError for a mask (..., h, w) of another aspect than a picture of `size` (height, width)."""
    height, width = size
    aspect = (mask.shape[-1] / mask.shape[-2]) / (width / height)
    if not 1 - ASPECT <= aspect <= 1 + ASPECT:
        raise CascadeError(
            f"`mask` is {mask.shape[-1]} x {mask.shape[-2]} pixels and the picture {width} x {height}: their aspects"
            " differ by more than 2 %; draw the mask on this picture"
        )


def make_inpaint_hint(pixels: Tensor, mask: Tensor, threshold: float = 0.5) -> Hint:
    """Pictures with holes where the mask (B or 1, 1, H, W), 1 for what is to be made anew, is over `threshold`.

    A mask of another size is stretched, and loses no masked place by it. Raises CascadeError for one of another aspect.
    """
    pixels = _rgb(pixels)
    height, width = _size(pixels)
    if mask.ndim != 4 or mask.shape[1] != 1 or 0 in mask.shape:
        raise CascadeError(f"`mask`: expected the shape (batch, 1, height, width), found {tuple(mask.shape)}")
    check_aspect(mask, (height, width))
    if len(mask) != len(pixels) and 1 not in (len(mask), len(pixels)):
        raise CascadeError(
            f"`mask`: expected one or as many as there are pictures ({len(pixels)}), found {len(mask)}: "
            "give one mask, or one for each picture"
        )
    batch = max(len(mask), len(pixels))
    hidden = (fit_mask(mask, (height, width)) > threshold).to(pixels)
    shown = masked_picture(pixels.expand(batch, -1, -1, -1), hidden.expand(batch, -1, -1, -1))
    return Hint("inpainting", shown, shown[:, :3], (height, width))


def masked_picture(pixels: Tensor, mask: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) and masks (B, 1, H, W) of 0 and 1 -> (B, 4, H, W): white where masked, and the mask."""
    return torch.cat([torch.where(mask > 0, 1.0, pixels), mask], dim=1)


@torch.inference_mode()
def make_super_resolution_hint(effnet: Handle, pixels: Tensor) -> Hint:
    """The latent of small pictures, each cell doubled."""
    check_kind(effnet, "effnet")
    pixels = _rgb(pixels)
    shown = enlarged(pixels)
    device = effnet.acquire(effnet_bytes(effnet.config, _size(shown), 1, effnet.dtype))
    module = cast(Effnet, effnet.module)
    latent = torch.cat([module(one.to(device, effnet.dtype)).float().cpu() for one in torch.split(shown, 1)])
    doubled = F.interpolate(latent, scale_factor=2, mode="nearest")
    return Hint("super_resolution", doubled, shown, _size(pixels), effnet.family)


def enlarged(pixels: Tensor) -> Tensor:
    """Pictures whose short side has at least SMALLEST_SIDE pixels: smaller ones are enlarged to it, softly."""
    height, width = _size(pixels)
    factor = SMALLEST_SIDE / min(height, width)
    if factor <= 1:
        return pixels
    return F.interpolate(pixels, (round(height * factor), round(width * factor)), mode="bicubic").clamp(0, 1)


def make_identity_hint(detector: Detector, pixels: Tensor, max_faces: int = 4) -> Hint:
    """Who is where: the embeddings of the faces in each picture, painted over their boxes.

    Raises CascadeError for a picture in which no face is found.
    """
    pixels = _rgb(pixels)
    height, width = _size(pixels)
    target_height, target_width = encode_size(width, height)
    maps: list[Tensor] = []
    overviews: list[Tensor] = []
    for number, picture in enumerate(pixels, 1):
        faces = foremost(detector.detect(picture), (height, width), max_faces)
        if not faces:
            raise CascadeError(
                f"No face was found in picture {number} of {len(pixels)} by the detector {detector.name}: choose a"
                " picture that shows one, or another detector"
            )
        boxes = [_scaled(face.box, target_width / width, target_height / height) for face in faces]
        scaled = [replace(face, box=box) for face, box in zip(faces, boxes, strict=True)]
        maps.append(paint_faces(scaled, target_height, target_width))
        overviews.append(_overview(picture, faces))
    return Hint("identity", torch.stack(maps), torch.stack(overviews), (height, width), detector.family)


def foremost(faces: Sequence[FoundFace], size: tuple[int, int], count: int) -> list[FoundFace]:
    """At most `count` faces: those that are large and near the middle of a picture (height, width).

    Where there are no more they stay in the detector's order, as officially: later ones are painted over earlier ones.
    """

    def weight(face: FoundFace) -> float:
        left, top, right, bottom = face.box
        across, down = (left + right - size[1]) / 2, (top + bottom - size[0]) / 2
        return (right - left) * (bottom - top) - 2 * (across**2 + down**2)

    return list(faces) if len(faces) <= count else sorted(faces, key=weight, reverse=True)[:count]


def paint_faces(faces: Sequence[FoundFace], height: int, width: int) -> Tensor:
    """Embeddings of at least one face painted over their boxes into zeros: (D, height // CELL, width // CELL)."""
    painted = torch.zeros(len(faces[0].embedding), height // CELL, width // CELL)
    for face in faces:
        left, top, right, bottom = (max(round(edge / CELL), 0) for edge in face.box)
        painted[:, top : max(bottom, top + 1), left : max(right, left + 1)] = face.embedding[:, None, None]
    return painted


def _overview(picture: Tensor, faces: Sequence[FoundFace]) -> Tensor:
    """The picture with each face's box in a colour of its own."""
    shown = picture.clone()
    for number, face in enumerate(faces):
        left, top, right, bottom = (max(round(edge), 0) for edge in face.box)
        color = shown.new_tensor(FACE_COLORS[number % len(FACE_COLORS)])[:, None, None]
        box = shown[:, top:bottom, left:right]
        box.copy_((box + color) / 2)
    return shown


def _scaled(box: Box, across: float, down: float) -> Box:
    left, top, right, bottom = box
    return left * across, top * down, right * across, bottom * down


def _rgb(pixels: Tensor) -> Tensor:
    if pixels.ndim != 4 or pixels.shape[1] not in (3, 4) or 0 in pixels.shape:
        raise CascadeError(f"`image`: expected pictures (batch, 3, height, width), found {tuple(pixels.shape)}")
    return pixels[:, :3]


def _size(pixels: Tensor) -> tuple[int, int]:
    return pixels.shape[-2], pixels.shape[-1]


def _said(kind: str) -> str:
    return kind.replace("_", "-")
