"""Stage C: denoises the 16-channel latent, conditioned on text tokens, a pooled text vector and image embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from .blocks import BlockInputs, channels_first, layer_norm
from .body import Body, LayerNorm, Modulation, Prepared, drawn
from .compiling import Call, call
from .config import StageCConfig
from .linear import Conv2d


class LevelSwitch(nn.Module):
    """The 1x1 convolution between two levels, with a resize by half or double that the published networks leave out."""

    def __init__(self, c_in: int, c_out: int, switch: bool, up: bool) -> None:
        super().__init__()
        scale = 2.0 if up else 0.5
        resize = nn.Upsample(scale_factor=scale, mode="bilinear", align_corners=True) if switch else nn.Identity()
        convolution = Conv2d(c_in, c_out, 1)
        self.blocks = nn.ModuleList([resize, convolution] if up else [convolution, resize])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class StageC(Body):
    """The text-conditional network. Latents are (B, 16, h, w), about one value cell per 43 x 43 pixels."""

    def __init__(self, config: StageCConfig) -> None:
        c, switch = config.c_hidden, config.switch_level
        super().__init__(
            config,
            downscaler=lambda i, j: LevelSwitch(c[i], c[j], switch[i], up=False),
            upscaler=lambda i, j: LevelSwitch(c[i], c[j], switch[j], up=True),
        )
        self.tokens = config.c_clip_seq
        self.clip_txt_mapper = nn.Linear(config.c_clip_text, config.c_cond)
        self.clip_txt_pooled_mapper = nn.Linear(config.c_clip_text_pooled, config.c_cond * self.tokens)
        self.clip_img_mapper = nn.Linear(config.c_clip_img, config.c_cond * self.tokens)
        patched = config.channels * config.patch_size**2
        self.embedding = nn.Sequential(nn.PixelUnshuffle(config.patch_size), Conv2d(patched, c[0], 1), LayerNorm())
        self.clf = nn.Sequential(LayerNorm(), Conv2d(c[0], patched, 1), nn.PixelShuffle(config.patch_size))

    def clip_tokens(self, text: Tensor, pooled: Tensor, images: Tensor | None = None) -> Tensor:
        """Text (B, T, D), pooled (B, D) or (B, n, D), images (B, n, D) or none -> (B, T + 4 n + 4 m, c_cond).

        Without an image one zero vector is fed: its bias tokens are part of what the network was trained on.
        """
        if images is None:
            images = text.new_zeros(text.shape[0], 1, self.clip_img_mapper.in_features)
        pooled = pooled[:, None] if pooled.ndim == 2 else pooled
        parts = [
            self.clip_txt_mapper(text),
            self.clip_txt_pooled_mapper(pooled).unflatten(-1, (self.tokens, -1)).flatten(1, 2),
            self.clip_img_mapper(images).unflatten(-1, (self.tokens, -1)).flatten(1, 2),
        ]
        return layer_norm(torch.cat(parts, dim=1))

    def prepare(self, text: Tensor, pooled: Tensor, images: Tensor | None = None) -> Prepared:
        """The text's keys and values; see `clip_tokens` for the shapes."""
        return Prepared(self.text_kv(self.clip_tokens(text, pooled, images)))

    def evaluate(self, x: Tensor, modulation: Modulation, prepared: Prepared, call: Call = call) -> Tensor:
        """One step: latent (B, 16, h, w) -> the raw prediction, of the same shape. call: calls each block."""
        scale = self.scale or 1.0
        inputs = BlockInputs(prepared.kv, modulation, prepared.control, call, scale)
        h = self.trunk(self.embed(x), inputs)
        return self.clf[2](self.clf[1](channels_first(layer_norm(h, scale)))).contiguous()

    def example(self) -> dict[str, Tensor]:
        config = cast(StageCConfig, self.config)
        texts = (8, config.c_clip_text), (1, config.c_clip_text_pooled)
        return dict(zip(("x", "r", "text", "pooled"), drawn(self, (config.channels, 8, 8), *texts), strict=True))

    def forward(
        self,
        x: Tensor,
        r: Tensor,
        text: Tensor,
        pooled: Tensor,
        images: Tensor | None = None,
        sca: Tensor | None = None,
        crp: Tensor | None = None,
        control: Sequence[Tensor | None] = (),
    ) -> Tensor:
        """Latent (B, 16, h, w) and noise condition r (B,) -> the raw prediction."""
        prepared = replace(self.prepare(text, pooled, images), control=control)
        return self.evaluate(x, self.modulate(r, sca, crp), prepared)
