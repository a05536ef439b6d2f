"""Files that appear under their name only when they are complete: written under another name, then renamed.

The other name is hidden, and locked while its process lives; what a killed one left is removed by the next that writes
into the folder.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from ..errors import CascadeError
from . import locks

_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.part")
_OLD = 24 * 60 * 60  # seconds: on Windows, where an unfinished file has no lock, since a locked one cannot be renamed


@contextmanager
def whole(path: Path) -> Generator[Path]:
    """A temporary name for what becomes `path`, in place of what was there, when the block is done.

    A block that fails leaves nothing, and what was there. Raises CascadeError.
    """
    try:
        with unfinished(path.parent) as temporary:
            yield temporary
            temporary.replace(path)
    except OSError as error:
        raise CascadeError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def durable(path: Path) -> Generator[Path]:
    """As `whole`, but whole even when the power fails: the content is on the disk before the name. Makes the folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CascadeError(f"{path.parent} cannot be made: {error.strerror or error}") from error
    with whole(path) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def unfinished(folder: Path) -> Generator[Path]:
    """A name in `folder` to write under until `claim`; what is still there at the end is removed."""
    _sweep_once(folder)
    path = folder / f".{uuid.uuid4().hex}.part"
    descriptor = None
    if os.name != "nt":
        with suppress(OSError):  # a file system that knows no locks; where it cannot be written, the writer says so
            descriptor = locks.take(path, makes=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(*folders: Path) -> None:
    """Remove what killed processes left unfinished in these folders; what a living one writes stays."""
    for folder in folders:
        names: list[str] = []
        with suppress(OSError):  # not there, or not ours to read
            names = os.listdir(folder)
        for path in (folder / name for name in names if _UNFINISHED.fullmatch(name)):
            with suppress(OSError):
                if os.name == "nt" and time.time() - path.stat().st_mtime < _OLD:
                    continue
                descriptor = locks.take(path)
                if descriptor is not None:
                    locks.let_go(path, descriptor)


@cache
def _sweep_once(folder: Path) -> None:
    """A process looks into a folder when it first writes there: many files are written into large ones."""
    sweep(folder)


def claim(source: Path, target: Path) -> bool:
    """Whether `source` became `target`; False where that name is taken: nothing is ever replaced."""
    try:
        os.link(source, target)  # unlike a rename, this never replaces a file
        return True
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: there the name is reserved first, by an empty file
        pass
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    try:
        source.replace(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return True
