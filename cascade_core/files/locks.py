"""Locks on files, which the system takes back when their process ends, however it ends."""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EACCES, EAGAIN, EDEADLK
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"  # of a file that has nothing else to say than whose a folder is
FAR = 1 << 30  # where Windows locks a byte: nobody could read a locked one


def take(path: Path, makes: bool = False) -> int | None:
    """A descriptor of a file that is locked for us until it is closed.

    None where another process has the lock, or where there is no such file, unless `makes`. Raises OSError, also where
    a file system knows no locks.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if makes else 0), 0o666)
        except FileNotFoundError:
            if makes:
                raise  # its folder is not there
            return None
        try:
            _lock(descriptor)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(descriptor)
            if error.errno in (EACCES, EAGAIN, EDEADLK):
                return None
            raise
        os.close(descriptor)  # who had it has renamed or removed it before we got the lock
        if not makes:
            return None


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    windows: Any = msvcrt
    os.lseek(descriptor, FAR, os.SEEK_SET)
    windows.locking(descriptor, windows.LK_NBLCK, 1)


def let_go(path: Path, descriptor: int) -> None:
    """Remove a file whose lock is ours, and its lock."""
    if fcntl is None:  # Windows removes no file that is open
        os.close(descriptor)
    with suppress(OSError):
        path.unlink()
    if fcntl is not None:
        os.close(descriptor)
