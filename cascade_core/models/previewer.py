"""The previewer: a Stage C latent to a small picture in one cheap pass."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .config import PreviewerConfig


class Previewer(nn.Module):
    """Latent (B, 16, h, w) -> picture (B, 3, 8h, 8w), about 0..1, not clamped (the factor is 2 per doubling width)."""

    def __init__(self, config: PreviewerConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        layers: list[nn.Module] = []

        def step(convolution: nn.Module, channels: int) -> None:
            layers.extend([convolution, nn.GELU(), nn.BatchNorm2d(channels)])

        step(nn.Conv2d(config.c_latent, widths[0], 1), widths[0])
        step(nn.Conv2d(widths[0], widths[0], 3, padding=1), widths[0])
        for c_in, c_out in pairwise(widths):
            step(nn.ConvTranspose2d(c_in, c_out, 2, stride=2), c_out)
            step(nn.Conv2d(c_out, c_out, 3, padding=1), c_out)
        self.blocks = nn.Sequential(*layers, nn.Conv2d(widths[-1], 3, 1))

    def forward(self, latent: Tensor) -> Tensor:
        return self.blocks(latent.contiguous(memory_format=torch.channels_last)).contiguous()
