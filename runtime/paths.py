"""Names out of workflows and requests, which never lead out of their folder."""

import os
import tempfile
from pathlib import Path

from ..cascade_core.errors import CascadeError


def is_name(text: str) -> bool:
    """Whether a file system can have it: no NUL, and no half of a character, as JSON may hold."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def is_inside(root: Path, path: Path) -> bool:
    """Whether a path lies in `root` when all links are followed; it need not exist."""
    return is_name(str(path)) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def inside(root: Path, name: str) -> Path:
    """`root / name`, which must not lead out of `root`, neither by its words nor through a link."""
    if not is_name(name):
        raise CascadeError(f"{name!r:.200} is not the name of a file")
    path = Path(os.path.normpath(root / name.replace("\\", "/")))
    if not path.is_relative_to(os.path.normpath(root)):
        raise CascadeError(f"{name!r:.200} leads out of {root}: a workflow may only name files inside that folder")
    if not is_inside(root, path):
        raise CascadeError(f"{name!r:.200} is a link that leads out of {root}: put the file itself there")
    return path


def expect_writable(folder: Path) -> None:
    """Raise CascadeError where we cannot write into a folder that is there, or is to come into being."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):  # root may write by the mode's bits where there is no way to
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CascadeError(f"{folder} cannot be written ({reason}): choose another folder by --output") from error


def split_annotation(name: str) -> tuple[str, str]:
    """`picture.png [output]` -> ("picture.png", "output"); without an annotation the folder is "input"."""
    for kind in ("input", "output", "temp"):
        if name.endswith(f"[{kind}]"):
            return name[: -len(kind) - 2].rstrip(), kind
    return name, "input"
