"""Random masks, for learning to inpaint and to outpaint."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

OUTPAINTED = 0.4  # share of the masks that are turned around, as officially
MOST = 3  # number of shapes in a mask
SMALLEST, LARGEST = 0.15, 0.7  # sizes of a shape, in sides of the picture


def random_mask(height: int, width: int, random: np.random.Generator) -> Tensor:
    """(1, height, width), 1 where the picture is to be made anew: boxes and ellipses, or all but them."""
    rows, columns = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None]
    mask = np.zeros((height, width), bool)
    for _ in range(int(random.integers(1, MOST + 1))):
        y, x = random.random(2)
        h, w = random.uniform(SMALLEST, LARGEST, 2) / 2
        down, across = np.abs(rows - y) / h, np.abs(columns - x) / w
        mask |= (down**2 + across**2 < 1) if random.random() < 0.5 else (np.maximum(down, across) < 1)
    if random.random() < OUTPAINTED:
        mask = ~mask
    return torch.as_tensor(mask)[None].float()
