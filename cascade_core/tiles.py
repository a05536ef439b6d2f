"""Stage A over pictures of any size: large ones in tiles, so that they take no more memory than a small one.

A tile is computed together with the margin that it depends on, which is then cut off: there are no seams, and nothing
is blended. The result is that of the whole picture, but for the order in which a library adds up by the shapes it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import cast

import torch
from torch import Tensor

from .memory import is_short
from .models.handle import Handle
from .models.stage_a import StageA
from .sampling.activations import stage_a_bytes
from .sampling.sizes import CELL_B

SIDES = (256, 128, 64)  # of a tile in cells of the latent, 1024 to 256 pixels: the largest for which there is memory


@dataclass(frozen=True)
class Span:
    """Cells of a tile along one axis, and those that it is computed from."""

    first: int
    end: int
    outer_first: int
    outer_end: int

    def outer(self, unit: int) -> slice:
        """What goes in, of a tensor of `unit` values a cell."""
        return slice(unit * self.outer_first, unit * self.outer_end)

    def inner(self, unit: int) -> slice:
        """The tile within what comes out."""
        return slice(unit * (self.first - self.outer_first), unit * (self.end - self.outer_first))

    def place(self, unit: int) -> slice:
        """The tile within the whole."""
        return slice(unit * self.first, unit * self.end)


Tile = tuple[int, Span, Span]  # number of the picture, down, across
Along = Callable[[Sequence[Tile]], Iterable[Tile]]  # goes through the tiles, and may tell how far it has come


def spans(side: int, most: int, margin: int) -> list[Span]:
    """`side` cells in as few parts of about one length as have at most `most` cells each."""
    count = -(-side // most)
    edges = [side * number // count for number in range(count + 1)]
    return [Span(a, b, max(a - margin, 0), min(b + margin, side)) for a, b in pairwise(edges)]


@torch.inference_mode()
def decode(stage_a: Handle, latent: Tensor, along: Along = iter, side: int = SIDES[0]) -> Tensor:
    """Latent (B, 4, h, w) in model space -> pixels (B, 3, 4h, 4w), not clamped, float32 on the CPU.

    side: cells of a tile along a side at most; fewer where memory is short.
    """
    network = cast(StageA, stage_a.module)
    return _run(stage_a, network.decode, network.decode_margin, latent, (1, CELL_B), 3, along, side)


@torch.inference_mode()
def encode(stage_a: Handle, pixels: Tensor, along: Along = iter, side: int = SIDES[0]) -> Tensor:
    """Pixels (B, 3, H, W), sides in multiples of 4 -> latent (B, 4, H/4, W/4) in model space, float32 on the CPU."""
    network = cast(StageA, stage_a.module)
    channels = stage_a.config.c_latent
    return _run(stage_a, network.encode, network.encode_margin, pixels, (CELL_B, 1), channels, along, side)


def _run(
    stage_a: Handle,
    compute: Callable[[Tensor], Tensor],
    margin: int,
    x: Tensor,
    units: tuple[int, int],
    channels: int,
    along: Along,
    side: int,
) -> Tensor:
    """Picture by picture and tile by tile. units: values a cell along a side, of what goes in and of what comes out."""
    given, made = units
    h, w = x.shape[-2] // given, x.shape[-1] // given

    def room(side: int) -> int:
        window = min(h, side + 2 * margin), min(w, side + 2 * margin)
        return stage_a_bytes(stage_a.config, window, stage_a.dtype)

    device = stage_a.acquire(room(side))
    smaller = [side, *(one for one in SIDES if one < side)]
    side = next((one for one in smaller if not is_short(device, room(one))), smaller[-1])
    tiles = list(product(range(len(x)), spans(h, side, margin), spans(w, side, margin)))
    result = torch.empty(len(x), channels, made * h, made * w)
    for number, down, across in along(tiles):
        part = x[number : number + 1, :, down.outer(given), across.outer(given)].to(device, stage_a.dtype)
        computed = compute(part)[:, :, down.inner(made), across.inner(made)]
        result[number : number + 1, :, down.place(made), across.place(made)] = computed.float().cpu()
    return result
