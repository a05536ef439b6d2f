"""A folder of pictures with their captions, which people bring to a training.

Pictures lie in the folder and its sub-folders, or in tar archives there, each with its caption in a text file of the
same name or as `captions` has it, or with one caption for all. `data_folders` has other trainers' customs. Control
pictures, for a ControlNet, lie under the same names in the folder's sub-folder `control`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import ImageOps
from torch import Tensor

from ...errors import CascadeError
from ...files.picture_files import SUFFIXES, UNREAD, count_in_words, count_unread, files_below, opened, values
from ...reading import digest
from ...tars import is_tar
from ...wording import first_of
from .captions import LINES, find_captions
from .captions import SUFFIXES as CAPTION_FILES
from .data_folders import count_unused, folder_of, is_label, mask_of

MOST_ENTRIES = 200_000  # files and folders in the folder of a data set: pictures, captions and control pictures
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
    others: tuple[str, ...] = ()  # captions beside `caption`, of which one is drawn each time
    mask: Path | None = None  # where its errors count
    repeats: int = 1  # how often it counts

    @property
    def captions(self) -> tuple[str, ...]:
        return self.caption, *self.others


@dataclass(frozen=True)
class Dataset:
    folder: Path
    examples: tuple[Example, ...]
    unread: Mapping[str, int] = field(default_factory=dict[str, int])  # skipped pictures by their formats
    damaged: tuple[str, ...] = ()  # names of those left out because they cannot be read
    unused: Mapping[str, int] = field(default_factory=dict[str, int])  # other files by what they are
    empty: tuple[str, ...] = ()  # names of those whose caption's file says nothing

    @property
    def leaves_out(self) -> bool:
        """Whether pictures of the folder are not used."""
        return bool(self.unread or self.damaged)

    def in_words(self) -> str:
        """How many pictures were found, how many of them are used, of what formats the others are, and which fail."""
        told = [count_in_words(len(self.examples), self.unread)]
        if self.damaged:
            told.append(f"left out, as {len(self.damaged)} more cannot be read: {first_of(self.damaged)}")
        if self.empty:
            told.append(f"{len(self.empty)} with an empty caption: {first_of(self.empty)}")
        if masked := sum(example.mask is not None for example in self.examples):
            told.append(f"with masks: {masked}")
        if repeated := sum(example.repeats for example in self.examples if example.repeats > 1):
            told.append(f"counted {repeated + sum(each.repeats == 1 for each in self.examples)} times by their folders")
        if self.unused:
            told.append(f"not used: {', '.join(f'{count} {kind}' for kind, count in self.unused.items())}")
        return "; ".join(told)

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


def read_dataset(folder: Path, caption: str = "", lines: str = LINES[0]) -> Dataset:
    """The pictures of `folder`, or of a tar archive, in an order that is the same on every system.

    caption: of every picture; `{name}` is its file name without ending, `{caption}` what its text file says. Empty:
    each picture's own text file. lines: what its lines are, of captions.LINES. Pictures that cannot be read are left
    out. CascadeError names the first caption that is missing or cannot be read, and the first picture where none can
    be. A caption's file that says nothing is as none.
    """
    if not folder.is_dir() and not is_tar(folder):
        raise CascadeError(f"{folder} is no folder: name the folder in which the pictures are")
    there = sorted(name for name in files_below(folder, MOST_ENTRIES) if not name.startswith(f"{CONTROL}/"))
    pictures = [name for name in there if name.lower().endswith(SUFFIXES)]
    names = [name for name in pictures if not is_label(name)]
    labels = {*pictures} - {*names}
    unread = count_unread(name for name in there if name.lower().endswith(tuple(UNREAD)))
    if not names and unread:
        raise CascadeError(f"There is no picture in {folder} that can be read; {count_in_words(0, unread)}")
    if not names:
        raise CascadeError(f"There are no pictures in {folder}: put some there, with their captions in .txt files")
    captions = find_captions(folder, lines)
    examples: list[Example] = []
    damaged: dict[str, CascadeError] = {}
    missing: list[str] = []
    known = {*there}
    empty: list[str] = []
    for name in names:
        try:
            size = size_of(folder / name)
        except CascadeError as error:
            damaged[name] = error
        else:
            own = captions.of(name) if not caption or CAPTION in caption else ("",)
            if not own and {name.rpartition(".")[0] + suffix for suffix in CAPTION_FILES} & known:
                empty.append(name)
            own = own or tuple(filter(None, [folder_of(name)[1]]))
            if not own:
                missing.append(name)
                continue
            example = _example(folder / name, name, own, caption, size)
            mask = mask_of(name, labels)
            examples.append(replace(example, mask=folder / mask if mask else None, repeats=folder_of(name)[0]))
    if missing:
        raise CascadeError(_in_words(folder, missing, len(examples) + len(missing), empty))
    if not examples:
        raise next(iter(damaged.values()))
    masks = {example.mask.relative_to(folder).as_posix() for example in examples if example.mask}
    return Dataset(folder, tuple(examples), unread, tuple(damaged), count_unused(there, names, masks), tuple(empty))


def read_pixels(path: Path) -> Tensor:
    """A picture (3, H, W) in 0..1, upright; of an animation the first frame; what an alpha channel says is left out."""
    with opened(path, f"{path} cannot be read", ADVICE, most=1) as file:
        pixels = values(ImageOps.exif_transpose(file), "RGB")
    return torch.as_tensor(pixels).permute(2, 0, 1).contiguous()


def read_mask(example: Example) -> Tensor:
    """(1, H, W) in 0..1: 1 where the example's errors count, by its mask or else by its transparency."""
    path = example.mask or example.picture
    with opened(path, f"{path} cannot be read", ADVICE, most=1) as file:
        channels = values(ImageOps.exif_transpose(file), "RGBA")
    shown = channels[..., :3].mean(-1) if example.mask else channels[..., 3]
    return torch.as_tensor(shown)[None].contiguous()


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


def _example(path: Path, name: str, own: Sequence[str], template: str, size: tuple[int, int]) -> Example:
    """own: the picture's captions, for the template."""
    first, *others = [template.replace(CAPTION, text).replace(NAME, path.stem) if template else text for text in own]
    return Example(name, path, first, size, others=tuple(others))


def _in_words(folder: Path, missing: Sequence[str], count: int, empty: Sequence[str]) -> str:
    """That some of `count` pictures have no caption, and what to do."""
    path = folder / missing[0]
    file = path.with_suffix(".txt").name
    told = "1 picture has" if count == 1 else f"{len(missing)} of {count} pictures have"
    do = f"fill {file}, which is empty" if missing[0] in empty else f"write one into {file} beside it"
    return f"{told} no caption, {path} first: {do}, or give one for all by --caption (a node's `caption`)"


def _fingerprint(example: Example) -> str:
    parts = [digest(example.picture), example.caption, digest(example.control) if example.control else ""]
    if example.others or example.mask or example.repeats > 1:  # so that other sets keep the digests that they had
        parts += [*example.others, digest(example.mask) if example.mask else "", str(example.repeats)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
