"""Pictures: those of the input folder, and the built-in ones, which are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import cascade_core as core
from . import host

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

SIXTEEN_BITS = ("I", "I;16", "I;16B")  # Pillow's modes whose values go to 65535


class CascadePicture:
    DISPLAY_NAME = "Picture"
    CATEGORY = "Stable Cascade/image"
    DESCRIPTION = (
        "A picture: a file of the input folder, or one of the built-in pictures, which are drawn and need no file, so"
        " that a workflow runs for everybody."
    )
    SEARCH_ALIASES = ("stable cascade", "load image", "upload", "input", "mask")
    FUNCTION = "load"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("image", "mask")
    OUTPUT_TOOLTIPS = ("The picture.", "1 where the picture is transparent, else 0; of the picture's size.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tooltip = "A built-in picture, or a file of the input folder; upload puts one there."
        names = [*core.BUILT_IN_PICTURES, *host.picture_names()]
        return {"required": {"image": (names, {"image_upload": True, "tooltip": tooltip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        """Names with a folder or an annotation are good, though the list does not have them."""
        try:
            if image not in core.BUILT_IN_PICTURES:
                host.picture_path(image)
        except core.CascadeError as error:
            return str(error)
        return True

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        if image in core.BUILT_IN_PICTURES:
            return ""
        status = host.picture_path(image).stat()
        return f"{status.st_mtime_ns} {status.st_size}"

    def load(self, image: str) -> tuple[Tensor, Tensor]:
        if image in core.BUILT_IN_PICTURES:
            return _from_frames([core.draw(core.BUILT_IN_PICTURES[image])])
        return read_picture(host.picture_path(image))


def read_picture(path: Path) -> tuple[Tensor, Tensor]:
    """A file -> IMAGE (B, H, W, 3) and MASK (B, H, W), upright; frames of another size than the first are left out."""
    from PIL import Image, ImageOps, ImageSequence

    try:
        with Image.open(path) as opened:
            frames = [ImageOps.exif_transpose(frame) for frame in ImageSequence.Iterator(opened)]
            if opened.format == "MPO":  # a photograph with other views of itself, not an animation
                frames = frames[:1]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise core.CascadeError(f"{path.name} cannot be read as a picture: {error}") from error
    return _from_frames([frame for frame in frames if frame.size == frames[0].size])


def _from_frames(frames: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
    """Frames of one size -> IMAGE (B, H, W, 3) and MASK (B, H, W) = 1 - alpha."""
    import numpy as np
    import torch

    pictures, masks = [], []
    for frame in frames:
        if frame.mode in SIXTEEN_BITS:
            grey = np.asarray(frame, np.float32) / 65535
            rgba = np.stack([grey, grey, grey, np.ones_like(grey)], axis=-1)
        else:
            rgba = np.asarray(frame.convert("RGBA"), np.float32) / 255
        pictures.append(torch.from_numpy(rgba[..., :3].copy()))
        masks.append(torch.from_numpy(1 - rgba[..., 3]))
    return torch.stack(pictures), torch.stack(masks)
