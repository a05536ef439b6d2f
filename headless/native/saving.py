"""Stand-ins for the host's nodes that write pictures: SaveImage and PreviewImage, which hand them on.

Names stay inside their folder, and a picture file appears under its name only when it is complete.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cascade_core.errors import CascadeError
from ...cascade_core.files import atomic
from ...runtime import host, paths

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_COMPRESSION, _PREVIEW_COMPRESSION = 4, 1
_HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


class SaveImage:
    """Writes `<prefix>_00001_.png`, ... into the output folder, with the workflow inside."""

    DISPLAY_NAME = "Save Image"
    CATEGORY = "image"
    DESCRIPTION = "Saves the pictures in the output folder, with the workflow in them."
    FUNCTION = "save_images"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": _HIDDEN,
        }

    @classmethod
    def VALIDATE_INPUTS(cls, filename_prefix: str | None = None) -> bool | str:
        try:
            folder, _ = _target(host.current().output_directory(), filename_prefix or "")
            paths.expect_writable(folder)
        except CascadeError as error:
            return str(error)
        return True

    def save_images(
        self,
        images: "Tensor",
        filename_prefix: str = "ComfyUI",
        prompt: Mapping[str, Any] | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        metadata = _metadata(prompt, extra_pnginfo)
        shown = _save(images, host.current().output_directory(), filename_prefix, metadata, _COMPRESSION)
        return {"ui": {"images": [entry | {"type": "output"} for entry in shown]}, "result": (images,)}


class PreviewImage:
    DISPLAY_NAME = "Preview Image"
    CATEGORY = "image"
    DESCRIPTION = (
        "Writes the pictures into a temporary folder. `cascade run` tells their paths on stderr and leaves them there;"
        " use Save Image for what is to be kept."
    )
    FUNCTION = "save_images"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}, "hidden": _HIDDEN}

    def save_images(
        self,
        images: "Tensor",
        prompt: Mapping[str, Any] | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        metadata = _metadata(prompt, extra_pnginfo)
        shown = _save(images, host.current().temporary_directory(), "preview", metadata, _PREVIEW_COMPRESSION)
        return {"ui": {"images": [entry | {"type": "temp"} for entry in shown]}, "result": (images,)}


def _target(root: Path, prefix: str) -> tuple[Path, str]:
    """The folder and the beginning of the file name that a prefix such as `stars/red` means."""
    path = root / os.path.normpath(prefix.replace("\\", "/"))
    if "\0" in prefix or not paths.is_inside(root, path.parent) or path.name in ("", ".", "..") or path == root:
        raise CascadeError(
            f"expected a file name inside the output folder {root}, found {prefix!r}: choose another folder by --output"
        )
    return path.parent, path.name


def _expand(prefix: str, width: int, height: int) -> str:
    """The prefix with `%width%`, `%year%` and the like filled in, as the host does it."""
    now = time.localtime()
    words = {"width": str(width), "height": str(height), "year": str(now.tm_year)}
    words |= {"month": f"{now.tm_mon:02}", "day": f"{now.tm_mday:02}", "hour": f"{now.tm_hour:02}"}
    words |= {"minute": f"{now.tm_min:02}", "second": f"{now.tm_sec:02}"}
    return re.sub(r"%(\w+)%", lambda match: words.get(match[1], match[0]), prefix)


def _metadata(prompt: Mapping[str, Any] | None, extra: Mapping[str, Any] | None) -> dict[str, str]:
    entries = {} if prompt is None else {"prompt": prompt}
    return {name: json.dumps(value) for name, value in (entries | dict(extra or {})).items()}


def _save(
    images: "Tensor", root: Path, prefix: str, metadata: Mapping[str, str], compression: int
) -> list[dict[str, str]]:
    """Write IMAGE (B, H, W, C) as PNG files; returns names and sub-folders in the editor's form."""
    if images.ndim != 4:
        raise CascadeError(f"images: expected the shape (batch, height, width, 3), found {tuple(images.shape)}")
    if not images.isfinite().all():
        raise CascadeError("images: expected numbers from 0 to 1, found some that are not finite: try dtype float32")
    folder, name = _target(root, _expand(prefix, images.shape[2], images.shape[1]))
    folder.mkdir(parents=True, exist_ok=True)
    counter = _next_counter(folder, name)
    shown: list[dict[str, str]] = []
    for index, image in enumerate(images):
        plain = name.replace("%batch_num%", str(index))
        counter = _publish(_picture(image), folder, plain, counter, metadata, compression)
        subfolder = folder.relative_to(root).as_posix()
        file_name = f"{plain}_{counter:05}_.png"
        shown.append({"filename": file_name, "subfolder": "" if subfolder == "." else subfolder})
        counter += 1
    return shown


def _picture(image: "Tensor") -> "Image.Image":
    """The picture of an array (H, W, C) in 0..1, its 8 bits a channel cut and not rounded, as the host does it."""
    import torch
    from PIL import Image

    array = (255 * image.float()).clamp(0, 255).to("cpu", torch.uint8).numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def _next_counter(folder: Path, name: str) -> int:
    pattern = re.compile(re.escape(name) + r"_(\d+)_")
    found = [int(match[1]) for path in folder.iterdir() if (match := pattern.match(path.name))]
    return max(found, default=0) + 1


def _publish(
    picture: "Image.Image", folder: Path, name: str, counter: int, metadata: Mapping[str, str], compression: int
) -> int:
    """Save under the first free number from `counter` on, and return that number.

    The file is written under another name first: a run that is stopped leaves no half of a picture, and
    runs at the same time do not take each other's names.
    """
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for key, text in metadata.items():
        info.add_text(key, text)
    with atomic.unfinished(folder) as temporary:
        picture.save(temporary, format="PNG", pnginfo=info, compress_level=compression)
        while not atomic.claim(temporary, folder / f"{name}_{counter:05}_.png"):
            counter += 1
    return counter


NODES = (SaveImage, PreviewImage)
