"""Latents to start from: empty ones of the wanted size, and encoded pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cascade_core.kinds import STAGE_B_CHANNELS, STAGE_C_CHANNELS
from ..cascade_core.sampling.sizes import CELL, LARGEST, SMALLEST, stage_b_size, stage_c_size
from . import inputs, sockets

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.images import Resize
    from ..cascade_core.models.handle import Handle

CATEGORY = "Stable Cascade/latent"


class CascadeEmptyLatents:
    DISPLAY_NAME = "Empty Latents"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "The empty latents that both samplers start from. Any size from 16 to 8192 pixels is honoured to the pixel. The"
        " published models are at their best from 1024 to 1536, the built-in ones at 256."
    )
    SEARCH_ALIASES = ("stable cascade", "empty latent", "size", "resolution", "width", "height", "batch")
    FUNCTION = REHEARSE = "make"
    RETURN_TYPES, RETURN_NAMES = ("LATENT", "LATENT"), ("stage_c", "stage_b")
    OUTPUT_TOOLTIPS = ("For `latent` of the Stage C sampler.", "For `latent` of the Stage B sampler.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "width": inputs.integer(1024, SMALLEST, LARGEST, "Width of the picture in pixels."),
                "height": inputs.integer(1024, SMALLEST, LARGEST, "Height of the picture in pixels."),
                "batch_size": inputs.integer(
                    1,
                    1,
                    64,
                    "Pictures made at once. Each has a seed of its own, so that one of them can be made again alone:"
                    " picture k (from 0) with seed + k.",
                ),
            }
        }

    def make(self, width: int, height: int, batch_size: int) -> tuple[sockets.Latent, sockets.Latent]:
        import torch

        stage_c = torch.zeros(batch_size, STAGE_C_CHANNELS, *stage_c_size(width, height))
        stage_b = torch.zeros(batch_size, STAGE_B_CHANNELS, *stage_b_size(width, height))
        size = {sockets.SIZE: (height, width)}
        return {"samples": stage_c, **size}, {"samples": stage_b, **size}


class CascadeEncodeImage:
    DISPLAY_NAME = "Encode Image"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Turns a picture into the latent of Stage C, 42 times smaller: to start from below denoise 1, to keep what a"
        " mask leaves, or to decode again with Stage B and Stage A."
    )
    SEARCH_ALIASES = ("stable cascade", "vae encode", "img2img", "image to image", "image to latent", "reconstruction")
    FUNCTION, REHEARSE = "encode", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("LATENT", "LATENT"), ("stage_c", "stage_b")
    OUTPUT_TOOLTIPS = (
        "The picture, for `latent` of the Stage C sampler or `stage_c` of the Stage B sampler.",
        "An empty latent of the picture's size, for `latent` of the Stage B sampler.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "effnet": inputs.wire(sockets.EFFNET, "The effnet, of the same family as the stages."),
                "image": inputs.wire("IMAGE", "The picture, of 16 to 8192 pixels a side. A batch gives a batch."),
            },
            "optional": {
                "resize": inputs.choice(
                    ("ours", "official"),
                    "ours",
                    "How the picture is made smaller before it is encoded: smoothly, so that the latent has the size of"
                    " an empty one; or as officially, to three quarters, without smoothing.",
                )
            },
        }

    def encode(self, effnet: Handle, image: Tensor, resize: Resize = "ours") -> tuple[sockets.Latent, sockets.Latent]:
        from ..cascade_core.images import encode_pixels

        return self._latents(effnet, image, encode_pixels(effnet, sockets.to_pixels(image), resize))

    def rehearse(self, effnet: Handle, image: Tensor, resize: Resize = "ours") -> tuple[sockets.Latent, sockets.Latent]:
        import torch

        from ..cascade_core.images import encoded_size

        batch, height, width = sockets.image_size("image", image)
        h, w = (side // CELL for side in encoded_size(height, width, resize))
        return self._latents(effnet, image, torch.empty(batch, effnet.config.c_latent, h, w, device="meta"))

    def _latents(self, effnet: Handle, image: Tensor, samples: Tensor) -> tuple[sockets.Latent, sockets.Latent]:
        batch, height, width = sockets.image_size("image", image)
        stage_c, stage_b = CascadeEmptyLatents().make(width, height, batch)
        return {**stage_c, "samples": samples, sockets.FAMILY: effnet.family}, stage_b


NODES = (CascadeEmptyLatents, CascadeEncodeImage)
