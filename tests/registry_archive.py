"""The pack as ComfyUI's registry hands it out: what `comfy node pack` puts in, and `comfy node install` lays down."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import stable_cascade_nodes

ROOT = Path(stable_cascade_nodes.__file__).parent


def names() -> list[str]:
    """Tracked files that .comfyignore does not name; its patterns are git's, so git reads them."""
    return sorted(_files() - _files("--ignored", "--exclude-from=.comfyignore"))


def unpack(folder: Path) -> Path:
    """The archive's files under `folder`, which is made."""
    for name in names():
        if (ROOT / name).is_file():  # not what was just deleted
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def _files(*options: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(filter(None, listed.stdout.split("\0")))
