"""ControlNets in sampling: which hint steers, when and how much, and the maps that this adds inside Stage C."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.blocks import Maps, resize
from ..models.controlnet import ControlNet
from ..models.handle import Handle
from .activations import controlnet_bytes
from .times import within

MULTIPLE = 8  # of a hint's sides in ComfyUI


@dataclass(frozen=True, eq=False)
class Control:
    """A hint for a ControlNet. Several of a condition add up."""

    controlnet: Handle
    hint: Tensor  # (B, c_in, H, W): B is 1, for all images, or one for each
    size: tuple[int, int]  # (height, width) in pixels of the picture that the hint covers
    strength: float = 1.0
    start: float = 0.0  # percent of the way from noise to picture, 0..1
    end: float = 1.0
    crop: bool = False  # its middle is taken where the aspect is another, as ComfyUI does; else that is refused
    on_unconditional: bool = True  # of a positive condition: it acts on a negative one that has none, as officially

    def active(self, r: float) -> bool:
        return self.strength > 0 and within(r, self.start, self.end)


def project(control: Control, cells: tuple[int, int]) -> Maps:
    """The hint's maps (B, C, h, w), times the strength, for a latent of h x w cells; on the ControlNet's device."""
    handle = control.controlnet
    net = cast(ControlNet, handle.module)
    device = handle.acquire(controlnet_bytes(handle.config, cells, len(control.hint), handle.dtype))
    hint = fit_hint(control.hint, net.cell, cells, control.crop)
    maps = net.project(hint.to(device, handle.dtype))
    return [None if one is None else control.strength * resize(one, *cells) for one in maps]


def middle(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of pictures (B, C, H, W), in the proportions of a size (h, w), rounded as ComfyUI rounds it."""
    height, width = picture.shape[-2:]
    old, new = width / height, size[1] / size[0]
    x = round((width - width * (new / old)) / 2) if old > new else 0
    y = round((height - height * (old / new)) / 2) if old < new else 0
    return picture[..., y : height - y, x : width - x]


def fit_hint(hint: Tensor, cell: int, cells: tuple[int, int], crop: bool = False) -> Tensor:
    """A hint (B, c_in, H, W) of `cell` values a side for each cell of a latent, float32.

    Pixels are blended; a map of cells (embeddings, latents) is not, as between two faces there is no third. crop: as
    ComfyUI does it, the middle, and sides in multiples of eight values; the maps are brought to the cells later.
    """
    target = (cells[0] * cell, cells[1] * cell)
    if crop:
        target = (ceil(target[0] / MULTIPLE) * MULTIPLE, ceil(target[1] / MULTIPLE) * MULTIPLE)
        hint = middle(hint, target)
    mode = "bilinear" if cell > 1 else "nearest-exact"
    hint = hint.float()
    return hint if hint.shape[-2:] == target else F.interpolate(hint, target, mode=mode)


def blend(passes: Sequence[Mapping[Control, float]], maps: Mapping[Control, Maps], images: int) -> Maps:
    """The maps for a batch of passes over N images each; every pass sums its controls by their weights.

    (1, C, h, w) where all passes and images share them, else (passes * N, C, h, w).
    """
    sums = [_sum({control: weight for control, weight in each.items() if weight}, maps) for each in passes]
    if all(each == passes[0] for each in passes) and all(one is None or len(one) == 1 for one in sums[0]):
        return sums[0]
    blocks = max(map(len, sums))
    padded = [[*each, *[None] * (blocks - len(each))] for each in sums]
    return [_stack(rows, images) for rows in zip(*padded, strict=True)]


def _sum(weights: Mapping[Control, float], maps: Mapping[Control, Maps]) -> Maps:
    blocks = max((len(maps[control]) for control in weights), default=0)
    total: list[Tensor | None] = [None] * blocks
    for control, weight in weights.items():
        for block, one in enumerate(maps[control]):
            if one is not None:
                before = total[block]
                total[block] = weight * one if before is None else before + weight * one
    return total


def _stack(rows: Sequence[Tensor | None], images: int) -> Tensor | None:
    """One block's maps of all passes, one after the other; zeros for a pass that has none."""
    known = next((row for row in rows if row is not None), None)
    if known is None:
        return None
    full = [torch.zeros_like(known[:1]) if row is None else row for row in rows]
    return torch.cat([row.expand(images, -1, -1, -1) for row in full])
