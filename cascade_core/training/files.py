"""Files that are there whole or not at all, even when the power fails: a temporary name, the disk, then the name."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from ..errors import CascadeError
from ..files.dtypes import NAMES
from ..files.tensors import whole, write_tensors


@contextmanager
def durable(path: Path) -> Generator[Path]:
    """A temporary name for what becomes `path`; its folder is made. CascadeError, and the old file stays, if not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CascadeError(f"{path.parent} cannot be made: {error.strerror or error}") from error
    with whole(path) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())


def write_state(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file of these tensors, each in its own type; equal tensors make equal files."""
    specs = {name: (NAMES[tensors[name].dtype], tuple(tensors[name].shape)) for name in sorted(tensors)}
    with durable(path) as temporary:
        write_tensors(temporary, specs, lambda names: ([tensors[name]] for name in names), metadata)


def write_text(path: Path, text: str) -> None:
    with durable(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of a killed process that were to become `path`, or, of a folder, to lie in it."""
    folder, name = (path, "") if path.is_dir() else (path.parent, path.name)
    for left in folder.glob(f".{name}*.tmp"):
        left.unlink(missing_ok=True)
