"""Empty latents of the wanted size."""

from __future__ import annotations

from typing import Any

from .. import cascade_core as core
from . import sockets


class CascadeEmptyLatents:
    DISPLAY_NAME = "Empty Latents"
    CATEGORY = "Stable Cascade/latent"
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
        side = {"default": 1024, "min": core.SMALLEST, "max": core.LARGEST, "step": 1}
        return {
            "required": {
                "width": ("INT", {**side, "tooltip": "Width of the picture in pixels."}),
                "height": ("INT", {**side, "tooltip": "Height of the picture in pixels."}),
                "batch_size": (
                    "INT",
                    {
                        "default": 1,
                        "min": 1,
                        "max": 64,
                        "step": 1,
                        "tooltip": "Pictures made at once. Each has a seed of its own, so that one of them can be made"
                        " again alone: picture k (from 0) with seed + k.",
                    },
                ),
            }
        }

    def make(self, width: int, height: int, batch_size: int) -> tuple[sockets.Latent, sockets.Latent]:
        import torch

        stage_c = torch.zeros(batch_size, sockets.STAGE_C_CHANNELS, *core.stage_c_size(width, height))
        stage_b = torch.zeros(batch_size, sockets.STAGE_B_CHANNELS, *core.stage_b_size(width, height))
        size = {sockets.SIZE: (height, width)}
        return {"samples": stage_c, **size}, {"samples": stage_b, **size}
