"""ControlNet: a hint (edges, a picture with a hole, ...) to maps that are added inside Stage C.

Three bottlenecks read the hint: `effnet` (pixels, by an EfficientNetV2), `simple` and `large` (one value per latent
cell). Module names are the published checkpoints'.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .config import ControlNetConfig, EffnetConfig
from .effnet import efficientnet

SLOPE = 0.2  # of every LeakyReLU
PIXELS_PER_CELL = 32  # of the effnet bottleneck


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W), with weights."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ControlResBlock(nn.Module):
    """Two 3x3 convolutions, each after a norm and GELU, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        halves = [[ChannelNorm(channels), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)] for _ in range(2)]
        self.blocks = nn.Sequential(*(layer for half in halves for layer in half))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.blocks(x)


class ControlNet(nn.Module):
    """A hint (B, c_in, H, W) to one map (B, c_proj, h, w) for each residual block of `config.proj_blocks`."""

    def __init__(self, config: ControlNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _backbone(config)
        self.projections = nn.ModuleList(_projection(config) for _ in config.proj_blocks)

    @property
    def cell(self) -> int:
        """Side of the hint that becomes one cell of the maps."""
        return PIXELS_PER_CELL if self.config.bottleneck == "effnet" else 1

    def project(self, hint: Tensor) -> list[Tensor | None]:
        """The maps by the number of the residual block that gets them; None where a block gets none."""
        features = self.backbone(hint.contiguous(memory_format=torch.channels_last))
        maps: list[Tensor | None] = [None] * (max(self.config.proj_blocks) + 1)
        for block, projection in zip(self.config.proj_blocks, self.projections, strict=True):
            maps[block] = projection(features)
        return maps

    def forward(self, hint: Tensor) -> list[Tensor | None]:
        return self.project(hint)


def _backbone(config: ControlNetConfig) -> nn.Sequential:
    if config.bottleneck == "effnet":
        features = efficientnet(EffnetConfig(config.stem, config.stages, config.c_out), config.c_in)
        if config.c_in != 3:  # the published networks' first convolution was exchanged for one without padding
            cast(nn.Sequential, features[0])[0] = nn.Conv2d(config.c_in, config.stem, 3, 2, bias=False)
        return features
    if config.bottleneck == "simple":
        return nn.Sequential(
            nn.Conv2d(config.c_in, config.c_wide, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(config.c_wide, config.c_out, 3, padding=1),
        )
    if config.bottleneck == "large":
        return nn.Sequential(
            nn.Conv2d(config.c_in, config.c_wide, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(config.c_wide, config.c_blocks, 1),
            *(ControlResBlock(config.c_blocks) for _ in range(config.blocks)),
            nn.Conv2d(config.c_blocks, config.c_out, 1),
        )
    raise ValueError(f"bottleneck: expected effnet, simple or large, found {config.bottleneck!r}")


def _projection(config: ControlNetConfig) -> nn.Sequential:
    """Its last convolution starts at zero: a new ControlNet changes nothing."""
    last = nn.Conv2d(config.c_out, config.c_proj, 1, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Conv2d(config.c_out, config.c_out, 1, bias=False), nn.LeakyReLU(SLOPE), last)
