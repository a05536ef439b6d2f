"""Opening what comes from outside, within limits: regular files alone, JSON by size, number and depth, folders once.

What is refused is an OSError or a ValueError whose words say why: who asked knows which file it was, and what to do.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO

from . import tars
from .errors import CascadeError

LARGEST_TEXT = 32 * 2**20  # bytes of a text or a JSON; the largest workflows and vocabularies have a few million
MOST_VALUES = 1_000_000  # in a JSON: what takes 100 bytes and more in memory may be two bytes in the file
DEEPEST = 200  # lists and objects in each other, and folders; the largest workflows have some twenty
MOST_ENTRIES = 1_000_000  # files and folders below a folder
_DESCRIPTOR = re.compile(r"(?:/dev|/proc/self)/fd/(\d{1,4})")  # of a process substitution


def open_file(path: Path) -> BinaryIO:
    """A regular file, also one in a tar; OSError for anything else, which is not opened: a pipe would never end."""
    try:
        is_regular = S_ISREG(path.stat().st_mode)
    except NotADirectoryError:
        return tars.open_member(path)
    except ValueError as error:
        raise OSError(errno.EINVAL, "no file can have that name") from error
    if not is_regular:
        raise OSError(errno.EINVAL, "it is a pipe, a folder or a device")
    return path.open("rb")


def open_once(path: Path) -> BinaryIO:
    """As `open_file`; but `-`, /dev/stdin and what the shell has opened for us are read, once, to their ends."""
    number = _DESCRIPTOR.fullmatch(str(path))
    if str(path) in ("-", "/dev/stdin"):
        descriptor = 0
    elif number and not path.is_file():
        descriptor = int(number[1])
    else:
        return open_file(path)
    with open(descriptor, "rb", closefd=False) as stream:
        return BytesIO(_whole(stream, LARGEST_TEXT))


def read_bytes(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """The content of a file of at most so many bytes; OSError for a larger one."""
    with open_file(path) as file:
        return _whole(file, most)


def read_text(path: Path, most: int = LARGEST_TEXT) -> str:
    """A text in UTF-8, with or without a mark of the byte order. Raises OSError, and ValueError for another coding."""
    return read_bytes(path, most).decode("utf-8-sig")


def _whole(file: BinaryIO, most: int) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it may have at most {most >> 20} MiB, and has more")
    return data


def read_json(path: Path) -> Any:
    """The JSON in a file. Raises OSError and ValueError."""
    return parse_json(read_bytes(path))


def parse_json(data: bytes | str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """JSON as values; ValueError where it is none, or too large, or nested too deeply for anybody to read.

    pairs: what becomes of an object's names and values, as json's `object_pairs_hook`.
    """
    if len(data) > LARGEST_TEXT:
        raise ValueError(f"it may have at most {LARGEST_TEXT >> 20} MiB, and has more")
    if isinstance(data, bytes):
        data = data.decode(json.detect_encoding(data))
    containers = data.count("[") + data.count("{")  # those in texts too: it is a bound
    if containers + data.count(",") > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values")
    try:
        found = _decoder(pairs).decode(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if containers > DEEPEST and _is_deeper(found, DEEPEST):
        raise ValueError("it is nested too deeply")
    return found


@lru_cache(maxsize=8)
def _decoder(pairs: Callable[[list[tuple[str, Any]]], Any] | None) -> json.JSONDecoder:
    """Made once: of short texts, such as a million rows, this takes longer than the reading."""
    return json.JSONDecoder(object_pairs_hook=pairs)


def _is_deeper(value: Any, most: int) -> bool:
    level: list[Any] = [[value]]
    for _ in range(most + 1):
        level = [part for container in level for part in _containers(container)]
        if not level:
            return False
    return True


def _containers(value: Any) -> list[Any]:
    values: list[Any] = list(value.values()) if isinstance(value, dict) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
    return [part for part in values if isinstance(part, dict | list)]


def digest(path: Path) -> str:
    """A digest of a file's content. Raises OSError."""
    content = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(1 << 20):
            content.update(block)
    return content.hexdigest()


def walk(
    folder: Path, skipped: Callable[[str], bool], most: int = MOST_ENTRIES
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder with the names in it, sorted: its folders, of which the caller may strike some, and its files.

    Links in the folder's own tree are followed, but not to what they lie in; what lies behind them is walked, and the
    links there only to places that were not reached yet: so every walk ends. A folder that is not there, or not ours
    to read, holds nothing. CascadeError for more than `most` names, and for a whole file system.
    """
    root = os.path.realpath(folder)
    if os.path.dirname(root) == root:
        raise CascadeError(f"{folder} is a whole file system: name a folder in it")
    seen = {root}
    waiting = [(folder, 0, False)]  # place, depth, whether it lies behind a link
    links: deque[tuple[Path, int, bool]] = deque()
    while waiting or links:
        place, depth, behind = waiting.pop() if waiting else links.popleft()
        folders: list[str] = []
        names: list[str] = []
        linked: set[str] = set()
        for name, is_folder, is_link in _entries(place):
            most -= 1
            if most < 0:
                raise CascadeError(f"{folder} has too many files and folders in it: name a smaller folder")
            if not is_folder:
                names.append(name)
            elif not skipped(name) and depth < DEEPEST:
                folders.append(name)
                if is_link:
                    linked.add(name)
        folders.sort()
        yield place, folders, sorted(names)
        for name in reversed(folders):
            if name not in linked:
                waiting.append((place / name, depth + 1, behind))
                seen.add(os.path.realpath(place / name))
        for name in filter(linked.__contains__, folders):
            real = os.path.realpath(place / name)
            around = os.path.join(os.path.realpath(place), "")
            if not (real in seen if behind else around.startswith(os.path.join(real, ""))):
                links.append((place / name, depth + 1, True))
                seen.add(real)


def is_hidden(name: str) -> bool:
    return name.startswith(".")


def _entries(folder: Path) -> Iterator[tuple[str, bool, bool]]:
    """The name of each entry of a folder, whether it is a folder, and whether it is a link."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_link = entry.is_symlink()
                yield entry.name, os.path.isdir(entry.path) if is_link else entry.is_dir(), is_link
    except OSError:
        return
