"""Pictures: those of the input folder, the built-in ones, which are drawn, and what is done to pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.files.picture_files import frames, opened, values
from ..cascade_core.sampling.sizes import LARGEST, stage_c_size
from ..runtime import host
from . import inputs, sockets

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ..cascade_core.builtin.pictures import BuiltInPicture
    from ..cascade_core.images import Method

CATEGORY = "Stable Cascade/image"
OWN_MASK = "image"  # what `mask` of Picture says where it names no file; old workflows have the upload button's "image"


class CascadePicture:
    DISPLAY_NAME = "Picture"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A picture: a file of the input folder, or one of the built-in pictures, which are drawn and need no file, so"
        " that a workflow runs for everybody. Its mask is what is transparent in it, or what is white in a second file."
    )
    SEARCH_ALIASES = ("stable cascade", "load image", "upload", "input", "mask")
    FUNCTION = REHEARSE = "load"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("image", "mask")
    OUTPUT_TOOLTIPS = (
        "The picture.",
        "1 where the picture is transparent, or `mask` white, else 0; of the picture's size.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tooltip = "A built-in picture, or a file of the input folder; upload puts one there."
        files = host.current().picture_names()
        mask_tooltip = (
            "image: the mask is what is transparent in the image. Else a file of the input folder, of the image's"
            " aspect: the mask is what is white in it."
        )
        return {
            "required": {"image": ([*_built_in(), *files], {"image_upload": True, "tooltip": tooltip})},
            "optional": {"mask": ([OWN_MASK, *files], {"image_upload": True, "tooltip": mask_tooltip})},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, image: object, mask: object = OWN_MASK) -> bool | str:
        """True, or what is wrong with the names; None is a link.

        Names with a folder or an annotation are good, though the list does not have them.
        """
        for name, drawn in ((image, _built_in()), (mask, (OWN_MASK,))):
            if name is None:
                continue
            if not isinstance(name, str):
                return f"expected the name of a picture, found {name!r:.80}"
            try:
                if name not in drawn:
                    host.current().picture_path(name)
            except CascadeError as error:
                return str(error)
        return True

    @classmethod
    def IS_CHANGED(cls, image: str, mask: str = OWN_MASK) -> str:
        files = [name for name, drawn in ((image, _built_in()), (mask, (OWN_MASK,))) if name not in drawn]
        statuses = [host.current().picture_path(name).stat() for name in files]
        return " ".join(f"{status.st_mtime_ns} {status.st_size}" for status in statuses)

    def load(self, image: str, mask: str = OWN_MASK) -> tuple[Tensor, Tensor]:
        if image in _built_in():
            picture, transparent = _from_frames([_built_in()[image].draw()])
        else:
            picture, transparent = read_picture(host.current().picture_path(image))
        return picture, transparent if mask == OWN_MASK else _white_of(mask, picture)


class CascadeFitPicture:
    DISPLAY_NAME = "Fit Picture"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Brings a picture of any size to one that the models can make: within a budget of pixels and of the picture's"
        " own aspect, or to a width and height. The mask goes along, and `width` and `height` are for Empty Latents."
    )
    SEARCH_ALIASES = ("stable cascade", "resize", "scale", "crop", "pad image", "megapixels", "size", "photo")
    FUNCTION, REHEARSE = "fit", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK", "INT", "INT"), ("image", "mask", "width", "height")
    OUTPUT_TOOLTIPS = (
        "The picture in its new size.",
        "The given mask, brought to the picture's new size in the same way; 1 where the picture was padded.",
        "Width of the new picture, for `width` of Empty Latents.",
        "Height of the new picture, for `height` of Empty Latents.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = (
            "{} of the new picture in pixels. 0: it follows from the {} and the picture's aspect; both 0: the budget."
        )
        return {
            "required": {
                "image": inputs.wire("IMAGE", "The picture, of any size; a batch is fitted alike."),
                "width": inputs.integer(0, 0, LARGEST, side.format("Width", "height")),
                "height": inputs.integer(0, 0, LARGEST, side.format("Height", "width")),
                "budget": inputs.integer(
                    1024,
                    64,
                    LARGEST,
                    "Where width and height are 0: as many pixels as a square of this side has. The published models"
                    " want 1024, the built-in ones 256.",
                ),
                "method": inputs.choice(
                    ("crop", "pad", "stretch"),
                    "crop",
                    "What becomes of a picture of another aspect: its ends are cut off; room is made around it, which"
                    " repeats its edge; or it is distorted.",
                ),
            },
            "optional": {
                "multiple": inputs.integer(
                    8, 1, 256, "Sides that are not given are rounded to multiples of this. 8 is a patch of Stage B."
                ),
                "enlarge": inputs.switch(
                    False, "Whether a picture of fewer pixels than the budget is enlarged to it; else it stays small."
                ),
                "mask": inputs.wire("MASK", "A mask of the picture, such as the one that comes with it."),
            },
        }

    def fit(
        self,
        image: Tensor,
        width: int,
        height: int,
        budget: int,
        method: Method,
        multiple: int = 8,
        enlarge: bool = False,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, int, int]:
        from ..cascade_core.images import fit_picture, fitted_size

        _, *size = sockets.image_size("image", image)
        h, w = fitted_size((size[0], size[1]), width, height, budget, multiple, enlarge)
        given = image.new_zeros(1, 1, 1) if mask is None else mask
        pixels, fitted = fit_picture(sockets.to_pixels(image), sockets.to_mask(given, image), (h, w), method)
        return sockets.to_image(pixels), fitted[:, 0], w, h

    def rehearse(
        self,
        image: Tensor,
        width: int,
        height: int,
        budget: int,
        method: Method,
        multiple: int = 8,
        enlarge: bool = False,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, int, int]:
        from ..cascade_core.images import fitted_size

        batch, *size = sockets.image_size("image", image)
        h, w = fitted_size((size[0], size[1]), width, height, budget, multiple, enlarge)
        given = image.new_zeros(1, 1, 1, device="cpu") if mask is None else mask
        masks = sockets.placeholder_image(len(sockets.to_mask(given, image)), h, w)[..., 0]
        if method != "pad" and sockets.masks_nothing(given):  # the next node's rehearsal can tell that it is empty
            masks = masks.new_zeros(masks.shape, device="cpu")
        return sockets.placeholder_image(batch, h, w), masks, w, h


class CascadeOutpaintPad:
    DISPLAY_NAME = "Pad for Outpainting"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Makes room around a picture, for Stage C to continue it, and the mask of what is new. The room repeats the"
        " picture's edge; the mask may fade into the picture, so that the seam does not show."
    )
    SEARCH_ALIASES = ("stable cascade", "outpaint", "pad image", "extend", "uncrop", "canvas")
    FUNCTION, REHEARSE = "pad", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("image", "mask")
    OUTPUT_TOOLTIPS = ("The larger picture.", "1 where it is new, 0 where it is the old one, and between on the seam.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        room = "Pixels to add on this side; no side of the result may be over 8192."
        return {
            "required": {
                "image": inputs.wire("IMAGE", "The picture to continue; a batch is padded alike."),
                **{side: inputs.integer(0, 0, LARGEST, room) for side in ("left", "top", "right", "bottom")},
                "feather": inputs.integer(
                    32, 0, 1024, "Pixels of the old picture, beside the new ones, over which the mask fades away."
                ),
            }
        }

    def pad(self, image: Tensor, left: int, top: int, right: int, bottom: int, feather: int) -> tuple[Tensor, Tensor]:
        from ..cascade_core.images import pad_outward

        pixels, mask = pad_outward(sockets.to_pixels(image), left, top, right, bottom, feather)
        if not (left or top or right or bottom):
            message = "All four sides are 0: the picture stays as it is, and the mask is empty"
            host.current().warn(self.DISPLAY_NAME, message)
        return sockets.to_image(pixels), mask[:, 0]

    def rehearse(
        self, image: Tensor, left: int, top: int, right: int, bottom: int, feather: int
    ) -> tuple[Tensor, Tensor]:
        batch, height, width = sockets.image_size("image", image)
        padded = sockets.placeholder_image(batch, top + height + bottom, left + width + right)
        stage_c_size(padded.shape[2], padded.shape[1])  # refuses a size that no latent can have, as the core does
        return padded, padded[..., 0]


class CascadePasteBack:
    DISPLAY_NAME = "Paste Back"
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Puts what was made anew into the original: outside the mask every pixel is the original's, exactly. Sizes need"
        " not agree: the new picture and the mask are stretched to the original."
    )
    SEARCH_ALIASES = ("stable cascade", "inpaint", "composite", "image composite masked", "blend", "uncrop")
    FUNCTION, REHEARSE = "paste", "rehearse"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE",), ("image",)
    OUTPUT_TOOLTIPS = ("The original with the new part, of the original's size.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": inputs.wire("IMAGE", "The new picture."),
                "original": inputs.wire("IMAGE", "The picture that stays where the mask is 0."),
                "mask": inputs.wire("MASK", "1 where the new picture is taken; between, both are blended."),
                "feather": inputs.integer(
                    8,
                    0,
                    1024,
                    "Pixels behind the mask's edge over which the new picture comes in. 0 is a hard edge. Nothing"
                    " outside the mask changes either way.",
                ),
            }
        }

    def paste(self, image: Tensor, original: Tensor, mask: Tensor, feather: int) -> tuple[Tensor]:
        from ..cascade_core.images import paste_back

        pixels, kept = sockets.to_pixels(image), sockets.to_pixels(original, "original")
        fitted = sockets.to_mask(mask, original)
        if not fitted.any():
            host.current().warn(self.DISPLAY_NAME, "The mask is empty: the result is the original")
        return (sockets.to_image(paste_back(pixels, kept, fitted, feather)),)

    def rehearse(self, image: Tensor, original: Tensor, mask: Tensor, feather: int) -> tuple[Tensor]:
        from ..cascade_core.images import common_batch

        count, _, _ = sockets.image_size("image", image)
        batch, height, width = sockets.image_size("original", original)
        masks = len(sockets.to_mask(mask, original))
        return (sockets.placeholder_image(common_batch(image=count, original=batch, mask=masks), height, width),)


def _built_in() -> Mapping[str, BuiltInPicture]:
    """The built-in pictures by their names."""
    from ..cascade_core.builtin.pictures import BUILT_IN_PICTURES

    return BUILT_IN_PICTURES


def _white_of(name: str, picture: Tensor) -> Tensor:
    """MASK (B, H, W) of a picture (any, H, W, 3): how bright a file is there, 0 where it is transparent."""
    from ..cascade_core.hints import check_aspect
    from ..cascade_core.sampling.masked import fit_mask

    drawn, transparent = read_picture(host.current().picture_path(name))
    mask = (drawn.mean(-1) * (1 - transparent))[:, None]
    height, width = picture.shape[1:3]
    check_aspect(mask, (height, width))
    return fit_mask(mask, (height, width))[:, 0]


def read_picture(path: Path, most: int | None = None) -> tuple[Tensor, Tensor]:
    """A file -> IMAGE (B, H, W, 3) and MASK (B, H, W), upright; frames of another size than the first are left out.

    most: no more frames than these are read.
    """
    from PIL import ImageOps

    failure = f"{path.name} cannot be read as a picture"
    with opened(path, failure, most=most) as picture:
        most = 1 if picture.format == "MPO" else most  # a photograph with other views of itself, not an animation
        upright = [ImageOps.exif_transpose(frame) for frame in frames(picture, failure, most)]
        return _from_frames([frame for frame in upright if frame.size == upright[0].size])


def _from_frames(upright: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
    """Frames of one size -> IMAGE (B, H, W, 3) and MASK (B, H, W) = 1 - alpha."""
    import torch

    pictures, masks = [], []
    for frame in upright:
        rgba = values(frame, "RGBA")
        pictures.append(torch.from_numpy(rgba[..., :3].copy()))
        masks.append(torch.from_numpy(1 - rgba[..., 3]))
    return torch.stack(pictures), torch.stack(masks)


NODES = (CascadePicture, CascadeFitPicture, CascadeOutpaintPad, CascadePasteBack)
