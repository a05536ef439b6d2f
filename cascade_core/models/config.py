"""One frozen dataclass per network, and the presets: published sizes as deltas from the first, and the tiny ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..kinds import STAGE_A_SCALE, STAGE_B_CHANNELS, STAGE_C_CHANNELS
from .clip_config import PUBLISHED_TEXT, PUBLISHED_VISION, TINY_TEXT, TINY_VISION


@dataclass(frozen=True)
class StageCConfig:
    """Text-conditional diffusion on the 16-channel latent; the defaults are the 3.6B network."""

    channels: int = STAGE_C_CHANNELS
    patch_size: int = 1
    c_hidden: tuple[int, ...] = (2048, 2048)
    nhead: tuple[int, ...] = (32, 32)
    blocks: tuple[tuple[int, ...], ...] = ((8, 24), (24, 8))  # down; up, deepest level first
    block_repeat: tuple[tuple[int, ...], ...] = ((1, 1), (1, 1))
    level_config: tuple[str, ...] = ("CTA", "CTA")
    switch_level: tuple[bool, ...] = (False,)  # halve the latent between levels?
    c_cond: int = 2048
    c_clip_text: int = 1280
    c_clip_text_pooled: int = 1280
    c_clip_img: int = 768
    c_clip_seq: int = 4  # tokens made of one pooled text or image vector
    c_r: int = 64
    t_conds: tuple[str, ...] = ("sca", "crp")
    kernel_size: int = 3
    dropout: tuple[float, ...] = (0.1, 0.1)


@dataclass(frozen=True)
class StageBConfig:
    """Diffusion decoder from the Stage C latent to the Stage A latent; the defaults are the 1.5B network."""

    channels: int = STAGE_B_CHANNELS
    patch_size: int = 2
    c_hidden: tuple[int, ...] = (320, 640, 1280, 1280)
    nhead: tuple[int, ...] = (-1, -1, 20, 20)
    blocks: tuple[tuple[int, ...], ...] = ((2, 6, 28, 6), (6, 28, 6, 2))
    block_repeat: tuple[tuple[int, ...], ...] = ((1, 1, 1, 1), (3, 3, 2, 2))
    level_config: tuple[str, ...] = ("CT", "CT", "CTA", "CTA")
    c_cond: int = 1280
    c_clip: int = 1280
    c_clip_seq: int = 4
    c_effnet: int = 16
    c_pixels: int = 3
    c_r: int = 64
    t_conds: tuple[str, ...] = ("sca",)
    kernel_size: int = 3
    dropout: tuple[float, ...] = (0.0, 0.0, 0.1, 0.1)


@dataclass(frozen=True)
class StageAConfig:
    """The autoencoder between pixels and the 4-channel latent."""

    levels: int = 2
    c_hidden: int = 384
    c_latent: int = 4
    bottleneck_blocks: int = 12
    codebook_size: int = 8192  # unused at inference; 0 means that the file has no codebook
    scale: float = STAGE_A_SCALE


@dataclass(frozen=True)
class EffnetConfig:
    """EfficientNetV2 `features`; a stage is (fused, expansion, stride, channels, layers). Defaults: the S network."""

    stem: int = 24
    stages: tuple[tuple[bool, int, int, int, int], ...] = (
        (True, 1, 1, 24, 2),
        (True, 4, 2, 48, 4),
        (True, 4, 2, 64, 4),
        (False, 4, 2, 128, 6),
        (False, 6, 1, 160, 9),
        (False, 6, 2, 256, 15),
    )
    head: int = 1280
    c_latent: int = 16


@dataclass(frozen=True)
class PreviewerConfig:
    """Stage C latent to a small picture; each width after the first doubles the side."""

    c_latent: int = 16
    widths: tuple[int, ...] = (512, 256, 128, 128)

    @property
    def factor(self) -> int:
        """Sides of the picture, in sides of the latent."""
        return 2 ** (len(self.widths) - 1)


PROJECTED_BLOCKS = (0, 4, 8, 12, 51, 55, 59, 63)  # numbers among the 64 residual blocks of Stage C 3.6B


@dataclass(frozen=True)
class ControlNetConfig:
    """Maps for a Stage C, made of a hint; the defaults are the published canny network."""

    bottleneck: str = "effnet"  # "effnet" shrinks pixels by 32; "simple" and "large" take one value per latent cell
    c_in: int = 1
    c_proj: int = 2048  # width of the Stage C that it fits
    proj_blocks: tuple[int, ...] = PROJECTED_BLOCKS  # residual blocks of Stage C that get a map
    stem: int = EffnetConfig.stem  # effnet: as in EffnetConfig
    stages: tuple[tuple[bool, int, int, int, int], ...] = EffnetConfig.stages
    c_wide: int = 0  # simple and large: channels after the first convolution
    c_blocks: int = 0  # large: of its residual blocks
    blocks: int = 0
    c_out: int = 1280  # channels of the features that are projected; simple: c_in


STAGE_C = StageCConfig()
STAGE_B = StageBConfig()
TINY_EFFNET = EffnetConfig(
    stem=12,
    stages=((True, 2, 2, 24, 1), (True, 2, 2, 40, 2), (False, 3, 2, 64, 2), (False, 3, 2, 96, 3)),
    head=256,
)
CANNY = ControlNetConfig()
TINY_CANNY = replace(
    CANNY, c_proj=160, proj_blocks=(0, 1, 2, 3, 4, 5), stem=TINY_EFFNET.stem, stages=TINY_EFFNET.stages, c_out=128
)

PRESETS: dict[str, dict[str, Any]] = {
    "stage_c": {
        "3.6B": STAGE_C,
        "1B": replace(STAGE_C, c_hidden=(1536, 1536), nhead=(24, 24), blocks=((4, 12), (12, 4)), c_cond=1536),
        "tiny": replace(
            STAGE_C,
            c_hidden=(160,),
            nhead=(5,),
            blocks=((3,), (3,)),
            block_repeat=((1,), (1,)),
            level_config=("CTA",),
            switch_level=(),
            c_cond=128,
            c_clip_text=TINY_TEXT.hidden_size,
            c_clip_text_pooled=TINY_TEXT.projection_dim,
            c_clip_img=TINY_VISION.projection_dim,
            t_conds=(),
            dropout=(0.0,),
        ),
    },
    "stage_b": {
        "1.5B": STAGE_B,
        "700M": replace(
            STAGE_B,
            c_hidden=(320, 576, 1152, 1152),
            nhead=(-1, 9, 18, 18),
            blocks=((2, 4, 14, 4), (4, 14, 4, 2)),
            block_repeat=((1, 1, 1, 1), (2, 2, 2, 2)),
        ),
        "tiny": replace(
            STAGE_B,
            patch_size=4,  # a quarter of the tokens: what makes training on a CPU possible
            c_hidden=(96, 128, 128),
            nhead=(-1, 4, 4),
            blocks=((2, 2, 1), (1, 2, 2)),
            block_repeat=((1, 1, 1), (1, 1, 1)),
            level_config=("CT", "CTA", "CTA"),
            c_cond=128,
            c_clip=TINY_TEXT.projection_dim,
            t_conds=(),
            dropout=(0.0, 0.0, 0.0),
        ),
    },
    "stage_a": {
        "published": StageAConfig(),
        "tiny": StageAConfig(c_hidden=48, bottleneck_blocks=6, codebook_size=0),
    },
    "effnet": {
        "published": EffnetConfig(),
        "tiny": TINY_EFFNET,
    },
    "previewer": {"published": PreviewerConfig(), "tiny": PreviewerConfig(widths=(64, 64, 48, 32))},
    "text_encoder": {"published": PUBLISHED_TEXT, "tiny": TINY_TEXT},
    "image_encoder": {"published": PUBLISHED_VISION, "tiny": TINY_VISION},
    "controlnet": {
        "canny": CANNY,
        "inpainting": replace(CANNY, c_in=4),
        "super_resolution": replace(CANNY, bottleneck="large", c_in=16, c_wide=16384, c_blocks=1024, blocks=8),
        "identity": replace(CANNY, bottleneck="simple", c_in=512, c_wide=2048, c_out=512, proj_blocks=tuple(range(64))),
        "tiny canny": TINY_CANNY,
        "tiny inpainting": replace(TINY_CANNY, c_in=4),
        "tiny super_resolution": replace(TINY_CANNY, bottleneck="large", c_in=16, c_wide=512, c_blocks=96, blocks=3),
        "tiny identity": replace(TINY_CANNY, bottleneck="simple", c_in=128, c_wide=160, c_out=128),
    },
}
