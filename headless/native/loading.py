"""Stand-ins for the host's nodes that read pictures: LoadImage and LoadImageMask."""

from typing import TYPE_CHECKING, Any

from ...cascade_core.errors import CascadeError
from ...cascade_core.reading import digest
from ...nodes.images import read_picture
from ...runtime import host

if TYPE_CHECKING:
    from torch import Tensor

_CHANNELS = ("alpha", "red", "green", "blue")


class LoadImage:
    DISPLAY_NAME = "Load Image"
    CATEGORY = "image"
    DESCRIPTION = "A picture of the input folder, and a mask that is 1 where the picture is transparent."
    FUNCTION = REHEARSE = "load_image"
    RETURN_TYPES = ("IMAGE", "MASK")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": (host.current().picture_names(), {"image_upload": True})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        try:
            host.current().picture_path(image)
        except CascadeError as error:
            return str(error)
        return True

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        return digest(host.current().picture_path(image))

    def load_image(self, image: str) -> "tuple[Tensor, Tensor]":
        return read_picture(host.current().picture_path(image))


class LoadImageMask(LoadImage):
    DISPLAY_NAME = "Load Image (as Mask)"
    CATEGORY = "mask"
    DESCRIPTION = (
        "One channel of a picture of the input folder as a mask; of alpha, 1 where the picture is transparent."
    )
    RETURN_TYPES = ("MASK",)
    FUNCTION = REHEARSE = "load_mask"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {**super().INPUT_TYPES()["required"], "channel": (list(_CHANNELS),)}}

    @classmethod
    def IS_CHANGED(cls, image: str, channel: str = "alpha") -> str:
        return super().IS_CHANGED(image)

    def load_mask(self, image: str, channel: str) -> "tuple[Tensor]":
        picture, mask = read_picture(host.current().picture_path(image))
        return (mask[:1] if channel == "alpha" else picture[:1, :, :, _CHANNELS.index(channel) - 1],)


NODES = (LoadImage, LoadImageMask)
