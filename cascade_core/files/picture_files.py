"""Picture files: how their names end, opening them, and the values of what Pillow reads from them."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from .. import tars
from ..errors import CascadeError
from ..reading import MOST_ENTRIES, is_hidden, open_file, walk

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")
UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys(RAW, "camera raw"),
    ".jxl": "JPEG XL",
    ".jp2": "JPEG 2000",
    ".jfif": "JFIF",
    ".svg": "SVG",
    ".psd": "Photoshop",
    ".xcf": "GIMP",
    ".tga": "TGA",
    ".ico": "ICO",
    ".exr": "OpenEXR",
    ".hdr": "Radiance",
}  # how the names of pictures end that are not looked for, and what they are
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000", "ICO", "AVIF", "TGA")
"""Formats that Pillow may read, by its names: for some others it starts programs, such as Ghostscript."""
SIXTEEN_BITS = ("I", "I;16", "I;16B")  # Pillow's modes whose values go to 65535
MOST_PIXELS = 128 * 10**6  # of a file, all frames together: in float32, with masks, 2 GB
MOST_FRAMES = 4096  # of a file: Pillow's time for those of a TIFF grows with the square of their number


def names_in(folder: Path) -> list[str]:
    """The names of the picture files that lie directly in a folder; none where there is no such folder."""
    names = os.listdir(folder) if folder.is_dir() else []
    found = (name for name in names if name.lower().endswith(SUFFIXES) and not (folder / name).is_dir())
    return sorted(found, key=str.casefold)


def names_below(folder: Path, suffixes: Iterable[str] = SUFFIXES, most: int = MOST_ENTRIES) -> list[str]:
    """The paths, relative to the folder and with "/", of the pictures in it and its sub-folders; hidden ones left out.

    Sorted, so that the order is the same on every system. suffixes: in small letters; with `UNREAD` the pictures are
    found that nobody can use. most: of the files and folders there. Raises CascadeError.
    """
    endings = tuple(suffixes)
    return sorted(name for name in files_below(folder, most) if name.lower().endswith(endings))


def files_below(folder: Path, most: int = MOST_ENTRIES) -> Iterator[str]:
    """The paths of all files in a folder, its sub-folders and the tar archives there, or in an archive; none hidden.

    Relative to the folder, and with "/". Raises CascadeError.
    """
    if tars.is_tar(folder):
        yield from _in_archive(folder, "")
        return
    for parent, _, names in walk(folder, is_hidden, most):
        for name in filter(lambda name: not is_hidden(name), names):
            below = (parent / name).relative_to(folder).as_posix()
            if tars.is_tar(parent / name):
                yield from _in_archive(parent / name, f"{below}/")
            else:
                yield below


def _in_archive(tar: Path, prefix: str) -> Iterator[str]:
    try:
        names = tars.names_in(tar)
    except OSError as error:
        raise CascadeError(f"{tar} cannot be read: {error.strerror}") from error
    yield from (f"{prefix}{name}" for name in names if not any(map(is_hidden, name.split("/"))))


def count_unread(names: Iterable[str]) -> dict[str, int]:
    """How many files of each format there are, of names that end as `UNREAD` has them."""
    kinds = [UNREAD[Path(name).suffix.lower()] for name in names]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def count_in_words(used: int, unread: Mapping[str, int]) -> str:
    """How many pictures were found, used and skipped. unread: the numbers of those skipped by their formats."""
    skipped = sum(unread.values())
    if not skipped:
        return f"pictures found: {used}, all used"
    listed = ", ".join(f"{count} {kind}" for kind, count in unread.items())
    why = "whose format is not read: save it" if skipped == 1 else "whose formats are not read: save them"
    return f"pictures found: {used + skipped}; used: {used}; skipped: {skipped} ({listed}), {why} as PNG or JPEG"


@contextmanager
def opened(
    path: Path, failure: str = "", advice: str = "save it again as PNG or JPEG", most: int | None = None
) -> Generator[Image.Image]:
    """The picture in a file, of a size that can be read; not a pixel is decoded yet.

    Whatever Pillow raises, here and where the picture is used, becomes a CascadeError, one sentence: `failure` (by
    default the name, and that it cannot be read as a picture), why, and the advice. most: frames that are used at most.
    """
    from PIL import Image, UnidentifiedImageError

    failure = failure or f"{path.name} cannot be read as a picture"
    try:
        with open_file(path) as file, cast(Any, Image).open(file, formats=FORMATS) as picture:  # half typed
            most = 1 if picture.format == "MPO" else most
            check_pixels(failure, picture.size, count_frames(picture, MOST_FRAMES + 1 if most is None else most))
            yield picture
    except (CascadeError, MemoryError):
        raise
    except Exception as error:  # a damaged file may make a decoder stumble over anything
        if kind := unread_format(path):
            raise CascadeError(f"{failure}: its format, {kind}, is not read; save it as PNG or JPEG") from error
        if isinstance(error, Image.DecompressionBombError):
            raise CascadeError(f"{failure}: it has far too many pixels; save it smaller") from error
        unknown = isinstance(error, UnidentifiedImageError | KeyError)  # a Pillow without AVIF
        why = "it is no picture that Pillow knows" if unknown else str(error) or type(error).__name__
        raise CascadeError(f"{failure}: {why}; {advice}") from error


def count_frames(picture: Image.Image, most: int) -> int:
    """The number of a picture's frames, but at most `most`; not a pixel is decoded, and it stays at the first."""
    if picture.format != "TIFF" or most == 1:
        return min(getattr(picture, "n_frames", 1), most) if most > 1 else 1
    count = 1
    try:
        while count < most:
            picture.seek(count)
            count += 1
    except EOFError:
        pass
    picture.seek(0)
    return count


def frames(picture: Image.Image, failure: str, most: int | None = None) -> Iterator[Image.Image]:
    """The frames of a picture that have the first's size, turned or not; those of others are not decoded.

    failure: how a sentence about it begins. most: no more frames than these are looked at. Raises CascadeError for an
    animation that outgrows its first frame: of it all frames are decoded, for each is drawn over the one before it.
    """
    from PIL import ImageSequence

    size = picture.size
    for frame in islice(ImageSequence.Iterator(picture), most):
        if frame.size in (size, size[::-1]):
            yield frame
        elif picture.format != "TIFF":
            found = "{} x {} after one of {} x {}".format(*frame.size, *size)
            raise CascadeError(f"{failure}: expected frames of one size, found {found}; save them anew, in one size")


def check_pixels(failure: str, size: tuple[int, int], frames: int) -> None:
    """CascadeError where a picture (width, height) of so many frames has more than `MOST_PIXELS` or `MOST_FRAMES`."""
    width, height = size
    if frames > MOST_FRAMES:
        raise CascadeError(f"{failure}: expected at most {MOST_FRAMES:,} frames, found more; save fewer")
    if width * height * frames <= MOST_PIXELS:
        return
    found, advice = f"{width} x {height}", "save it smaller"
    if frames > 1:
        found, advice = f"{found} in {frames} frames", "save fewer frames, or smaller ones"
    raise CascadeError(f"{failure}: expected at most {MOST_PIXELS // 10**6} million pixels, found {found}; {advice}")


def unread_format(path: Path) -> str:
    """What a file is that Pillow cannot read, by its first bytes or else its name; empty for what it might read."""
    try:
        with open_file(path) as file:
            head = file.read(64)
    except OSError:
        return ""
    brands = {head[start : start + 4] for start in range(8, len(head), 4)} if head[4:8] == b"ftyp" else set[bytes]()
    if brands & {b"avif", b"avis"}:
        return ""
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return "HEIC"
    if brands:
        return "video"
    if head.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return "JPEG XL"
    if head.lstrip().startswith((b"<svg", b"<?xml")):
        return "SVG"
    if head.startswith(b"%PDF"):
        return "PDF"
    return UNREAD.get(path.suffix.lower(), "")


def values(picture: Image.Image, mode: Literal["RGB", "RGBA"]) -> np.ndarray[Any, Any]:
    """A picture as float32 (height, width, 3 or 4) in 0..1. Pictures of 16 bits are grey, and opaque."""
    import numpy as np

    if picture.mode not in SIXTEEN_BITS:
        return np.asarray(picture.convert(mode), np.float32) / 255
    grey = np.asarray(picture, np.float32) / 65535
    return np.stack([grey, grey, grey, np.ones_like(grey)][: len(mode)], axis=-1)
