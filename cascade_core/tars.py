"""Files in tar archives, such as webdatasets are: `pictures.tar/0001.jpg` is a path like any other.

Archives are not unpacked: a table of each says where its files begin. Compressed ones have no such places.
"""

from __future__ import annotations

import errno
import tarfile
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".tar"
LARGEST = 2**30  # bytes of a file in an archive
KEPT = 64  # tables of archives, from file to file


def is_tar(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX and path.is_file()


def names_in(tar: Path) -> list[str]:
    """The names of the files in an archive, with "/"; of a name that comes twice one. Raises OSError."""
    return list(_table(tar))


def open_member(path: Path) -> BinaryIO:
    """A file in an archive, read whole; FileNotFoundError where none of that name is in one, OSError for another."""
    tar = next((parent for parent in path.parents if is_tar(parent)), None)
    found = None if tar is None else _table(tar).get(path.relative_to(tar).as_posix())
    if tar is None or found is None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
    start, size = found
    if size > LARGEST:
        raise OSError(errno.EFBIG, f"it may have at most {LARGEST >> 20} MiB in an archive, and has more")
    with tar.open("rb") as file:
        file.seek(start)
        return BytesIO(file.read(size))


def _table(tar: Path) -> dict[str, tuple[int, int]]:
    state = tar.stat()
    return _read_table(tar, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=KEPT)
def _read_table(tar: Path, time: int, size: int) -> dict[str, tuple[int, int]]:
    """The first byte and the size of each file. time, size: of the archive, which may change."""
    try:
        with tarfile.open(tar, "r:") as archive:
            regular = [member for member in archive if member.isreg() and not member.issparse()]
    except tarfile.TarError as error:
        raise OSError(errno.EINVAL, f"it is no tar archive that can be read: {error}") from error
    return {member.name.removeprefix("./"): (member.offset_data, member.size) for member in regular}
