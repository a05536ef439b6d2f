"""Pictures that a browser brings: checked by their content, and put into one sub-folder of the input folder."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..cascade_core.errors import CascadeError
from ..cascade_core.files import atomic, picture_files
from ..cascade_core.sampling.sizes import LARGEST
from ..runtime import host
from . import sessions

if TYPE_CHECKING:
    from PIL import Image

LARGEST_FILE = 32 * 2**20  # bytes of a file
SIDE, PIXELS, FRAMES = LARGEST, 64 * 10**6, 64  # of a picture
FOLDER = "app"  # of the input folder
LARGEST_KEPT, MOST_KEPT = 4 * 2**30, 20_000  # bytes and files of our own there: the oldest go
OWN = re.compile(r"[A-Za-z0-9_-]+-[0-9a-f]{8}\.[a-z]+")  # their names: what a person has laid there stays
VIEW = 768  # pixels of the longer side of what is shown of a picture
SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}  # by Pillow's name for what the content is
LISTED = 100  # brought pictures that a list offers


def keep(path: Path, name: str) -> str:
    """Copy a brought file to where nodes look -> its name there. Raises CascadeError for what is no picture."""
    refuse_large(path, name)
    kind = _check(path, name)
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES[kind]:
        raise CascadeError(
            f"{name}: expected what the name says, found a picture of the kind {kind}: give it its own name, such as"
            f" {Path(name).stem or 'picture'}{SUFFIXES[kind][0]}"
        )
    return _put(path.read_bytes(), Path(name).stem, suffix)


def refuse_large(path: Path, name: str) -> None:
    """Raises CascadeError for a file of more bytes than a browser may bring."""
    if path.stat().st_size > LARGEST_FILE:
        raise CascadeError(f"{name}: expected a file of at most {LARGEST_FILE >> 20} MiB, found a larger one")


def names() -> list[str]:
    """The pictures that were brought, the latest first."""
    folder = host.current().input_directory() / FOLDER
    found = [folder / name for name in picture_files.names_in(folder)]
    found.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [f"{FOLDER}/{path.name}" for path in found[:LISTED]]


def view(name: str) -> "Image.Image | None":
    """A picture by the name that a workflow has for it, small; None where there is none."""
    try:
        picture = _open(name)
    except CascadeError:
        return None
    picture.thumbnail((VIEW, VIEW))
    return picture


def with_mask(name: str, layers: "Sequence[Image.Image]") -> str:
    """The picture, transparent where any of the layers is painted -> the name of that picture.

    The layers may be of another size. Where nothing is painted the picture stays what it is.
    """
    from PIL import Image, ImageChops

    picture = _open(name).convert("RGBA")
    mask = Image.new("L", picture.size)
    for layer in layers:
        alpha = layer.convert("RGBA").getchannel("A").resize(picture.size, Image.Resampling.BOX)
        mask = ImageChops.lighter(mask, alpha)
    mask = mask.point(lambda value: 255 if value >= 128 else 0)  # type: ignore[reportUnknownLambdaType]
    if mask.getbbox() is None:
        return name
    picture.putalpha(ImageChops.invert(mask))
    folder = host.current().input_directory() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.unfinished(folder) as temporary:
        picture.save(temporary, format="PNG", compress_level=4)
        return _put(temporary.read_bytes(), Path(name).stem, ".png")


def _check(path: Path, name: str) -> str:
    """Decode all of a picture -> Pillow's name for its kind."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd entries and many pixels, which have a limit below
            Image.init()
            known = [kind for kind in SUFFIXES if kind in Image.OPEN]  # AVIF is not in every Pillow
            with Image.open(path, formats=known) as picture:
                width, height = picture.size
                frames = picture_files.count_frames(picture, FRAMES + 1)
                for frame in range(frames):
                    picture.seek(frame)
                    width, height = max(width, picture.width), max(height, picture.height)
                    if max(width, height) > SIDE or width * height * min(frames, FRAMES) > PIXELS or frames > FRAMES:
                        count = frames if frames <= FRAMES else f"more than {FRAMES}"
                        raise CascadeError(
                            f"{name}: expected at most {SIDE} pixels a side, {PIXELS // 10**6} million pixels and"
                            f" {FRAMES} frames, found {width} x {height} and {count} frames"
                        )
                    picture.load()
                return str(picture.format)
    except CascadeError:
        raise
    except Exception as error:  # a damaged file may make a decoder stumble over anything
        kind = picture_files.unread_format(path)
        why = f": its format, {kind}, is not read; save it as PNG or JPEG" if kind else ""
        raise CascadeError(
            f"{name}: expected a picture (PNG, JPEG, WebP, BMP, GIF, TIFF or AVIF), but it cannot be read as one{why}"
        ) from error


def _open(name: str) -> "Image.Image":
    """The first frame of a picture, upright. Raises CascadeError."""
    from PIL import Image, ImageOps

    from ..cascade_core.builtin.pictures import BUILT_IN_PICTURES

    if name in BUILT_IN_PICTURES:
        return BUILT_IN_PICTURES[name].draw()
    path = host.current().picture_path(name)
    _check(path, path.name)
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture.copy())


def _put(data: bytes, stem: str, suffix: str) -> str:
    """Write under a name that says what it is and, by a digest, which; a file that is there already stays."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_")
    plain = re.sub(r"(-[0-9a-f]{8})+$", "", plain)[:40] or "picture"  # without the digest of what it was made of
    target = host.current().input_directory() / FOLDER / f"{plain}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.unfinished(target.parent) as temporary:
        temporary.write_bytes(data)
        atomic.claim(temporary, target)
    sessions.trim(target.parent, LARGEST_KEPT, MOST_KEPT, OWN)
    return f"{FOLDER}/{target.name}"
