"""A folder of pictures with their captions, which people bring to a training.

Pictures lie in the folder and its sub-folders, each with its caption in a text file of the same name, or with one
caption for all. Control pictures, for a ControlNet, lie under the same names in the folder's sub-folder `control`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import ImageOps
from torch import Tensor

from ..errors import CascadeError
from ..files.picture_files import SUFFIXES, UNREAD, count_in_words, count_unread, names_below, opened, values
from ..reading import digest, read_text
from ..wording import first_of

MOST_ENTRIES = 200_000  # files and folders in the folder of a data set: pictures, captions and control pictures
LONGEST_CAPTION = 2**20  # bytes
CONTROL = "control"  # the sub-folder of control pictures
ADVICE = "repair it, or take it out of the folder"
NAME, CAPTION = "{name}", "{caption}"  # in a caption for all: the picture's file name, and its own caption


@dataclass(frozen=True)
class Example:
    name: str  # the picture's path in the folder, with "/"
    picture: Path
    caption: str
    size: tuple[int, int]  # (height, width) in pixels, upright
    control: Path | None = None


@dataclass(frozen=True)
class Dataset:
    folder: Path
    examples: tuple[Example, ...]
    unread: Mapping[str, int] = field(default_factory=dict[str, int])  # skipped pictures by their formats
    damaged: tuple[str, ...] = ()  # names of those left out because they cannot be read

    @property
    def leaves_out(self) -> bool:
        """Whether pictures of the folder are not used."""
        return bool(self.unread or self.damaged)

    def in_words(self) -> str:
        """How many pictures were found, how many of them are used, of what formats the others are, and which fail."""
        count = count_in_words(len(self.examples), self.unread)
        if not self.damaged:
            return count
        return f"{count}; left out, as {len(self.damaged)} more cannot be read: {first_of(self.damaged)}"

    def with_controls(self) -> Dataset:
        """Each picture with its control picture; CascadeError for one that has none, or one of another aspect."""
        return replace(self, examples=tuple(map(self._with_control, self.examples)))

    def _with_control(self, example: Example) -> Example:
        place = (self.folder / CONTROL / example.name).with_suffix("")
        found = [path for suffix in SUFFIXES if (path := place.with_name(place.name + suffix)).is_file()]
        if not found:
            raise CascadeError(
                f"{example.picture} has no control picture: put it under the same name into"
                f" {place.parent}, or choose a hint that is computed from the pictures"
            )
        height, width = size_of(found[0])
        if abs(width / height * example.size[0] / example.size[1] - 1) > 0.02:
            raise CascadeError(
                f"{found[0]} is {width} x {height} pixels, but its picture {example.size[1]} x {example.size[0]}: their"
                " aspects differ by more than 2 %; a control picture covers the whole picture"
            )
        return replace(example, control=found[0])

    def fingerprints(self) -> dict[str, str]:
        """A digest of each picture with its caption and its control picture, by the picture's name."""
        return {example.name: _fingerprint(example) for example in self.examples}


def read_dataset(folder: Path, caption: str = "") -> Dataset:
    """The pictures of `folder`, in an order that is the same on every system.

    caption: of every picture; `{name}` is its file name without ending, `{caption}` what its text file says. Empty:
    each picture's own text file. Pictures that cannot be read are left out. CascadeError names the first caption that
    is missing or cannot be read, and the first picture where none can be.
    """
    if not folder.is_dir():
        raise CascadeError(f"{folder} is no folder: name the folder in which the pictures are")
    names, skipped = (
        [name for name in names_below(folder, suffixes, MOST_ENTRIES) if not name.startswith(f"{CONTROL}/")]
        for suffixes in (SUFFIXES, UNREAD)
    )
    unread = count_unread(skipped)
    if not names and unread:
        raise CascadeError(f"There is no picture in {folder} that can be read; {count_in_words(0, unread)}")
    if not names:
        raise CascadeError(f"There are no pictures in {folder}: put some there, with their captions in .txt files")
    examples: list[Example] = []
    damaged: dict[str, CascadeError] = {}
    for name in names:
        try:
            size = size_of(folder / name)
        except CascadeError as error:
            damaged[name] = error
        else:
            examples.append(_example(folder, name, caption, size))
    if not examples:
        raise next(iter(damaged.values()))
    return Dataset(folder, tuple(examples), unread, tuple(damaged))


def read_pixels(path: Path) -> Tensor:
    """A picture (3, H, W) in 0..1, upright; of an animation the first frame; what an alpha channel says is left out."""
    with opened(path, f"{path} cannot be read", ADVICE, most=1) as file:
        pixels = values(ImageOps.exif_transpose(file), "RGB")
    return torch.as_tensor(pixels).permute(2, 0, 1).contiguous()


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of a picture, upright, from its header."""
    with opened(path, f"{path} cannot be read", ADVICE, most=1) as file:
        width, height = file.size
        turned = file.getexif().get(0x0112, 1) >= 5  # EXIF's orientation: 5 to 8 lie on their side
    return (width, height) if turned else (height, width)


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """In words, how two data sets differ by their fingerprints."""
    parts = {
        "added": [name for name in after if name not in before],
        "taken away": [name for name in before if name not in after],
        "changed, or their captions were": [name for name in after if before.get(name, after[name]) != after[name]],
    }
    return [f"pictures were {what} ({first_of(names)})" for what, names in parts.items() if names]


def _example(folder: Path, name: str, template: str, size: tuple[int, int]) -> Example:
    path = folder / name
    own = _own_caption(path) if not template or CAPTION in template else ""
    caption = template.replace(CAPTION, own).replace(NAME, path.stem) if template else own
    return Example(name, path, caption, size)


def _own_caption(picture: Path) -> str:
    text = picture.with_suffix(".txt")
    try:
        return " ".join(read_text(text, LONGEST_CAPTION).split())
    except FileNotFoundError:
        raise CascadeError(
            f"{picture} has no caption: write one into {text.name} beside it, or give one caption for all pictures"
        ) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CascadeError(f"{text}, the caption of {picture.name}, cannot be read as UTF-8 text ({why})") from error


def _fingerprint(example: Example) -> str:
    parts = [digest(example.picture), example.caption, digest(example.control) if example.control else ""]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
