"""Files that appear under their name only when they are complete, and never in place of another."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A name in `folder` to write under; what is still there at the end is removed."""
    path = folder / f".{uuid.uuid4().hex}.part"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def claim(source: Path, target: Path) -> bool:
    """Whether `source` became `target`; False where that name is taken."""
    try:
        os.link(source, target)  # unlike a rename, this never replaces a file
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if target.exists():
            return False
        source.replace(target)
    return True
