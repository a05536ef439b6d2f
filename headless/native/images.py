"""Stand-ins for the host's nodes that make and resize pictures: IMAGE is (B, H, W, C) in 0..1."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = 16384  # pixels of a side, as in the host
_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


class EmptyImage:
    DISPLAY_NAME = "EmptyImage"
    CATEGORY = "image"
    DESCRIPTION = "Pictures of one colour, given as a number: 16711680 is red, 65280 green, 255 blue."
    FUNCTION = "generate"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = {"default": 512, "min": 1, "max": _LARGEST, "step": 1}
        return {
            "required": {
                "width": ("INT", side),
                "height": ("INT", side),
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
        side = {"default": 512, "min": 0, "max": _LARGEST, "step": 1}
        return {
            "required": {
                "image": ("IMAGE",),
                "upscale_method": (_METHODS,),
                "width": ("INT", side),
                "height": ("INT", side),
                "crop": (["disabled", "center"],),
            }
        }

    def upscale(self, image: "Tensor", upscale_method: str, width: int, height: int, crop: str) -> "tuple[Tensor]":
        if not (width or height):
            return (image,)
        old_height, old_width = image.shape[1:3]
        width = width or max(1, round(old_width * height / old_height))
        height = height or max(1, round(old_height * width / old_width))
        return (_resize(_crop(image, width, height) if crop == "center" else image, width, height, upscale_method),)


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
        return (_resize(image, round(width * scale_by), round(height * scale_by), upscale_method),)


class ImageBatch:
    DISPLAY_NAME = "Batch Images"
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
            image2 = _resize(_crop(image2, width, height), width, height, "bilinear")
        return (torch.cat([image1, image2]),)


class ImageInvert:
    DISPLAY_NAME = "Invert Image"
    CATEGORY = "image"
    DESCRIPTION = "The negative."
    FUNCTION = "invert"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": ("IMAGE",)}}

    def invert(self, image: "Tensor") -> "tuple[Tensor]":
        return (1.0 - image,)


def _crop(image: "Tensor", width: int, height: int) -> "Tensor":
    """The middle of the picture, in the proportions of width and height."""
    old_height, old_width = image.shape[1:3]
    old, new = old_width / old_height, width / height
    x = round((old_width - old_width * (new / old)) / 2) if old > new else 0
    y = round((old_height - old_height * (old / new)) / 2) if old < new else 0
    return image[:, y : old_height - y, x : old_width - x]


def _resize(image: "Tensor", width: int, height: int, method: str) -> "Tensor":
    """The picture of this width and height; lanczos is Pillow's, in 8 bits as the host does it."""
    import torch

    if method != "lanczos":
        pixels = torch.nn.functional.interpolate(image.movedim(-1, 1), size=(height, width), mode=method)
        return pixels.movedim(1, -1)
    import numpy as np
    from PIL import Image

    arrays = (255 * image.float()).clamp(0, 255).to("cpu", torch.uint8).numpy()
    resized = [Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS) for array in arrays]
    return torch.from_numpy(np.stack([np.asarray(picture, np.float32) / 255 for picture in resized])).to(image)
