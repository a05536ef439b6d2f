"""Stand-ins for the host's own nodes for Stable Cascade, and for its nodes that encode and decode by a VAE.

Stage C's latent has pixels // compression cells a side, Stage B's pixels // 4: rounded down, unlike those of our nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...cascade_core.errors import CascadeError
from ...cascade_core.kinds import STAGE_B_CHANNELS, STAGE_C_CHANNELS
from ...cascade_core.sampling.sizes import CELL_B
from ...nodes import sockets
from . import coders, inputs
from .images import resized

if TYPE_CHECKING:
    from torch import Tensor

    from .coders import Vae

PRIOR = "stable_cascade_prior"  # in CONDITIONING, native: the latent of Stage C, for Stage B
_COMPRESSION = inputs.integer(42, 4, 128)
_BOTH = ("LATENT", "LATENT"), ("stage_c", "stage_b")


class StableCascade_EmptyLatentImage:
    DISPLAY_NAME = "Empty Stable Cascade Latent Image"
    CATEGORY = "latent/stable_cascade"
    DESCRIPTION = "The empty latents that both stages start from."
    FUNCTION = REHEARSE = "execute"
    RETURN_TYPES, RETURN_NAMES = _BOTH

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = inputs.pixels(1024, 256, 8)
        batch = inputs.integer(1, 1, 4096, None)
        return {"required": {"width": side, "height": side, "compression": _COMPRESSION, "batch_size": batch}}

    def execute(
        self, width: int, height: int, compression: int, batch_size: int = 1
    ) -> tuple[sockets.Latent, sockets.Latent]:
        stage_c = _empty(batch_size, STAGE_C_CHANNELS, height // compression, width // compression)
        return stage_c, _empty(batch_size, STAGE_B_CHANNELS, height // CELL_B, width // CELL_B)


class StableCascade_StageB_Conditioning:
    DISPLAY_NAME = "StableCascade_StageB_Conditioning"
    CATEGORY = "conditioning/stable_cascade"
    DESCRIPTION = "The prompt with the latent of Stage C, for Stage B to work out."
    FUNCTION = REHEARSE = "execute"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": inputs.wires(conditioning="CONDITIONING", stage_c="LATENT")}

    def execute(self, conditioning: sockets.Conditioning, stage_c: sockets.Latent) -> tuple[sockets.Conditioning]:
        return ([[sequence, {**values, PRIOR: stage_c["samples"]}] for sequence, values in conditioning],)


class StableCascade_StageC_VAEEncode:
    DISPLAY_NAME = "Stable Cascade Stage C VAE Encode"
    CATEGORY = "latent/stable_cascade"
    DESCRIPTION = "A picture as the latent of Stage C, `compression` times smaller, and an empty one of its size."
    FUNCTION, REHEARSE = "execute", "rehearse"
    RETURN_TYPES, RETURN_NAMES = _BOTH

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {**inputs.wires(image="IMAGE", vae="VAE"), "compression": _COMPRESSION}}

    def execute(self, image: Tensor, vae: Vae | None, compression: int) -> tuple[sockets.Latent, sockets.Latent]:
        return self._latents(image, vae, compression, False)

    def rehearse(self, image: Tensor, vae: Vae | None, compression: int) -> tuple[sockets.Latent, sockets.Latent]:
        return self._latents(image, vae, compression, True)

    def _latents(
        self, image: Tensor, given: Vae | None, compression: int, rehearsal: bool
    ) -> tuple[sockets.Latent, sockets.Latent]:
        cell = _effnet(given)
        batch, height, width = sockets.image_size("image", image)
        h, w = height // compression * cell, width // compression * cell
        if not (h and w):
            raise CascadeError(
                f"`image` is {width} x {height}, less than a cell of {compression} pixels: choose a smaller compression"
            )
        if rehearsal:
            stage_c = coders.encoded(given, sockets.placeholder_image(batch, h, w))
        else:
            stage_c = coders.encode(given, resized(image[..., :3], w, h, "bicubic", "center"))
        return stage_c, _empty(batch, STAGE_B_CHANNELS, height // 8 * 2, width // 8 * 2)


class StableCascade_SuperResolutionControlnet:
    DISPLAY_NAME = "StableCascade_SuperResolutionControlnet"
    CATEGORY = "_for_testing/stable_cascade"
    DESCRIPTION = "A small picture as the hint of the super-resolution ControlNet, and latents of twice its size."
    FUNCTION, REHEARSE = "execute", "rehearse"
    RETURN_TYPES = ("IMAGE", "LATENT", "LATENT")
    RETURN_NAMES = ("controlnet_input", "stage_c", "stage_b")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": inputs.wires(image="IMAGE", vae="VAE")}

    def execute(self, image: Tensor, vae: Vae | None) -> tuple[Tensor, sockets.Latent, sockets.Latent]:
        return self._outputs(image, vae, False)

    def rehearse(self, image: Tensor, vae: Vae | None) -> tuple[Tensor, sockets.Latent, sockets.Latent]:
        return self._outputs(image, vae, True)

    def _outputs(
        self, image: Tensor, given: Vae | None, rehearsal: bool
    ) -> tuple[Tensor, sockets.Latent, sockets.Latent]:
        _effnet(given)
        batch, height, width = sockets.image_size("image", image)
        latent = (coders.encoded if rehearsal else coders.encode)(given, image)
        stage_c = _empty(batch, STAGE_C_CHANNELS, height // 16, width // 16)
        return latent["samples"].movedim(1, -1), stage_c, _empty(batch, STAGE_B_CHANNELS, height // 2, width // 2)


class VAEDecode:
    DISPLAY_NAME = "VAE Decode"
    CATEGORY = "latent"
    DESCRIPTION = "The picture of a latent: by Stage A of Stage B's, by the previewer roughly of Stage C's."
    FUNCTION, REHEARSE = "decode", "rehearse"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": inputs.wires(samples="LATENT", vae="VAE")}

    def decode(
        self, samples: sockets.Latent, vae: Vae | None, tile_size: int | None = None, **overlaps: int
    ) -> tuple[Tensor]:
        return (coders.decode(vae, samples, None if tile_size is None else tile_size // CELL_B),)

    def rehearse(self, samples: sockets.Latent, vae: Vae | None, **tiles: int) -> tuple[Tensor]:
        return (coders.decoded(vae, samples),)


class VAEDecodeTiled(VAEDecode):
    DISPLAY_NAME = "VAE Decode (Tiled)"
    CATEGORY = "_for_testing"
    DESCRIPTION = "As VAE Decode, in tiles of this size: without seams, whatever the overlap."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **super().INPUT_TYPES()["required"],
                "tile_size": inputs.integer(512, 64, 4096, 32),
                "overlap": inputs.integer(64, 0, 4096, 32),
                "temporal_size": inputs.integer(64, 8, 4096, 4),
                "temporal_overlap": inputs.integer(8, 4, 4096, 4),
            }
        }


class VAEEncode:
    DISPLAY_NAME = "VAE Encode"
    CATEGORY = "latent"
    DESCRIPTION = "The latent of a picture: Stage B's by Stage A, Stage C's by the effnet, 32 times smaller."
    FUNCTION, REHEARSE = "encode", "rehearse"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": inputs.wires(pixels="IMAGE", vae="VAE")}

    def encode(self, pixels: Tensor, vae: Vae | None) -> tuple[sockets.Latent]:
        return (coders.encode(vae, pixels),)

    def rehearse(self, pixels: Tensor, vae: Vae | None) -> tuple[sockets.Latent]:
        return (coders.encoded(vae, pixels),)


def _empty(batch: int, channels: int, height: int, width: int) -> sockets.Latent:
    import torch

    return {"samples": torch.zeros(batch, channels, height, width)}


def _effnet(given: Vae | None) -> int:
    """The pixels of a cell; CascadeError where the VAE is not the one of Stage C."""
    coders.encoder(given, "stage_c")
    assert given is not None
    return given.cell


NODES = (
    StableCascade_EmptyLatentImage, StableCascade_StageB_Conditioning, StableCascade_StageC_VAEEncode,
    StableCascade_SuperResolutionControlnet, VAEDecode, VAEDecodeTiled, VAEEncode,
)  # fmt: skip
