"""Pictures as inputs: fitted to a size, encoded for Stage C, embedded for image variation, padded, pasted, compared.

Pictures are (B, 3, H, W) in 0..1; a mask (B, 1, H, W) is 1 where the picture is to be made anew. Everything comes back
as float32 on the CPU.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import CascadeError
from .models.family import check_kind
from .models.handle import Handle
from .sampling.activations import effnet_bytes, image_encoder_bytes
from .sampling.masked import fit_mask
from .sampling.sizes import CELL, LARGEST, SMALLEST, encode_size, stage_c_size

Resize = Literal["ours", "official"]
Method = Literal["crop", "pad", "stretch"]  # of bringing a picture to another aspect
EQUAL = 100.0  # decibels of two equal pictures, or all but equal ones


def encoded_size(height: int, width: int, resize: Resize = "ours") -> tuple[int, int]:
    """Pixels (h, w) at which a picture is encoded.

    ours: a latent of exactly the size that an empty one has. official: three quarters of each side, rounded down to
    whole cells, so that some sizes give a latent that is one cell smaller.
    """
    ours = encode_size(width, height)
    if resize == "ours":
        return ours
    if resize != "official":
        raise CascadeError(f"resize: expected ours or official, found {resize}")
    h, w = (max(side * 3 // 4 // CELL, 1) * CELL for side in (height, width))
    return h, w


@torch.inference_mode()
def encode_pixels(effnet: Handle, pixels: Tensor, resize: Resize = "ours") -> Tensor:
    """Pictures -> latents of Stage C (B, 16, h, w), one picture at a time."""
    return torch.cat([encode_resized(effnet, resize_to_encode(one, resize)) for one in _one_by_one(pixels)])


@torch.inference_mode()
def encode_resized(effnet: Handle, pixels: Tensor) -> Tensor:
    """Pictures from `resize_to_encode` -> their latents (B, 16, h, w), in one pass."""
    check_kind(effnet, "effnet")
    size = pixels.shape[-2], pixels.shape[-1]
    device = effnet.acquire(effnet_bytes(effnet.config, size, len(pixels), effnet.dtype))
    module: Any = effnet.module
    return module(pixels.to(device, effnet.dtype)).float().cpu()


def resize_to_encode(pixels: Tensor, resize: Resize = "ours") -> Tensor:
    """Pictures at their `encoded_size`, in float32."""
    size = encoded_size(pixels.shape[-2], pixels.shape[-1], resize)
    if resize == "official":
        return F.interpolate(pixels.float(), size, mode="nearest")
    return F.interpolate(pixels.float(), size, mode="bilinear", antialias=True)


@torch.inference_mode()
def embed_pixels(image_encoder: Handle, pixels: Tensor) -> Tensor:
    """Pictures of any size -> CLIP's vectors (B, D), not normalised, as Stage C takes them for image variation."""
    check_kind(image_encoder, "image_encoder")
    device = image_encoder.acquire(image_encoder_bytes(image_encoder.config, image_encoder.dtype))
    embeddings = [image_encoder.module(one.to(device)) for one in _one_by_one(pixels)]
    return torch.cat([embedding.float().cpu() for embedding in embeddings])


def fitted_size(
    size: tuple[int, int],
    width: int = 0,
    height: int = 0,
    budget: int = 1024,
    multiple: int = 8,
    enlarge: bool = False,
) -> tuple[int, int]:
    """The pixels (H, W) that a picture of `size` (height, width) is brought to, of its aspect as nearly as may be.

    width, height: wanted; where one is 0, the other and the aspect give it. Both 0: as many pixels as a square of side
    `budget` has, or, unless `enlarge`, the picture's own where these are fewer. Sides that are not given are rounded to
    the nearest multiple of `multiple`, and are such as a latent can have. CascadeError for a given one that is not.
    """
    if width and height:
        stage_c_size(width, height)  # refuses what no latent can have
        return height, width
    down, across = float(size[0]), float(size[1])
    if width or height:
        scale = width / across if width else height / down
        down, across = down * scale, across * scale
    else:
        scale = budget / math.sqrt(down * across)
        scale = scale if enlarge else min(scale, 1.0)
        down, across = max(down * scale, SMALLEST), max(across * scale, SMALLEST)
        down, across = min(down, budget**2 / across), min(across, budget**2 / down)  # of a strip the ends are too many
    least, most = -(-SMALLEST // multiple) * multiple, LARGEST // multiple * multiple
    h, w = (min(max(round(side / multiple) * multiple, least), most) for side in (down, across))
    h, w = height or h, width or w
    stage_c_size(w, h)
    return h, w


def fit_picture(pixels: Tensor, mask: Tensor, size: tuple[int, int], method: Method = "crop") -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, H, W) and masks (B or 1, 1, any, any) of them, both brought to `size` in the same way.

    crop: what hangs over is cut off, on both sides alike. pad: the picture lies in the middle, what is around repeats
    its edge, and is 1 in the mask. stretch: the aspect changes. Pictures and masks of that size come out as they are.
    """
    height, width = pixels.shape[-2:]
    mask = fit_mask(mask, (height, width))
    if method == "crop":
        h, w = _inside(size, (height, width))
        top, left = (height - h) // 2, (width - w) // 2
        pixels, mask = (each[..., top : top + h, left : left + w] for each in (pixels, mask))
    inner = _inside((height, width), size) if method == "pad" else size
    pixels, mask = fit(pixels.float(), inner), fit_mask(mask, inner)
    if inner == size:
        return pixels, mask
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    bottom, right = size[0] - inner[0] - top, size[1] - inner[1] - left
    padded, new = pad_outward(pixels, left, top, right, bottom)
    return padded, torch.maximum(F.pad(mask, (left, right, top, bottom)), new[:1])


def _inside(shape: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """The largest (h, w) of the aspect of `shape` within `box`, in whole pixels."""
    scale = min(box[0] / shape[0], box[1] / shape[1])
    h, w = (min(max(round(side * scale), 1), most) for side, most in zip(shape, box, strict=True))
    return h, w


def pad_outward(
    pixels: Tensor, left: int, top: int, right: int, bottom: int, feather: int = 0
) -> tuple[Tensor, Tensor]:
    """A larger picture and the mask (B, 1, H, W) of what is new in it.

    What is new repeats the picture's edge. The mask fades over the `feather` pixels next to it, so that the old picture
    may change towards its new neighbour.
    """
    height, width = pixels.shape[-2:]
    stage_c_size(left + width + right, top + height + bottom)  # refuses what no latent can have
    padding = (left, right, top, bottom)
    distance = torch.full((1, 1, height, width), float("inf"))
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
    for pad, away in ((left, columns), (right, width - 1 - columns), (top, rows), (bottom, height - 1 - rows)):
        if pad:
            distance = torch.minimum(distance, away + 1.0)
    fading = (1 - distance / (feather + 1)).clamp(min=0)
    mask = F.pad(fading, padding, value=1.0).expand(len(pixels), -1, -1, -1)
    return F.pad(pixels.float(), padding, mode="replicate"), mask.contiguous()


def paste_back(pixels: Tensor, original: Tensor, mask: Tensor, feather: int = 0) -> Tensor:
    """The original (B, 3, H, W), and the new picture where the mask is over 0, by as much as the mask says.

    Outside the mask the result is the original's own numbers. The new picture, and a mask of any size, are stretched to
    the original. `feather`: the pixels over which the new picture comes in behind the mask's edge. Batches are of one,
    for all, or equal.
    """
    common_batch(image=len(pixels), original=len(original), mask=len(mask))
    size = original.shape[-2], original.shape[-1]
    original, pixels = original.float(), fit(pixels.float(), size)
    mask = fit_mask(mask, size)
    weight = mask if feather == 0 else mask * torch.stack([_fade_in(one[0] > 0, feather)[None] for one in mask])
    return torch.where(weight > 0, torch.lerp(original, pixels, weight), original)


def psnr(found: Tensor, expected: Tensor) -> float:
    """Decibels by which the error of a picture, or of a part of it, lies under the full range; `EQUAL` at most."""
    error = (found.float() - expected.float()).square().mean().item()
    return -10 * math.log10(max(error, 10 ** (-EQUAL / 10)))  # NaN stays NaN


def common_batch(**counts: int) -> int:
    """The batch of inputs of these counts, where one serves all; CascadeError names counts that differ."""
    several = {count for count in counts.values() if count != 1}
    if len(several) > 1:
        found = ", ".join(f"{count} in `{name}`" for name, count in counts.items())
        raise CascadeError(f"Expected one, or equally many each; found {found}: connect batches of one size")
    return several.pop() if several else 1


def fit(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures stretched to (H, W), smoothly; those of that size as they are."""
    if (pixels.shape[-2], pixels.shape[-1]) == size:
        return pixels
    return F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)


def _one_by_one(pixels: Tensor) -> list[Tensor]:
    """Batches of one picture, for memory."""
    return [pixels[i : i + 1] for i in range(len(pixels))]


def _fade_in(masked: Tensor, feather: int) -> Tensor:
    """(H, W) in 0..1: rises over `feather` pixels from where `masked` begins; the picture's edge is no beginning."""
    if masked.all() or not masked.any():
        return masked.float()
    reach = feather + 1
    rows, columns = (
        slice(max(0, int(at.min()) - reach), int(at.max()) + reach + 1) for at in masked.nonzero(as_tuple=True)
    )
    result = torch.zeros(masked.shape)
    result[rows, columns] = _distance(masked[rows, columns], reach) / reach
    return result


def _distance(masked: Tensor, most: int) -> Tensor:
    """(H, W): how many pixels each of `masked` lies from the nearest that is not, exactly, and `most` beyond that.

    Along each row by running extremes, then the best of a column's rows: Felzenszwalb and Huttenlocher 2012, section 2.
    """
    height, width = masked.shape
    columns = torch.arange(width, dtype=torch.int32).expand(height, -1)
    left = columns - columns.masked_fill(masked, -most).cummax(1)[0]
    right = columns.masked_fill(masked, width + most).flip(1).cummin(1)[0].flip(1) - columns
    squares = torch.minimum(left, right).clamp(max=most).square()
    padded = F.pad(squares, (0, 0, most, most), value=most**2)
    best = squares
    for row in range(-most, most + 1):
        best = torch.minimum(best, padded[most + row : most + row + height] + row**2)
    return best.clamp(max=most**2).float().sqrt()
