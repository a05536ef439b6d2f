"""Text to image, from words to pixels: the executable specification of what the nodes do one by one.

Knows models and tensors; no files, no nodes. Pixels are (B, 3, H, W) in 0..1, latents of Stage B in model space.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import tiles
from .models.family import check_family
from .models.handle import Handle
from .sampling.activations import previewer_bytes, text_bytes
from .sampling.condition import Condition
from .sampling.latent import Latent
from .sampling.sizes import decoded_size, stage_b_size, stage_c_size
from .sampling.stages import Step, sample_stage_b, sample_stage_c


@dataclass(frozen=True)
class Cascade:
    """The four models from text to image, all of one family."""

    text_encoder: Handle
    stage_c: Handle
    stage_b: Handle
    stage_a: Handle


@torch.inference_mode()
def encode_text(text_encoder: Handle, text: str) -> Condition:
    """A prompt as the condition of both stages: sequence (1, T, D) and pooled (1, P), float32 on the CPU."""
    module: Any = text_encoder.module
    text_encoder.acquire(text_bytes(text_encoder.config, module.rows(text), text_encoder.dtype))
    sequence, pooled = module.encode([text])
    return Condition(sequence.float().cpu(), pooled.float().cpu(), family=text_encoder.family)


@torch.inference_mode()
def decode_pixels(
    stage_a: Handle, latent: Tensor, size: tuple[int, int] | None = None, along: tiles.Along = iter
) -> Tensor:
    """Latent (B, 4, h, w) -> pixels (B, 3, 4h, 4w), clamped, on the CPU; cropped to `size` (H, W) where it fits.

    along: goes through the tiles of large pictures.
    """
    pixels = tiles.decode(stage_a, latent, along).clamp_(0, 1)
    height, width = decoded_size((latent.shape[-2], latent.shape[-1]), size)
    return pixels[..., :height, :width]


@torch.inference_mode()
def preview_pixels(previewer: Handle, latent: Tensor) -> Tensor:
    """Latent of Stage C (B, 16, h, w) -> a small picture (B, 3, f h, f w), clamped, on the CPU."""
    batch, _, h, w = latent.shape
    device = previewer.acquire(previewer_bytes(previewer.config, (h, w), batch, previewer.dtype))
    return previewer.module(latent.to(device, previewer.dtype)).float().cpu().clamp(0, 1)


def last(steps: Iterator[Step]) -> Tensor:
    """Run a sampler to its end: the result is the last prediction of the clean latent."""
    *_, step = steps
    return step.x0


def text_to_image(
    cascade: Cascade,
    prompt: str,
    negative: str = "",
    *,
    width: int = 1024,
    height: int = 1024,
    batch: int = 1,
    seed: int = 0,
) -> Tensor:
    """A prompt -> pixels (batch, 3, height, width), with the official settings; image i has the seed + i."""
    for stage in (cascade.stage_c, cascade.stage_b, cascade.stage_a):
        check_family(stage, "text_encoder", cascade.text_encoder.family)

    positive = [encode_text(cascade.text_encoder, prompt)]
    unwanted = [encode_text(cascade.text_encoder, negative)]

    empty = Latent(torch.zeros(batch, cascade.stage_c.config.channels, *stage_c_size(width, height)))
    stage_c = last(sample_stage_c(cascade.stage_c, positive, unwanted, empty, seed=seed))

    empty = Latent(torch.zeros(batch, cascade.stage_b.config.channels, *stage_b_size(width, height)))
    stage_b = last(sample_stage_b(cascade.stage_b, positive, unwanted, Latent(stage_c), empty, seed=seed))

    return decode_pixels(cascade.stage_a, stage_b, (height, width))
