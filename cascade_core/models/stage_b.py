"""Stage B: denoises the Stage A latent, conditioned on a Stage C latent, a pooled text vector and, unused, pixels."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .blocks import BlockInputs, channels_first, gelu, layer_norm, resize
from .body import Body, Inner, LayerNorm, Modulation, Prepared, drawn
from .compiling import Call, call
from .config import StageBConfig
from .linear import Conv2d, ConvTranspose2d


class StageB(Body):
    """The diffusion decoder. Latents are (B, 4, h, w) in model space, one cell per 4 x 4 pixels."""

    def __init__(self, config: StageBConfig) -> None:
        c = config.c_hidden
        super().__init__(
            config,
            downscaler=lambda i, j: Conv2d(c[i], c[j], 2, stride=2),
            upscaler=lambda i, j: ConvTranspose2d(c[i], c[j], 2, stride=2),
        )
        self.tokens = config.c_clip_seq
        self.c_pixels = config.c_pixels
        self.effnet_mapper = _map_mapper(config.c_effnet, c[0])
        self.pixels_mapper = _map_mapper(config.c_pixels, c[0])
        self.clip_mapper = nn.Linear(config.c_clip, config.c_cond * self.tokens)
        patched = config.channels * config.patch_size**2
        self.embedding = nn.Sequential(nn.PixelUnshuffle(config.patch_size), Conv2d(patched, c[0], 1), LayerNorm())
        self.clf = nn.Sequential(LayerNorm(), Conv2d(c[0], patched, 1), nn.PixelShuffle(config.patch_size))

    def prepare(self, effnet: Tensor, pooled: Tensor, size: tuple[int, int], pixels: Tensor | None = None) -> Prepared:
        """Effnet latent (B, 16, hc, wc), pooled text (B, D) or (B, n, D), latent size (h, w) in multiples of the patch.

        The effnet latent is resized before its mapper, the pixels (B, 3, H, W) after theirs. No pixels means an 8 x 8
        zero picture, as officially: its mapped value is a constant other than zero.
        """
        size = (size[0] // self.config.patch_size, size[1] // self.config.patch_size)
        pooled = pooled[:, None] if pooled.ndim == 2 else pooled
        clip = layer_norm(self.clip_mapper(pooled).unflatten(-1, (self.tokens, -1)).flatten(1, 2))
        if pixels is None:
            pixels = effnet.new_zeros(1, self.c_pixels, 8, 8)
        constant = _run_mapper(self.effnet_mapper, resize(effnet, *size))
        picture = channels_first(_run_mapper(self.pixels_mapper, pixels))
        return Prepared(self.text_kv(clip), constant + resize(picture, *size).permute(0, 2, 3, 1))

    def evaluate(
        self, x: Tensor, modulation: Modulation, prepared: Prepared, call: Call = call, inner: Inner | None = None
    ) -> Tensor:
        """One step: latent (B, 4, h, w) -> the raw prediction, of the same shape. call: calls each block.

        inner: levels that are taken from the step before, or kept for the next.
        """
        scale = self.scale or 1.0
        inputs = BlockInputs(prepared.kv, modulation, call=call, scale=scale)
        h = self.trunk(self.embed(x, prepared.constant), inputs, inner)
        return self.clf[2](self.clf[1](channels_first(layer_norm(h, scale)))).contiguous()

    def example(self) -> dict[str, Tensor]:
        config = cast(StageBConfig, self.config)
        side = config.patch_size * 2 ** len(config.c_hidden)  # two tokens a side at the deepest level
        shapes = (config.channels, side, side), (config.c_effnet, 3, 3), (1, config.c_clip)
        return dict(zip(("x", "r", "effnet", "pooled"), drawn(self, *shapes), strict=True))

    def forward(
        self,
        x: Tensor,
        r: Tensor,
        effnet: Tensor,
        pooled: Tensor,
        pixels: Tensor | None = None,
        sca: Tensor | None = None,
    ) -> Tensor:
        """Latent (B, 4, h, w) and noise condition r (B,) -> the raw prediction."""
        prepared = self.prepare(effnet, pooled, (x.shape[-2], x.shape[-1]), pixels)
        return self.evaluate(x, self.modulate(r, sca), prepared)


def _map_mapper(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(Conv2d(c_in, c_out * 4, 1), nn.GELU(), Conv2d(c_out * 4, c_out, 1), LayerNorm())


def _run_mapper(mapper: nn.Sequential, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C'): the mapper's norm is over channels."""
    convolved = mapper[2](gelu(mapper[0](x.contiguous(memory_format=torch.channels_last))))
    return layer_norm(convolved.permute(0, 2, 3, 1))
