"""Picture files: how their names end, and the values of what Pillow reads from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
SIXTEEN_BITS = ("I", "I;16", "I;16B")  # Pillow's modes whose values go to 65535


def names_in(folder: Path) -> list[str]:
    """The names of the picture files that lie directly in a folder; none where there is no such folder."""
    names = os.listdir(folder) if folder.is_dir() else []
    found = (name for name in names if name.lower().endswith(SUFFIXES) and not (folder / name).is_dir())
    return sorted(found, key=str.casefold)


def names_below(folder: Path, links: bool = False) -> list[str]:
    """The paths, relative to the folder and with "/", of the pictures in it and its sub-folders; hidden ones left out.

    Sorted, so that the order is the same on every system. links: look into linked folders, too.
    """
    found: list[str] = []
    for parent, folders, names in os.walk(folder, followlinks=links):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                found.append((Path(parent) / name).relative_to(folder).as_posix())
    return sorted(found)


def values(picture: Image.Image, mode: Literal["RGB", "RGBA"]) -> np.ndarray[Any, Any]:
    """A picture as float32 (height, width, 3 or 4) in 0..1. Pictures of 16 bits are grey, and opaque."""
    import numpy as np

    if picture.mode not in SIXTEEN_BITS:
        return np.asarray(picture.convert(mode), np.float32) / 255
    grey = np.asarray(picture, np.float32) / 65535
    return np.stack([grey, grey, grey, np.ones_like(grey)][: len(mode)], axis=-1)
