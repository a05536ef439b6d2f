"""The workflow files that come with the pack: their names, and what each is for."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import graph

FOLDER = Path(__file__).parents[1] / "workflows"


BY_USE = (
    *("text_to_image", "image_variation", "image_to_image", "inpainting", "outpainting", "super_resolution"),
    *("lora", "canny", "face_identity", "published_models"),
)
"""The workflows that most people look for, in the order in which they are listed."""


def names() -> list[str]:
    """The names, without folder and ending, by use; then those that few look for."""
    return sorted((path.stem for path in files()), key=by_use)


def by_use(name: str) -> tuple[int, bool, str]:
    """What workflow files are sorted by, by their names: ours by use, the others of ours, those of other people."""
    place = BY_USE.index(name) if name in BY_USE else len(BY_USE)
    return place, not (FOLDER / f"{name}.json").is_file(), name.casefold()


def files(folder: Path = FOLDER) -> list[Path]:
    """The workflow files of a folder by name, without the app forms of the same workflows."""
    return sorted(path for path in folder.glob("*.json") if not path.name.endswith(".app.json"))


def path_of(name: str) -> Path:
    """The file of a name. Raises WorkflowError for another name, with those that there are."""
    if name not in names():
        raise graph.WorkflowError(
            f"expected a shipped workflow ({graph.list_choices(names(), name)}), found {name!r}:"
            " `cascade workflows` lists them all"
        )
    return FOLDER / f"{name}.json"


def find(path: Path) -> Path:
    """The path itself, or, where no file lies there and it is a bare name, the shipped workflow of that name."""
    bare, there = path.parent == Path() and path.suffix in ("", ".json"), path.exists() and not path.is_dir()
    return FOLDER / f"{path.stem}.json" if bare and not there and path.stem in names() else path


def instead_of(path: Path) -> str:
    """`; did you mean ...?` behind the name of a workflow or file that is not there; nothing where nothing is near."""
    if path.stem in names() and path.suffix in ("", ".json"):
        return f"; did you mean the workflow that comes with the pack, `{path.stem}`, without folder and ending?"
    with suppress(OSError):
        if near := graph.nearest(path.name, (entry.name for entry in path.parent.iterdir()), 0.75):
            return f"; did you mean {path.parent / near}?"
    near = graph.nearest(path.stem, names())
    return f"; did you mean the workflow that comes with the pack, `{near}`?" if near else ""


def purpose(name: str) -> str:
    """What a shipped workflow is for, as the file itself says, in the entry where the editor keeps it."""
    document: dict[str, Any] = json.loads(path_of(name).read_text(encoding="utf-8"))
    return document["extra"]["BlueprintDescription"]
