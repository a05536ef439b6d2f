"""Pictures as arrays: as networks take them, and at the size at which they are measured."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

READ_SIZE = 128
"""Side in pixels to which every picture is scaled before it is read."""
BORDER = 4


def to_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in 0..1."""
    return torch.as_tensor(np.array(pictures, np.float32)).permute(0, 3, 1, 2) / 255


def scaled_pixels(picture: ArrayLike) -> np.ndarray:
    """The picture as floats (READ_SIZE, READ_SIZE, 3) from 0 to 255; ValueError for what is none."""
    array = np.asarray(picture)
    floating = np.issubdtype(array.dtype, np.floating)
    colored = array.size > 0 and array.shape[2:] == (3,)
    if not (colored and (floating or array.dtype == np.uint8)):
        raise ValueError(
            "a picture must be of shape (height, width, 3), uint8 or floats from 0 to 1; "
            f"this one is {array.dtype} of shape {array.shape}"
        )
    if floating:
        if not np.isfinite(array).all():
            raise ValueError("the picture has values that are no finite numbers")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(array))
    enough = min(image.size) >= READ_SIZE
    scaled = image.resize((READ_SIZE, READ_SIZE), Image.Resampling.BOX if enough else Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32)


def border_color(pixels: np.ndarray) -> np.ndarray:
    """The colour of most of the border: the background's."""
    inside = np.zeros(pixels.shape[:2], bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    return np.median(pixels[~inside], axis=0)
