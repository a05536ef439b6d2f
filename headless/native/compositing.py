"""Stand-ins for the host's nodes that put pictures and masks together: IMAGE is (B, H, W, C), MASK (B, H, W)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import inputs

if TYPE_CHECKING:
    from torch import Tensor


class JoinImageWithAlpha:
    DISPLAY_NAME = "Join Image with Alpha"
    CATEGORY = "mask/compositing"
    DESCRIPTION = "The picture with the opposite of the mask as its fourth channel."
    FUNCTION = REHEARSE = "execute"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": inputs.wires(image="IMAGE", alpha="MASK")}

    def execute(self, image: Tensor, alpha: Tensor) -> tuple[Tensor]:
        import torch

        opaque = 1.0 - _stretched(alpha, image.shape[1], image.shape[2])[:, 0]
        count = min(len(image), len(opaque))
        return (torch.cat([image[:count, ..., :3], opaque[:count, ..., None].to(image)], dim=-1),)


class SplitImageWithAlpha:
    DISPLAY_NAME = "Split Image with Alpha"
    CATEGORY = "mask/compositing"
    DESCRIPTION = "The picture without its fourth channel, and the opposite of that as a mask."
    FUNCTION = REHEARSE = "execute"
    RETURN_TYPES = ("IMAGE", "MASK")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": inputs.wires(image="IMAGE")}

    def execute(self, image: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        alpha = image[..., 3] if image.shape[-1] > 3 else torch.ones_like(image[..., 0])
        return image[..., :3], 1.0 - alpha


class ImageCompositeMasked:
    DISPLAY_NAME = "Image Composite Masked"
    CATEGORY = "image"
    DESCRIPTION = "A picture put on another at a place, by as much as the mask says."
    FUNCTION = REHEARSE = "composite"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        place = inputs.pixels(0)
        settings = {"x": place, "y": place, "resize_source": inputs.switch(False)}
        wires = inputs.wires(destination="IMAGE", source="IMAGE")
        return {"required": wires | settings, "optional": inputs.wires(mask="MASK")}

    def composite(
        self, destination: Tensor, source: Tensor, x: int, y: int, resize_source: bool, mask: Tensor | None = None
    ) -> tuple[Tensor]:
        import torch
        from torch.nn.functional import interpolate

        result, above = destination.movedim(-1, 1).clone(), source.movedim(-1, 1)[:, : destination.shape[-1]]
        if above.shape[1] < result.shape[1]:  # a picture without alpha on one with it is opaque
            above = torch.cat([above, torch.ones_like(above[:, :1])], dim=1)
        if resize_source:
            above = interpolate(above, result.shape[-2:], mode="bilinear")
        above = _as_many(above, len(result))
        weight = torch.ones_like(above[:, :1]) if mask is None else _stretched(mask, *above.shape[-2:]).to(above)
        place = result[..., y : y + above.shape[-2], x : x + above.shape[-1]]
        height, width = place.shape[-2:]
        weight = _as_many(weight, len(above))[..., :height, :width]
        place.copy_(weight * above[..., :height, :width] + (1 - weight) * place)
        return (result.movedim(1, -1),)


def _stretched(mask: Tensor, height: int, width: int) -> Tensor:
    """MASK -> (B, 1, H, W)."""
    from torch.nn.functional import interpolate

    return interpolate(mask.reshape(-1, 1, *mask.shape[-2:]), (height, width), mode="bilinear")


def _as_many(batch: Tensor, count: int) -> Tensor:
    """The first `count`, or all of them in turn until there are so many."""
    return batch.repeat(math.ceil(count / len(batch)), *(1 for _ in batch.shape[1:]))[:count]


NODES = (JoinImageWithAlpha, SplitImageWithAlpha, ImageCompositeMasked)
