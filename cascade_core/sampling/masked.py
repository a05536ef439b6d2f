"""Masked denoising: only the masked part of a latent is made anew, the rest stays what it was."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CascadeError
from .solvers.trace import Denoise
from .times import Time


def fit_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (B, 1, h, w) stretched to (H, W), in 0..1.

    A place that stands for several is masked as much as the most masked of them: no hole is lost, however small.
    """
    mask = mask.float().clamp(0, 1)
    smaller = min(mask.shape[-2], size[0]), min(mask.shape[-1], size[1])
    return F.interpolate(F.adaptive_max_pool2d(mask, smaller), size, mode="bilinear")


def fit_noise_mask(mask: Tensor, images: int, size: tuple[int, int]) -> Tensor:
    """A mask (h, w), (B, h, w) or (B, 1, h, w) of any size for a latent: (images, 1, H, W), in 0..1.

    As in ComfyUI, fewer masks than images are used in turn, and what is too many is left out.
    """
    if mask.ndim not in (2, 3, 4) or 0 in mask.shape or (mask.ndim == 4 and mask.shape[1] != 1):
        raise CascadeError(
            f"noise_mask: expected the shape (batch, 1, height, width), found {tuple(mask.shape)}: connect a mask"
        )
    fitted = fit_mask(mask.reshape(-1, 1, *mask.shape[-2:]), size)
    return fitted[torch.arange(images) % len(fitted)]


def keep_unmasked(denoise: Denoise, original: Tensor, mask: Tensor, noise: Tensor) -> Denoise:
    """`denoise` for the masked part of latents (N, C, h, w): of the rest it sees the noised original, and predicts it.

    mask: (N, 1, h, w). `noise` is the run's first one, so that the rest moves on one straight line, as in ComfyUI.
    """

    def denoise_masked(x: Tensor, time: Time) -> tuple[Tensor, Tensor]:
        x0, _ = denoise(torch.lerp(time.a * original + time.b * noise, x, mask), time)
        x0 = torch.where(mask > 0, torch.lerp(original, x0, mask), original)
        return x0, (x - time.a * x0) / time.b

    return denoise_masked
