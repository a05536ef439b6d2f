"""Stand-ins for the host's nodes that encode prompts and pictures with CLIP, and put pictures beside a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...cascade_core.errors import CascadeError
from ...nodes import sockets
from ...nodes.conditioning import CascadeTextEncode
from . import inputs

if TYPE_CHECKING:
    from torch import Tensor

    from ...cascade_core.models.handle import Handle


class CLIPTextEncode:
    DISPLAY_NAME = "CLIP Text Encode (Prompt)"
    CATEGORY = "conditioning"
    DESCRIPTION = "Encodes a prompt. (word:1.3) weighs a word, embedding:NAME says what a file learned."
    FUNCTION, REHEARSE = "encode", "rehearse"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        text = ("STRING", {"multiline": True, "dynamicPrompts": True})
        return {"required": {"text": text, **inputs.wires(clip="CLIP")}}

    @classmethod
    def VALIDATE_INPUTS(cls, text: str | None = None) -> bool | str:
        return CascadeTextEncode.VALIDATE_INPUTS(text)

    def encode(self, clip: Handle | None, text: str) -> Any:
        return CascadeTextEncode().encode(_present(clip), text)

    def rehearse(self, clip: Handle | None, text: str) -> tuple[sockets.Conditioning]:
        return CascadeTextEncode().rehearse(_present(clip), text)


class CLIPSetLastLayer:
    DISPLAY_NAME = "CLIP Set Last Layer"
    CATEGORY = "conditioning"
    DESCRIPTION = "The text encoder with the sequence of an earlier layer; the pooled vector stays that of the last."
    FUNCTION = REHEARSE = "set_last_layer"
    RETURN_TYPES = ("CLIP",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {**inputs.wires(clip="CLIP"), "stop_at_clip_layer": inputs.integer(-1, -24, -1)}}

    def set_last_layer(self, clip: Handle | None, stop_at_clip_layer: int) -> tuple[Handle]:
        from ...cascade_core.lora.attach import beside

        encoder = _present(clip)
        module: Any = encoder.module
        return (beside(encoder, module.ending_at(stop_at_clip_layer)),)


def _present(clip: Handle | None) -> Handle:
    if clip is None:
        raise CascadeError(
            "`clip` is empty: the file of its loader holds no text encoder. Load that by Load CLIP, type stable_cascade"
        )
    return clip


class CLIPVisionEncode:
    DISPLAY_NAME = "CLIP Vision Encode"
    CATEGORY = "conditioning"
    DESCRIPTION = "CLIP's vector of a picture: of its middle square, or of all of it, squeezed to a square."
    FUNCTION, REHEARSE = "encode", "rehearse"
    RETURN_TYPES = ("CLIP_VISION_OUTPUT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        wires = inputs.wires(clip_vision="CLIP_VISION", image="IMAGE")
        return {"required": {**wires, "crop": (["center", "none"],)}}

    def encode(self, clip_vision: Handle | None, image: Tensor, crop: str) -> tuple[sockets.ImageEmbeddings]:
        from ...cascade_core.images import embed_pixels

        encoder = _vision(clip_vision)
        pixels = _fitted(sockets.to_pixels(image), encoder.config.image_size, crop == "center")
        return (sockets.ImageEmbeddings(embed_pixels(encoder, pixels)),)

    def rehearse(self, clip_vision: Handle | None, image: Tensor, crop: str) -> tuple[sockets.ImageEmbeddings]:
        import torch

        count, _, _ = sockets.image_size("image", image)
        width = _vision(clip_vision).config.projection_dim
        return (sockets.ImageEmbeddings(torch.empty(count, width, device="meta")),)


def _vision(clip_vision: Handle | None) -> Handle:
    if clip_vision is None:
        raise CascadeError(
            "`clip_vision` is empty: the file of its loader holds no image encoder. Load that by Load CLIP Vision"
        )
    return clip_vision


def _fitted(pixels: Tensor, side: int, crop: bool) -> Tensor:
    """Pictures (B, 3, H, W) as (B, 3, side, side), in whole levels of 8 bits, as the host has them."""
    from torch.nn.functional import interpolate

    height, width = pixels.shape[-2:]
    if (height, width) != (side, side):
        scale = side / min(height, width)
        size = (round(scale * height), round(scale * width)) if crop else (side, side)
        pixels = interpolate(pixels, size, mode="bicubic", antialias=True)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        pixels = pixels[..., top : top + side, left : left + side]
    return (255 * pixels).clamp(0, 255).round() / 255


class unCLIPConditioning:
    DISPLAY_NAME = "unCLIPConditioning"
    CATEGORY = "conditioning"
    DESCRIPTION = "The prompt with a picture beside it, for Stage C; `noise_augmentation` is of other models."
    FUNCTION = REHEARSE = "apply_adm"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **inputs.wires(conditioning="CONDITIONING", clip_vision_output="CLIP_VISION_OUTPUT"),
                "strength": inputs.decimal(1.0, -10.0, 10.0),
                "noise_augmentation": inputs.decimal(0.0, 0.0, 1.0),
            }
        }

    def apply_adm(
        self, conditioning: sockets.Conditioning, clip_vision_output: Any, strength: float, noise_augmentation: float
    ) -> tuple[sockets.Conditioning]:
        if strength == 0:
            return (conditioning,)
        added = {
            "clip_vision_output": clip_vision_output, "strength": strength, "noise_augmentation": noise_augmentation
        }  # fmt: skip
        return ([[sequence, _beside(values, added)] for sequence, values in conditioning],)


def _beside(values: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    return {**values, sockets.UNCLIP: [*(values.get(sockets.UNCLIP) or ()), added]}


NODES = (CLIPTextEncode, CLIPSetLastLayer, CLIPVisionEncode, unCLIPConditioning)
