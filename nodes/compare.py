"""The node that shows a picture beside its original, and says in numbers how it differs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.kinds import STAGE_C_CHANNELS
from ..runtime import host
from . import inputs, sockets
from .images import CATEGORY

if TYPE_CHECKING:
    from torch import Tensor


class CascadeCompare:
    DISPLAY_NAME = "Compare Pictures"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Puts a picture beside its original, which is on the left, and tells by how many decibels (PSNR) it differs;"
        " with the latent that it comes from also how much smaller that is. The node shows the numbers."
    )
    SEARCH_ALIASES = ("stable cascade", "psnr", "compare", "side by side", "image stitch", "reconstruction", "quality")
    FUNCTION, REHEARSE = "compare", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "STRING"), ("image", "text")
    OUTPUT_TOOLTIPS = ("The original on the left, the picture on the right.", "The numbers, in one line.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": inputs.wire("IMAGE", "The picture to judge."),
                "original": inputs.wire("IMAGE", "What it should be like, of the same size."),
            },
            "optional": {
                "latent": inputs.wire("LATENT", "The latent of Stage C that the picture was made of: how small is it?")
            },
        }

    def compare(self, image: Tensor, original: Tensor, latent: sockets.Latent | None = None) -> dict[str, Any]:
        import torch

        from ..cascade_core.images import psnr

        batch, height, width = _common_size(image, original)
        pixels = sockets.to_pixels(image).expand(batch, -1, -1, -1)
        wanted = sockets.to_pixels(original, "original").expand(batch, -1, -1, -1)
        text = _decibels([psnr(one, other) for one, other in zip(pixels, wanted, strict=True)])
        if latent is not None:
            text += f"; {_smaller(latent, height, width)}"
        host.current().tell(self.DISPLAY_NAME, text)
        beside = sockets.to_image(torch.cat([wanted, pixels], dim=-1))
        return {"ui": {"text": [text]}, "result": (beside, text)}

    def rehearse(self, image: Tensor, original: Tensor, latent: sockets.Latent | None = None) -> tuple[Tensor, str]:
        batch, height, width = _common_size(image, original)
        if latent is not None:
            _smaller(latent, height, width)
        return sockets.placeholder_image(batch, height, 2 * width), ""


def _common_size(image: Tensor, original: Tensor) -> tuple[int, int, int]:
    """Batch, height and width of both; CascadeError where they cannot be compared."""
    from ..cascade_core.images import common_batch

    count, *found = sockets.image_size("image", image)
    of_original, height, width = sockets.image_size("original", original)
    if found != [height, width]:
        raise CascadeError(
            f"`image` has {found[1]} x {found[0]} pixels, `original` {width} x {height}: only pictures of one size can"
            " be compared: scale one of them (Upscale Image), or make the picture at the original's size"
        )
    return common_batch(image=count, original=of_original), height, width


def _decibels(values: list[float]) -> str:
    from ..cascade_core.images import EQUAL

    mean = sum(values) / len(values)
    if mean == EQUAL:
        return "the pictures are equal"
    spread = f" on average, {min(values):.1f} to {max(values):.1f}" if len(values) > 1 else ""
    return f"PSNR {mean:.1f} dB{spread}"


def _smaller(latent: sockets.Latent, height: int, width: int) -> str:
    """A sentence on how much smaller a latent of Stage C is than a picture of these pixels."""
    channels, h, w = sockets.samples_of("latent", latent, STAGE_C_CHANNELS).shape[1:]
    return f"latent {w} x {h} x {channels}, {math.sqrt(height * width / (h * w)):.1f} times smaller a side"


NODES = (CascadeCompare,)
