"""Latents -> IMAGE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cascade_core.sampling.sizes import decoded_size
from . import sockets

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.models.handle import Handle


class CascadeStageADecode:
    DISPLAY_NAME = "Stage A Decode"
    CATEGORY = "Stable Cascade/latent"
    DESCRIPTION = "Turns a latent of Stage B into the picture, at exactly the size that was asked for."
    SEARCH_ALIASES = ("stable cascade", "vae decode", "latent to image")
    FUNCTION, REHEARSE = "decode", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE",), ("image",)
    OUTPUT_TOOLTIPS = ("The finished picture.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "stage_a": (sockets.STAGE_A, {"tooltip": "Stage A of the same family as Stage B."}),
                "latent": ("LATENT", {"tooltip": "The result of the Stage B sampler."}),
            }
        }

    def decode(self, stage_a: Handle, latent: sockets.Latent) -> tuple[Tensor]:
        from ..cascade_core.pipeline import decode_pixels

        samples = _check(stage_a, latent) / sockets.STAGE_B_SCALE
        return (sockets.to_image(decode_pixels(stage_a, samples, latent.get(sockets.SIZE))),)

    def rehearse(self, stage_a: Handle, latent: sockets.Latent) -> tuple[Tensor]:
        batch, _, h, w = _check(stage_a, latent).shape
        return (sockets.placeholder_image(batch, *decoded_size((h, w), latent.get(sockets.SIZE))),)


class CascadePreviewDecode:
    DISPLAY_NAME = "Preview Decode"
    CATEGORY = "Stable Cascade/latent"
    DESCRIPTION = "Shows roughly what a latent of Stage C will become: a small picture in a fraction of a second."
    SEARCH_ALIASES = ("stable cascade", "preview", "previewer", "latent to image")
    FUNCTION, REHEARSE = "decode", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE",), ("image",)
    OUTPUT_TOOLTIPS = ("A small, soft picture of the latent.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "previewer": (sockets.PREVIEWER, {"tooltip": "The previewer of the same family as Stage C."}),
                "latent": ("LATENT", {"tooltip": "A latent of Stage C, sampled or encoded."}),
            }
        }

    def decode(self, previewer: Handle, latent: sockets.Latent) -> tuple[Tensor]:
        from ..cascade_core.pipeline import preview_pixels

        return (sockets.to_image(preview_pixels(previewer, _check(previewer, latent))),)

    def rehearse(self, previewer: Handle, latent: sockets.Latent) -> tuple[Tensor]:
        batch, _, h, w = _check(previewer, latent).shape
        return (sockets.placeholder_image(batch, h * previewer.config.factor, w * previewer.config.factor),)


def _check(decoder: Handle, latent: sockets.Latent) -> Tensor:
    """The samples (B, C, h, w); CascadeError where they are of another family, or not the decoder's."""
    from ..cascade_core.sampling.family import check_family

    check_family(decoder, "latent", latent.get(sockets.FAMILY))
    return sockets.samples_of("latent", latent, decoder.config.c_latent)
