"""Aspect buckets: pictures of like shape are brought to one size, so that they fit into one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ...errors import CascadeError
from ...sampling.sizes import CELL

RATIOS = (1, 1 / 2, 1 / 3, 2 / 3, 3 / 4, 1 / 5, 2 / 5, 3 / 5, 4 / 5, 1 / 6, 5 / 6, 9 / 16)  # the official ones
Size = tuple[int, int]  # (height, width) in pixels


def sizes(side: int, step: int = CELL) -> list[Size]:
    """The buckets of about side² pixels: each ratio and its inverse, both sides rounded down to multiples of `step`."""
    if side < step:
        raise CascadeError(f"size: expected at least {step} pixels, found {side}")
    found: dict[Size, None] = {}
    for ratio in RATIOS:
        short, long = (max(int(side * factor / step) * step, step) for factor in (ratio**0.5, ratio**-0.5))
        found |= {(short, long): None, (long, short): None}
    return list(found)


def nearest(size: Size, buckets: list[Size]) -> Size:
    """The bucket whose aspect is the picture's, or comes closest."""
    height, width = size
    return min(buckets, key=lambda bucket: abs(bucket[1] / bucket[0] - width / height))


def fit(pixels: Tensor, bucket: Size) -> Tensor:
    """A picture (C, H, W) that covers the bucket, with what hangs over on either side cut off alike."""
    height, width = pixels.shape[-2:]
    scale = max(bucket[0] / height, bucket[1] / width)
    covering = max(round(height * scale), bucket[0]), max(round(width * scale), bucket[1])
    covered = F.interpolate(pixels[None], covering, mode="bilinear", antialias=True)[0]
    top, left = ((have - want) // 2 for have, want in zip(covering, bucket, strict=True))
    return covered[:, top : top + bucket[0], left : left + bucket[1]].clamp(0, 1).contiguous()


def draw_batch(groups: Sequence[Sequence[int]], size: int, random: np.random.Generator) -> list[int]:
    """Pictures of one group for a step; all pictures are equally likely, and none comes twice if there are enough."""
    weights = np.array([len(group) for group in groups]) / sum(map(len, groups))
    group = groups[int(random.choice(len(groups), p=weights))]
    return [group[i] for i in random.choice(len(group), size, replace=len(group) < size)]
