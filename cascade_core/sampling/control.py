"""ControlNets in sampling: which hint steers, when and how much, and the maps that this adds inside Stage C."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CascadeError
from ..models.blocks import resize
from ..models.config import ControlNetConfig, StageCConfig
from ..models.controlnet import ControlNet
from ..models.handle import Handle
from .activations import controlnet_bytes
from .times import within

ASPECT = 0.02  # how far a hint's picture may be off the wanted one
Maps = Sequence[Tensor | None]  # by number of the residual block; (1 or N, C, h, w)


@dataclass(frozen=True, eq=False)
class Control:
    """A hint for a ControlNet. Several of a condition add up."""

    controlnet: Handle
    hint: Tensor  # (B, c_in, H, W): B is 1, for all images, or one for each
    size: tuple[int, int]  # (height, width) in pixels of the picture that the hint covers
    strength: float = 1.0
    start: float = 0.0  # percent of the way from noise to picture, 0..1
    end: float = 1.0

    def active(self, r: float) -> bool:
        return self.strength > 0 and within(r, self.start, self.end)


def check_control(
    control: Control, stage_c: Handle, cells: tuple[int, int], images: int, size: tuple[int, int] | None
) -> None:
    """Refuse a ControlNet or hint that does not fit the Stage C, its latent (h, w) or its batch.

    size: pixels (height, width) that the latent stands for, if known.
    """
    net = cast(ControlNetConfig, control.controlnet.config)
    config = cast(StageCConfig, stage_c.config)
    widths = sorted({*config.c_hidden})
    name = control.controlnet.name
    if widths != [net.c_proj]:
        raise CascadeError(
            f"ControlNet {name} of width {net.c_proj} does not fit Stage C {stage_c.name} of width"
            f" {', '.join(map(str, widths))}: choose a ControlNet made for this Stage C, or the Stage C it was made for"
        )
    if control.controlnet.family != stage_c.family:
        raise CascadeError(
            f"ControlNet {name} belongs to {control.controlnet.family} models, but Stage C {stage_c.name} to"
            f" {stage_c.family}: choose two that belong together"
        )
    if control.strength < 0:
        raise CascadeError(f"strength of ControlNet {name}: expected at least 0, found {control.strength}")
    if len(control.hint) not in (1, images):
        raise CascadeError(
            f"ControlNet {name}: expected one hint or as many as there are images ({images}), found"
            f" {len(control.hint)}: give one picture, or change the latent's batch size"
        )
    if not _same_aspect(control.size, cells, size):
        found = " x ".join(map(str, reversed(control.size)))
        wanted = f"{cells[1]} x {cells[0]} latent cells" if size is None else f"{size[1]} x {size[0]} pixels"
        raise CascadeError(
            f"ControlNet {name}: the hint's picture is {found} pixels, but the picture to be made is {wanted}: their"
            " aspects differ by more than 2 %; crop the picture, or change the size to be made"
        )


def _same_aspect(hint: tuple[int, int], cells: tuple[int, int], size: tuple[int, int] | None) -> bool:
    """A latent alone may stand for any size that fills its last row and column in part."""
    lowest = (cells[1] - 1) / cells[0] if size is None else size[1] / size[0]
    highest = cells[1] / max(cells[0] - 1, 0.5) if size is None else size[1] / size[0]
    return lowest * (1 - ASPECT) <= hint[1] / hint[0] <= highest * (1 + ASPECT)


def project(control: Control, cells: tuple[int, int]) -> Maps:
    """The hint's maps (B, C, h, w), times the strength, for a latent of h x w cells; on the ControlNet's device."""
    handle = control.controlnet
    net = cast(ControlNet, handle.module)
    device = handle.acquire(controlnet_bytes(handle.config, cells, len(control.hint), handle.dtype))
    maps = net.project(fit_hint(control.hint, net.cell, cells).to(device, handle.dtype))
    return [None if one is None else control.strength * resize(one, *cells) for one in maps]


def fit_hint(hint: Tensor, cell: int, cells: tuple[int, int]) -> Tensor:
    """A hint (B, c_in, H, W) of `cell` values a side for each cell of a latent, float32.

    Pixels are blended; a map of cells (embeddings, latents) is not, as between two faces there is no third.
    """
    target = (cells[0] * cell, cells[1] * cell)
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
