"""Stand-ins for the host's nodes that make and resize pictures: IMAGE is (B, H, W, C) in 0..1."""

import math
from typing import TYPE_CHECKING, Any

from . import inputs

if TYPE_CHECKING:
    from torch import Tensor

_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


class EmptyImage:
    DISPLAY_NAME = "Empty Image"
    CATEGORY = "image"
    DESCRIPTION = "Pictures of one colour, given as a number: 16711680 is red, 65280 green, 255 blue."
    FUNCTION = "generate"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = inputs.pixels(512, 1)
        return {
            "required": {
                "width": side,
                "height": side,
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
                "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> "tuple[Tensor]":
        import torch

        channels = torch.tensor([color >> 16 & 0xFF, color >> 8 & 0xFF, color & 0xFF]) / 0xFF
        return (channels.expand(batch_size, height, width, 3).contiguous(),)


class ImageScale:
    DISPLAY_NAME = "Upscale Image"
    CATEGORY = "image/upscaling"
    DESCRIPTION = "The picture in another size; a side of 0 follows from the other."
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = inputs.pixels(512)
        return {
            "required": {
                "image": ("IMAGE",),
                "upscale_method": (_METHODS,),
                "width": side,
                "height": side,
                "crop": (["disabled", "center"],),
            }
        }

    def upscale(self, image: "Tensor", upscale_method: str, width: int, height: int, crop: str) -> "tuple[Tensor]":
        if not (width or height):
            return (image,)
        old_height, old_width = image.shape[1:3]
        width = width or max(1, round(old_width * height / old_height))
        height = height or max(1, round(old_height * width / old_width))
        return (resized(image, width, height, upscale_method, crop),)


class ImageScaleBy:
    DISPLAY_NAME = "Upscale Image By"
    CATEGORY = "image/upscaling"
    DESCRIPTION = "The picture so many times as large."
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        factor = {"default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01}
        return {"required": {"image": ("IMAGE",), "upscale_method": (_METHODS,), "scale_by": ("FLOAT", factor)}}

    def upscale(self, image: "Tensor", upscale_method: str, scale_by: float) -> "tuple[Tensor]":
        height, width = image.shape[1:3]
        return (resized(image, round(width * scale_by), round(height * scale_by), upscale_method),)


class ImageScaleToTotalPixels:
    DISPLAY_NAME = "Scale Image to Total Pixels"
    CATEGORY = "image/upscaling"
    DESCRIPTION = "The picture with so many pixels in all, in millions of 1024 x 1024."
    FUNCTION = "execute"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        megapixels = inputs.decimal(1.0, 0.01, 16.0)
        return {
            "required": {"image": ("IMAGE",), "upscale_method": (_METHODS,), "megapixels": megapixels},
            "optional": {"resolution_steps": ("INT", {"default": 1, "min": 1, "max": 256})},
        }

    def execute(
        self, image: "Tensor", upscale_method: str, megapixels: float, resolution_steps: int = 1
    ) -> "tuple[Tensor]":
        factor = math.sqrt(megapixels * 1024 * 1024 / (image.shape[1] * image.shape[2]))
        height, width = (round(side * factor / resolution_steps) * resolution_steps for side in image.shape[1:3])
        return (resized(image, width, height, upscale_method),)


class ImageCrop:
    DISPLAY_NAME = "Crop Image (DEPRECATED)"
    CATEGORY = "image/transform"
    DESCRIPTION = "A part of the picture, as far as there is one."
    FUNCTION = "crop"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side, place = inputs.pixels(512, 1), inputs.pixels(0)
        return {"required": {"image": ("IMAGE",), "width": side, "height": side, "x": place, "y": place}}

    def crop(self, image: "Tensor", width: int, height: int, x: int, y: int) -> "tuple[Tensor]":
        top, left = min(y, image.shape[1] - 1), min(x, image.shape[2] - 1)
        return (image[:, top : top + height, left : left + width],)


class ImagePadForOutpaint:
    DISPLAY_NAME = "Pad Image for Outpainting"
    CATEGORY = "image"
    DESCRIPTION = "Grey room around the picture, and the mask of it, which fades over `feathering` pixels of the old."
    FUNCTION = "expand_image"
    RETURN_TYPES = ("IMAGE", "MASK")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        sides = {side: inputs.pixels(0, step=8) for side in ("left", "top", "right", "bottom")}
        return {"required": {"image": ("IMAGE",), **sides, "feathering": inputs.pixels(40)}}

    def expand_image(
        self, image: "Tensor", left: int, top: int, right: int, bottom: int, feathering: int
    ) -> "tuple[Tensor, Tensor]":
        import torch

        batch, height, width, channels = image.shape
        padded = torch.full((batch, top + height + bottom, left + width + right, channels), 0.5)
        padded[:, top : top + height, left : left + width] = image
        rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
        nearest = torch.full((height, width), float(feathering))  # pixels to what is new
        for side, away in ((top, rows), (bottom, height - rows), (left, columns), (right, width - columns)):
            if side:
                nearest = torch.minimum(nearest, away.float())
        mask = torch.ones(1, *padded.shape[1:3])
        room = 0 < 2 * feathering < min(height, width)
        faded = ((feathering - nearest) / feathering).square() if room else torch.zeros(height, width)
        mask[:, top : top + height, left : left + width] = faded
        return padded, mask


class ImageBatch:
    DISPLAY_NAME = "Batch Images (DEPRECATED)"
    CATEGORY = "image"
    DESCRIPTION = "Both one after the other; the second is brought to the size of the first."
    FUNCTION = "batch"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image1": ("IMAGE",), "image2": ("IMAGE",)}}

    def batch(self, image1: "Tensor", image2: "Tensor") -> "tuple[Tensor]":
        import torch

        height, width = image1.shape[1:3]
        if image1.shape[1:] != image2.shape[1:]:
            image2 = resized(image2, width, height, "bilinear", "center")
        return (torch.cat([image1, image2]),)


class ImageInvert:
    DISPLAY_NAME = "Invert Image Colors"
    CATEGORY = "image"
    DESCRIPTION = "The negative."
    FUNCTION = "invert"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": ("IMAGE",)}}

    def invert(self, image: "Tensor") -> "tuple[Tensor]":
        return (1.0 - image,)


def resized(image: "Tensor", width: int, height: int, method: str, crop: str = "disabled") -> "Tensor":
    """An IMAGE of any channels in this width and height; `center` cuts it to their aspect first.

    lanczos is Pillow's, in 8 bits as the host does it.
    """
    import torch

    from ...cascade_core.sampling.control import middle

    pixels = image.movedim(-1, 1)
    if crop == "center":
        pixels = middle(pixels, (height, width))
    if method != "lanczos":
        return torch.nn.functional.interpolate(pixels, size=(height, width), mode=method).movedim(1, -1)
    import numpy as np
    from PIL import Image

    arrays = (255 * pixels.movedim(1, -1).float()).clamp(0, 255).to("cpu", torch.uint8).numpy()
    pictures = [Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS) for array in arrays]
    return torch.from_numpy(np.stack([np.asarray(picture, np.float32) / 255 for picture in pictures])).to(image)


NODES = (
    EmptyImage,
    ImageScale,
    ImageScaleBy,
    ImageScaleToTotalPixels,
    ImageCrop,
    ImagePadForOutpaint,
    ImageBatch,
    ImageInvert,
)
