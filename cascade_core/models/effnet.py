"""The semantic compressor: an EfficientNetV2 whose output *is* the Stage C latent. Module names are torchvision's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import EffnetConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BATCH_NORM_EPS = 1e-3


def conv_norm(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    """Convolution without bias, BatchNorm, and SiLU where `act` says so."""
    convolution = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(c_out, eps=BATCH_NORM_EPS)]
    return nn.Sequential(*layers, nn.SiLU(inplace=True)) if act else nn.Sequential(*layers)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from the mean of all channels."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.nn.functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * self.fc2(gate).sigmoid()


class InvertedBottleneck(nn.Module):
    """FusedMBConv (one full convolution) or MBConv (expand, depthwise, squeeze-excite, project)."""

    def __init__(self, fused: bool, expansion: int, stride: int, c_in: int, c_out: int) -> None:
        super().__init__()
        wide = c_in * expansion
        if fused and expansion == 1:
            layers: list[nn.Module] = [conv_norm(c_in, c_out, 3, stride)]
        elif fused:
            layers = [conv_norm(c_in, wide, 3, stride), conv_norm(wide, c_out, 1, act=False)]
        else:
            layers = [
                conv_norm(c_in, wide, 1),
                conv_norm(wide, wide, 3, stride, groups=wide),
                SqueezeExcitation(wide, max(1, c_in // 4)),
                conv_norm(wide, c_out, 1, act=False),
            ]
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


def efficientnet(config: EffnetConfig, c_in: int = 3) -> nn.Sequential:
    """EfficientNetV2's `features`: (B, c_in, H, W) -> (B, head, ceil(H/32), ceil(W/32))."""
    layers: list[nn.Module] = [conv_norm(c_in, config.stem, 3, 2)]
    channels = config.stem
    for fused, expansion, stride, c_out, count in config.stages:
        blocks = [
            InvertedBottleneck(fused, expansion, stride if i == 0 else 1, channels if i == 0 else c_out, c_out)
            for i in range(count)
        ]
        layers.append(nn.Sequential(*blocks))
        channels = c_out
    return nn.Sequential(*layers, conv_norm(channels, config.head, 1))


class Effnet(nn.Module):
    """Pixels (B, 3, H, W) in 0..1 -> Stage C latent (B, 16, ceil(H/32), ceil(W/32))."""

    def __init__(self, config: EffnetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = efficientnet(config)
        self.mapper = nn.Sequential(
            nn.Conv2d(config.head, config.c_latent, 1, bias=False), nn.BatchNorm2d(config.c_latent, affine=False)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        mean, std = pixels.new_tensor([IMAGENET_MEAN, IMAGENET_STD])[:, None, :, None, None]
        return self.encode(((pixels - mean) / std).contiguous(memory_format=torch.channels_last))

    def encode(self, normalised: Tensor) -> Tensor:
        """The same of pixels whose channels have their mean and deviation in ImageNet taken out."""
        return self.mapper(self.backbone(normalised.contiguous(memory_format=torch.channels_last))).contiguous()
