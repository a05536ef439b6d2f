"""Names out of workflows and requests, which never lead out of their folder."""

import os
from pathlib import Path

from ..cascade_core.errors import CascadeError


def is_inside(root: Path, path: Path) -> bool:
    """Whether a path lies in `root` when all links are followed; it need not exist."""
    return "\0" not in str(path) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def inside(root: Path, name: str) -> Path:
    """`root / name`, which must not lead out of `root`, neither by its words nor through a link."""
    if "\0" in name:
        raise CascadeError(f"{name!r} is not the name of a file")
    path = Path(os.path.normpath(root / name.replace("\\", "/")))
    if not path.is_relative_to(os.path.normpath(root)):
        raise CascadeError(f"{name!r:.200} leads out of {root}: a workflow may only name files inside that folder")
    if not is_inside(root, path):
        raise CascadeError(f"{name!r:.200} is a link that leads out of {root}: put the file itself there")
    return path


def split_annotation(name: str) -> tuple[str, str]:
    """`picture.png [output]` -> ("picture.png", "output"); without an annotation the folder is "input"."""
    for kind in ("input", "output", "temp"):
        if name.endswith(f"[{kind}]"):
            return name[: -len(kind) - 2].rstrip(), kind
    return name, "input"
