"""Files that appear under their name only when they are complete: written under another name, then renamed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CascadeError


@contextmanager
def whole(path: Path) -> Generator[Path]:
    """A temporary name for what becomes `path`, in place of what was there, when the block is done.

    A block that fails leaves nothing, and what was there. Raises CascadeError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise CascadeError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


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


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of files that were to become `path`, or, of a folder, to lie in it."""
    folder, name = (path, "") if path.is_dir() else (path.parent, path.name)
    for left in folder.glob(f".{name}*.tmp"):
        left.unlink(missing_ok=True)


@contextmanager
def unfinished(folder: Path) -> Generator[Path]:
    """A name in `folder` to write under until `claim`; what is still there at the end is removed."""
    path = folder / f".{uuid.uuid4().hex}.part"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def claim(source: Path, target: Path) -> bool:
    """Whether `source` became `target`; False where that name is taken: nothing is ever replaced."""
    try:
        os.link(source, target)  # unlike a rename, this never replaces a file
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if target.exists():
            return False
        source.replace(target)
    return True
