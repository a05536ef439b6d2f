"""One owner of a work: who begins it second is told who has it."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from platform import node

from ..errors import CascadeError
from ..wording import printable
from . import atomic, locks

LONGEST = 200  # bytes of what a lock says of its owner
SINCE = "%Y-%m-%d %H:%M:%S"


@contextmanager
def owned(folder: Path, name: str = "") -> Generator[None]:
    """In here the work in a folder, on what has this name there, is this process's alone. Makes the folder.

    CascadeError says which process has it. What a killed one left, its lock's file and others unfinished, is removed.
    On a file system that knows no locks everybody is an owner.
    """
    path = folder / (f".{name}{locks.NAME}" if name else locks.NAME)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CascadeError(f"{folder} cannot be made: {error.strerror or error}") from error
    atomic.sweep(folder)
    with ExitStack() as stack:
        with suppress(OSError):  # no locks; where nothing can be written, whoever writes says so
            descriptor = locks.take(path, makes=True)
            if descriptor is None:
                raise CascadeError(
                    f"{folder / name if name else folder} is being worked on by {_owner(path)}: let it finish, or stop"
                    " it, or choose another name"
                )
            stack.callback(locks.let_go, path, descriptor)
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"process {os.getpid()} on {node()} since {time.strftime(SINCE)}".encode())
        yield


def _owner(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return printable(file.read(LONGEST).decode("utf-8", "replace")) or "another process"
    except OSError:
        return "another process"
