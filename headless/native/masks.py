"""Stand-ins for the host's nodes that make and change masks: MASK is (B, H, W), 1 where something is masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import inputs

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS = ("red", "green", "blue", "alpha")


class InvertMask:
    DISPLAY_NAME = "Invert Mask"
    CATEGORY = "mask"
    DESCRIPTION = "Masked what was not."
    FUNCTION = REHEARSE = "invert"
    RETURN_TYPES = ("MASK",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": inputs.wires(mask="MASK")}

    def invert(self, mask: Tensor) -> tuple[Tensor]:
        return (1.0 - mask,)


class ThresholdMask:
    DISPLAY_NAME = "Threshold Mask"
    CATEGORY = "mask"
    DESCRIPTION = "1 where the mask is over `value`, else 0."
    FUNCTION = REHEARSE = "image_to_mask"
    RETURN_TYPES = ("MASK",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {**inputs.wires(mask="MASK"), "value": inputs.decimal(0.5, 0.0, 1.0)}}

    def image_to_mask(self, mask: Tensor, value: float) -> tuple[Tensor]:
        return ((mask > value).float(),)


class GrowMask:
    DISPLAY_NAME = "Grow Mask"
    CATEGORY = "mask"
    DESCRIPTION = "The mask so many pixels larger on all sides, or smaller."
    FUNCTION = REHEARSE = "expand_mask"
    RETURN_TYPES = ("MASK",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        expand = inputs.integer(0, -inputs.LARGEST, inputs.LARGEST)
        tapered = inputs.switch(True)
        return {"required": {**inputs.wires(mask="MASK"), "expand": expand, "tapered_corners": tapered}}

    def expand_mask(self, mask: Tensor, expand: int, tapered_corners: bool) -> tuple[Tensor]:
        import torch
        from torch.nn.functional import max_pool2d

        sign = -1 if expand < 0 else 1
        grown = sign * _flat(mask)
        for _ in range(abs(expand)):
            if tapered_corners:  # a pixel takes the largest of itself and the four beside it, else of all eight
                across = max_pool2d(grown, (1, 3), 1, (0, 1))
                grown = torch.maximum(across, max_pool2d(grown, (3, 1), 1, (1, 0)))
            else:
                grown = max_pool2d(grown, 3, 1, 1)
        return (sign * grown,)


class SolidMask:
    DISPLAY_NAME = "Create Solid Mask"
    CATEGORY = "mask"
    DESCRIPTION = "The same value everywhere."
    FUNCTION = REHEARSE = "solid"
    RETURN_TYPES = ("MASK",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = inputs.pixels(512, 1)
        return {"required": {"value": inputs.decimal(1.0, 0.0, 1.0), "width": side, "height": side}}

    def solid(self, value: float, width: int, height: int) -> tuple[Tensor]:
        import torch

        return (torch.full((1, height, width), value),)


class CropMask:
    DISPLAY_NAME = "Crop Mask"
    CATEGORY = "mask"
    DESCRIPTION = "A part of the mask, as far as there is one."
    FUNCTION = REHEARSE = "crop"
    RETURN_TYPES = ("MASK",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        place, side = inputs.pixels(0), inputs.pixels(512, 1)
        return {"required": {**inputs.wires(mask="MASK"), "x": place, "y": place, "width": side, "height": side}}

    def crop(self, mask: Tensor, x: int, y: int, width: int, height: int) -> tuple[Tensor]:
        return (_flat(mask)[:, y : y + height, x : x + width],)


class FeatherMask:
    DISPLAY_NAME = "Feather Mask"
    CATEGORY = "mask"
    DESCRIPTION = "The mask fades towards its sides, over so many pixels each."
    FUNCTION = REHEARSE = "feather"
    RETURN_TYPES = ("MASK",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        sides = {side: inputs.pixels(0) for side in ("left", "top", "right", "bottom")}
        return {"required": {**inputs.wires(mask="MASK"), **sides}}

    def feather(self, mask: Tensor, left: int, top: int, right: int, bottom: int) -> tuple[Tensor]:
        faded = _flat(mask).clone()
        for axis, before, behind in ((-1, left, right), (-2, top, bottom)):
            length = faded.shape[axis]
            along = faded.movedim(axis, -1)  # a view
            if before := min(before, length):
                along[..., :before] *= _ramp(before).to(faded.device)
            if behind := min(behind, length):
                along[..., length - behind :] *= _ramp(behind).flip(0).to(faded.device)
        return (faded,)


def _ramp(length: int) -> Tensor:
    import torch

    return (torch.arange(length) + 1) / length


class MaskComposite:
    DISPLAY_NAME = "Combine Masks"
    CATEGORY = "mask"
    DESCRIPTION = "One mask put on another at a place, by arithmetic or logic."
    FUNCTION = REHEARSE = "combine"
    RETURN_TYPES = ("MASK",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        place = inputs.pixels(0)
        wires = inputs.wires(destination="MASK", source="MASK")
        return {"required": {**wires, "x": place, "y": place, "operation": (list(_OPERATIONS),)}}

    def combine(self, destination: Tensor, source: Tensor, x: int, y: int, operation: str) -> tuple[Tensor]:
        result, source = _flat(destination).clone(), _flat(source)
        part = result[:, y : y + source.shape[1], x : x + source.shape[2]]
        part.copy_(_OPERATIONS[operation](part, source[:, : part.shape[1], : part.shape[2]]))
        return (result.clamp(0.0, 1.0),)


def _yes(mask: Tensor) -> Tensor:
    return mask.round().bool()


_OPERATIONS: dict[str, Any] = {
    "multiply": lambda old, new: old * new,
    "add": lambda old, new: old + new,
    "subtract": lambda old, new: old - new,
    "and": lambda old, new: (_yes(old) & _yes(new)).float(),
    "or": lambda old, new: (_yes(old) | _yes(new)).float(),
    "xor": lambda old, new: (_yes(old) ^ _yes(new)).float(),
}


class MaskToImage:
    DISPLAY_NAME = "Convert Mask to Image"
    CATEGORY = "mask"
    DESCRIPTION = "The mask as a grey picture."
    FUNCTION = REHEARSE = "mask_to_image"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": inputs.wires(mask="MASK")}

    def mask_to_image(self, mask: Tensor) -> tuple[Tensor]:
        return (_flat(mask)[..., None].expand(-1, -1, -1, 3),)


class ImageToMask:
    DISPLAY_NAME = "Convert Image to Mask"
    CATEGORY = "mask"
    DESCRIPTION = "A channel of the picture as a mask."
    FUNCTION = REHEARSE = "image_to_mask"
    RETURN_TYPES = ("MASK",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {**inputs.wires(image="IMAGE"), "channel": (list(CHANNELS),)}}

    def image_to_mask(self, image: Tensor, channel: str) -> tuple[Tensor]:
        from ...cascade_core.errors import CascadeError

        number = CHANNELS.index(channel)
        if number >= image.shape[-1]:
            raise CascadeError(f"`image` has no {channel} channel, only {image.shape[-1]}: choose another channel")
        return (image[..., number],)


def _flat(mask: Tensor) -> Tensor:
    """(H, W) and (B, 1, H, W) as (B, H, W)."""
    return mask.reshape(-1, *mask.shape[-2:])


NODES = (
    InvertMask, ThresholdMask, GrowMask, SolidMask, CropMask, FeatherMask, MaskComposite, MaskToImage, ImageToMask,
)  # fmt: skip
