"""Nodes that turn a latent into an IMAGE."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..cascade_core.sampling.sizes import decoded_size
from ..runtime import host
from . import inputs, sockets

if TYPE_CHECKING:
    from torch import Tensor

    from ..cascade_core.models.handle import Handle
    from ..cascade_core.sampling.latent import Latent


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
                "stage_a": inputs.wire(sockets.STAGE_A, "Stage A of the same family as Stage B."),
                "latent": inputs.wire("LATENT", "The result of the Stage B sampler."),
            }
        }

    def decode(self, stage_a: Handle, latent: sockets.Latent) -> tuple[Tensor]:
        from ..cascade_core.pipeline import decode_pixels

        found = _check(stage_a, latent)
        along = partial(host.current().walk, self.DISPLAY_NAME)
        return (sockets.to_image(decode_pixels(stage_a, found.samples, found.size, along)),)

    def rehearse(self, stage_a: Handle, latent: sockets.Latent) -> tuple[Tensor]:
        found = _check(stage_a, latent)
        return (sockets.placeholder_image(len(found.samples), *decoded_size(found.cells, found.size)),)


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
                "previewer": inputs.wire(sockets.PREVIEWER, "The previewer of the same family as Stage C."),
                "latent": inputs.wire("LATENT", "A latent of Stage C, sampled or encoded."),
            }
        }

    def decode(self, previewer: Handle, latent: sockets.Latent) -> tuple[Tensor]:
        from ..cascade_core.pipeline import preview_pixels

        return (sockets.to_image(preview_pixels(previewer, _check(previewer, latent).samples)),)

    def rehearse(self, previewer: Handle, latent: sockets.Latent) -> tuple[Tensor]:
        batch, _, h, w = _check(previewer, latent).samples.shape
        return (sockets.placeholder_image(batch, h * previewer.config.factor, w * previewer.config.factor),)


def _check(decoder: Handle, latent: sockets.Latent) -> Latent:
    """The latent in model space; CascadeError where it is of another family, or of other channels than the decoder."""
    from ..cascade_core.models.family import check_family

    check_family(decoder, "latent", latent.get(sockets.FAMILY))
    return sockets.to_latent("latent", latent, decoder.config.c_latent)


NODES = (CascadeStageADecode, CascadePreviewDecode)
