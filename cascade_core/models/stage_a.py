"""Stage A: the autoencoder between pixels and the 4-channel latent, four times smaller per side."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import NORM_EPS, gelu, layer_norm
from .config import StageAConfig
from .linear import Conv2d, ConvTranspose2d, multiplied, packed, unpacked


class MixingResidualBlock(nn.Module):
    """A depthwise and a channel mixer, each scaled and shifted by the scalars `gammas`; input and output (B, C, H, W).

    On a CPU the scalars are folded into the weights, which are far smaller than the activations that they would scale:
    conv(LN(x) (1 + g0) + g1) g2 = conv'(LN(x)), exactly, since replicate padding keeps a constant a constant. On a GPU,
    where every operation is a launch, they go into the norms and the sums, which are there anyway.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gammas = nn.Parameter(torch.zeros(6))
        self.depthwise = nn.Sequential(nn.ReplicationPad2d(1), nn.Conv2d(channels, channels, 3, groups=channels))
        self.channelwise = nn.Sequential(
            nn.Linear(channels, channels * 4), nn.GELU(), nn.Linear(channels * 4, channels)
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W), channels-last in memory
        return self._folded(x) if x.is_cpu and not torch.compiler.is_compiling() else self._scaled(x)

    def _scaled(self, x: Tensor) -> Tensor:
        g = self.gammas
        factors, shifts = (each[:, None].repeat(1, x.shape[1]) for each in (1 + g, g))

        h = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], factors[0], shifts[1], NORM_EPS)
        x = torch.addcmul(x, self.depthwise(h.permute(0, 3, 1, 2)), g[2])
        h = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], factors[3], shifts[4], NORM_EPS)
        first, _, last = self.channelwise
        return torch.addcmul(x, last(gelu(first(h))).permute(0, 3, 1, 2), g[5])

    def _folded(self, x: Tensor) -> Tensor:
        g = self.gammas
        conv = cast(nn.Conv2d, self.depthwise[1])
        first, last = cast(nn.Linear, self.channelwise[0]), cast(nn.Linear, self.channelwise[2])

        weight = conv.weight * ((1 + g[0]) * g[2])
        bias = (conv.get_parameter("bias") + g[1] * conv.weight.sum((1, 2, 3))) * g[2]
        h = layer_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        convolved = partial(F.conv2d, groups=x.shape[1])
        x = multiplied(convolved, F.pad(h, (1, 1, 1, 1), mode="replicate"), weight, bias).add_(x)

        h = layer_norm(x.permute(0, 2, 3, 1))
        h = gelu(multiplied(F.linear, packed(h), first.weight * (1 + g[3]), first.bias + g[4] * first.weight.sum(1)))
        h = unpacked(multiplied(F.linear, h, last.weight * g[5], last.bias * g[5]))
        return h.permute(0, 3, 1, 2).add_(x)


class Codebook(nn.Module):
    """The quantiser's table: part of the published file, used by no step from text to image."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.codebook = nn.Embedding(size, channels)


class StageA(nn.Module):
    """Pixels (B, 3, H, W) in 0..1 <-> latent (B, 4, H/4, W/4) in model space, the file's own divided by 0.43."""

    def __init__(self, config: StageAConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.c_hidden // 2 ** (config.levels - 1 - i) for i in range(config.levels)]  # 192, 384
        self.in_block = nn.Sequential(nn.PixelUnshuffle(2), Conv2d(12, widths[0], 1))
        down: list[nn.Module] = []
        for i, width in enumerate(widths):
            if i:
                down.append(Conv2d(widths[i - 1], width, 4, stride=2, padding=1))
            down.append(MixingResidualBlock(width))
        down.append(nn.Sequential(Conv2d(widths[-1], config.c_latent, 1, bias=False), nn.BatchNorm2d(config.c_latent)))
        self.down_blocks = nn.Sequential(*down)
        if config.codebook_size:
            self.vquantizer = Codebook(config.codebook_size, config.c_latent)
        up: list[nn.Module] = [nn.Sequential(Conv2d(config.c_latent, widths[-1], 1))]
        for i, width in enumerate(reversed(widths)):
            up.extend(MixingResidualBlock(width) for _ in range(1 if i else config.bottleneck_blocks))
            if i < config.levels - 1:
                up.append(ConvTranspose2d(width, widths[-2 - i], 4, stride=2, padding=1))
        self.up_blocks = nn.Sequential(*up)
        self.out_block = nn.Sequential(Conv2d(widths[0], 12, 1), nn.PixelShuffle(2))

    @property
    def decode_margin(self) -> int:
        """Cells of a latent around one that its pixels depend on, on each side."""
        reach = 0
        for _ in range(self.config.levels - 1):
            reach = (reach + 1) // 2 + 1  # its block, and the transposed convolution before it
        return reach + self.config.bottleneck_blocks

    @property
    def encode_margin(self) -> int:
        """Cells' worth of pixels around a cell's own that it depends on, on each side."""
        reach = 1
        for _ in range(self.config.levels - 1):
            reach = 2 * reach + 2  # the strided convolution, and the block before it
        return -(-reach // 2 ** (self.config.levels - 1))

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) with sides in multiples of 4 -> (B, 4, H/4, W/4), not quantised, as officially."""
        x = self.in_block(pixels.contiguous(memory_format=torch.channels_last))
        return self.down_blocks(x) / self.config.scale

    def decode(self, latent: Tensor) -> Tensor:
        """(B, 4, h, w) -> (B, 3, 4h, 4w), not clamped."""
        x = (latent * self.config.scale).contiguous(memory_format=torch.channels_last)
        return self.out_block(self.up_blocks(x)).contiguous()
