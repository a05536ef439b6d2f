"""Files of latents, which `cascade encode` writes and `cascade decode` reads: safetensors, a tensor for each picture.

A tensor (16, h, w) has the relative path of its picture as its name. The metadata entry `cascade_latents` is a JSON
object: kind "latents", what encoded them, and for each picture its size, place, path when decoded, and captions. A set
of such files is NAME.safetensors where one holds all, else NAME-00001.safetensors, NAME-00002.safetensors, and so on.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import CascadeError
from ...files import atomic
from ...files.fields import fit
from ...files.header import Header, read_header
from ...kinds import STAGE_C_CHANNELS
from ...reading import LARGEST_TEXT, MOST_VALUES, open_file, parse_json
from ...sampling.sizes import stage_c_size

if TYPE_CHECKING:
    from torch import Tensor

KEY, KIND = "cascade_latents", "latents"
SUFFIX = ".safetensors"
PRECISIONS = {"float16": "F16", "float32": "F32"}  # as people and as safetensors name them
MOST_PICTURES, MOST_TEXT = 50_000, 24 * 2**20  # of a file, and bytes in its header: as many as headers are read with
WAITING = 4  # full batches' worth of things may wait for others of their kind
Item = TypeVar("Item")


@dataclass(frozen=True)
class Picture:
    size: tuple[int, int]  # pixels (height, width), which decoding gives back
    index: int  # its place among the pictures of its folder: its noise has the seed + index
    png: str  # where decoding puts it
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """The encoder and its options, in which all files of a set agree."""

    family: str
    effnet: str  # its name
    identity: str  # a digest of its weights
    precision: str
    longest: int | None = None  # pictures were first made to fit into a square of so many pixels

    def __str__(self) -> str:
        size = "" if self.longest is None else f" --size {self.longest}"
        return f"by {self.effnet} ({self.identity[:8]}) with --precision {self.precision}{size}"


@dataclass(frozen=True)
class Shard:
    """One file of a set."""

    header: Header
    origin: Origin
    pictures: Mapping[str, Picture]


def members(target: Path) -> list[Path]:
    """The files of a set that are there, in their order."""
    there = target.parent.iterdir() if target.parent.is_dir() else ()
    numbered = sorted(path for path in there if _number(target, path) is not None)
    return [target, *numbered] if target.is_file() else numbered


def read(path: Path) -> Shard:
    """A file without its latents. CascadeError for what is no whole, sound file of latents."""
    try:
        header = read_header(path)
    except CascadeError as error:
        raise CascadeError(f"{error}; or remove it, and encode its pictures again") from error
    if KEY not in header.metadata:
        raise CascadeError(f"{path.name} holds no latents: expected a file that `cascade encode` wrote")
    try:
        entry: Any = parse_json(header.metadata[KEY])
        kind, pictures = entry.pop("kind"), entry.pop("pictures")
        if kind != KIND or pictures.keys() != header.tensors.keys():
            raise ValueError("expected latents, with an entry for each tensor")
        shard = Shard(header, fit(Origin, entry), {name: fit(Picture, value) for name, value in pictures.items()})
        for name, picture in shard.pictures.items():
            height, width = picture.size
            info = header.tensors[name]
            if info.dtype not in PRECISIONS.values() or info.shape != (STAGE_C_CHANNELS, *stage_c_size(width, height)):
                raise ValueError(f"{name!r:.200} of {height} x {width} pixels has the shape {info.shape}, {info.dtype}")
        return shard
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CascadeError(f"{path.name}: its metadata entry `{KEY}` cannot be used: {error}") from error


def fingerprint(path: Path) -> str:
    """A digest of a file's header and its size, by which it is known among others. CascadeError."""
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = min(int.from_bytes(file.read(8), "little"), LARGEST_TEXT)
            return hashlib.sha256(b"%d %s" % (size, file.read(length))).hexdigest()[:16]
    except OSError as error:
        raise CascadeError(f"{path} cannot be read: {error.strerror}") from error


def png_names(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Where each picture goes when decoded: its own path with the suffix .png.

    Where that is `taken` or another's (a.jpg beside a.png), .png is put behind the whole name. Paths that differ only
    in capital letters count as one, since some disks do not tell them apart.
    """
    used = {png.casefold() for png in taken}
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (not name.lower().endswith(".png"), name)):
        folder, slash, file = name.rpartition("/")
        numbered = (f"{name} ({number}).png" for number in count(2))
        choices = (png for some in ([f"{folder}{slash}{Path(file).stem}.png", f"{name}.png"], numbered) for png in some)
        found[name] = next(png for png in choices if png.casefold() not in used)
        used.add(found[name].casefold())
    return found


class Writer:
    """Latents into files of at most `most` pictures or `room` bytes, each written when it is full, whole or not at all.

    What is there is never replaced, also not by another process that writes the same set.
    """

    def __init__(
        self, target: Path, origin: Origin, most: int | None, room: int | None, written: Callable[[Path], object]
    ) -> None:
        """written: called with each file."""
        self._target, self._origin, self._written = target, origin, written
        self._most, self._room = most, room
        self._tensors: dict[str, Tensor] = {}
        self._pictures: dict[str, Picture] = {}
        self._text = self._values = 0  # of the header, and in its JSON

    def add(self, name: str, latent: Tensor, picture: Picture) -> None:
        """latent (16, h, w); writes what was added before where the file is full by that."""
        size = sum(tensor.nbytes for tensor in self._tensors.values())
        text = 300 + len(json.dumps(name))  # 300 for numbers and words
        text += sum(2 * len(json.dumps(json.dumps(written))) for written in (name, *picture.captions))
        marks = sum(3 * written.count(mark) for written in (name, *picture.captions) for mark in ",[{")
        values = 24 + len(picture.captions) + marks  # 24 for what else the header has of a picture
        is_full = len(self._tensors) == min(self._most or MOST_PICTURES, MOST_PICTURES)
        is_full |= self._text + text > MOST_TEXT or self._values + values > MOST_VALUES
        if is_full or (self._room and size + latent.nbytes > self._room):
            self.flush()
        self._text, self._values = self._text + text, self._values + values
        self._tensors[name], self._pictures[name] = latent, picture

    def flush(self, last: bool = False) -> None:
        """Write what waits. `last`: nothing else will come, so a file that is the only one needs no number."""
        if not self._tensors:
            return
        from ...files.tensors import write_tensors

        pictures = {name: _written(picture) for name, picture in self._pictures.items()}
        entry = {"kind": KIND, **asdict(self._origin), "pictures": pictures}
        precision = PRECISIONS[self._origin.precision]
        tensors = self._tensors
        specs = {name: (precision, tuple(tensor.shape)) for name, tensor in tensors.items()}
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            with atomic.unfinished(self._target.parent) as temporary:
                metadata = {KEY: json.dumps(entry)}
                write_tensors(temporary, specs, lambda names: ([tensors[name]] for name in names), metadata)
                path = next(path for path in self._free(last) if atomic.claim(temporary, path))
        except OSError as error:
            raise CascadeError(f"{self._target.parent} cannot be written to: {error.strerror or error}") from error
        self._tensors, self._pictures, self._text, self._values = {}, {}, 0, 0
        self._written(path)

    def _free(self, last: bool) -> Iterator[Path]:
        """Names for the next file, the best first."""
        there = members(self._target)
        if last and not there:
            yield self._target
        for number in count(1 + max((_number(self._target, path) or 1 for path in there), default=0)):
            yield self._target.with_name(f"{self._target.stem}-{number:05}{SUFFIX}")


def batches(
    items: Iterable[Item], kind: Callable[[Item], Hashable], weight: Callable[[Item], int], most: int, room: int
) -> Iterator[list[Item]]:
    """Lists of items of one kind, for one pass of a network: `most` of them, or fewer where they weigh `room` together.

    A rare kind does not wait for ever: where all that wait weigh too much, the heaviest kind goes as it is. The same
    items in the same order give the same lists.
    """
    waiting: dict[Hashable, list[Item]] = {}
    weights: dict[Hashable, int] = {}
    for item in items:
        key = kind(item)
        waiting.setdefault(key, []).append(item)
        weights[key] = weights.get(key, 0) + weight(item)
        if len(waiting[key]) < most and weights[key] < room:
            if sum(weights.values()) < WAITING * room:
                continue
            key = max(weights, key=lambda known: weights[known])
        del weights[key]
        yield waiting.pop(key)
    yield from waiting.values()


def _written(picture: Picture) -> dict[str, Any]:
    """The entry of a picture; without captions as it was before there were any."""
    return {name: value for name, value in asdict(picture).items() if value != ()}


def _number(target: Path, path: Path) -> int | None:
    """Of a numbered file of the set; None for others."""
    found = re.fullmatch(rf"{re.escape(target.stem)}-(\d{{5,9}}){re.escape(SUFFIX)}", path.name)
    return int(found[1]) if found else None
