"""An inventory of model files by their headers: what each is, and whether it lies where loaders look."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..cascade_core.errors import CascadeError
from ..cascade_core.files.other_models import OtherModel
from ..cascade_core.kinds import KINDS
from ..cascade_core.wording import size_in_words
from . import host, model_folders

if TYPE_CHECKING:
    from ..cascade_core.files.model_part import Part

UNFINISHED = (".part", ".partial", ".incomplete", ".crdownload", ".download", ".opdownload", ".aria2")
ALL_IN_ONE, FOLDER = "checkpoints", "diffusers"  # the folder keys of files with several parts, and of folders
UNSAID = ("published",)  # presets that are the only size of their kind


@dataclass(frozen=True)
class Row:
    """One part of a file."""

    kind: str  # as identification has it
    name: str  # in words: "Stage C 3.6B", "ControlNet canny"
    layout: str
    bytes: int
    precision: str
    belongs_in: str  # a folder key
    right_place: bool | None  # None where the file lies in no model folder at all


@dataclass(frozen=True)
class Entry:
    """A file, a sharded set (one of its files stands for it), or a diffusers folder."""

    path: Path
    bytes: int
    rows: Sequence[Row] = ()
    problem: str | None = None  # why it cannot be used: a sentence
    foreign: bool = False  # because it is a sound file of another model
    files: frozenset[Path] = frozenset()  # those that hold the parts

    @property
    def unusable(self) -> bool:
        return self.problem is not None and not self.foreign

    @property
    def misplaced(self) -> bool:
        return any(row.right_place is False for row in self.rows)


def look_at(path: Path) -> Entry:
    """One file or folder, whatever it may be."""
    from ..cascade_core.files.identify import identify

    size = sum(file.stat().st_size for file in model_folders.belonging(path))
    if path.name.lower().endswith(UNFINISHED):
        return Entry(
            path,
            size,
            problem=f"{path.name} is a half download ({size_in_words(size)} so far): let it finish, give the same"
            " `cascade download` again, or delete it",
        )
    try:
        parts = identify(path)
    except OtherModel as error:
        return Entry(path, size, problem=str(error), foreign=True)
    except CascadeError as error:
        return Entry(path, size, problem=str(error))
    files = frozenset(info.file for part in parts for info in part.names.values())
    rows = [_row(part, path, len(parts) > 1) for part in parts]
    problem = " ".join(filter(None, (misfit(part, path.name) for part in parts))) or None
    return Entry(path, sum(file.stat().st_size for file in files), rows, problem, files=files)


def misfit(part: Part, file: str) -> str | None:
    """The reason why a part's tensors are not those of its network; None where they are, or it is not known."""
    if part.config is None:
        return None
    from ..cascade_core.files.load import build, find_sources

    try:
        find_sources(part, file, build(part, file))
    except CascadeError as error:
        return str(error)
    return None


def walk(folder: Path) -> Iterator[Entry]:
    """Everything below a folder that is a model, or was to become one; diffusers folders first."""
    covered: set[Path] = set()
    for name, path in model_folders.diffusers([folder]).items():
        if name.endswith("/"):
            entry = look_at(path)
            covered |= {file.parent for file in entry.files}
            yield entry
    loose = model_folders.files([folder], (*model_folders.SUFFIXES, *UNFINISHED))
    names = (name for name, path in loose.items() if path.parent not in covered)
    yield from (look_at(loose[name]) for name in model_folders.offered(names))


def _row(part: Part, path: Path, has_others: bool) -> Row:
    keys = KINDS[part.kind].folders
    belongs = FOLDER if path.is_dir() else ALL_IN_ONE if has_others and ALL_IN_ONE in keys else keys[0]
    around = _keys_of(path)
    layout = "diffusers" if path.is_dir() else "all-in-one" if part.prefix else part.layout
    right = bool(around & ({FOLDER} if path.is_dir() else {*keys})) if around else None
    return Row(part.kind, _name(part), layout, part.bytes, part.precision, belongs, right)


def _name(part: Part) -> str:
    kind = KINDS[part.kind].name
    if part.mode is not None:  # what is made for a Stage C
        return f"{kind} {part.mode}{part.preset and f', for {part.preset}'}"
    return kind if part.preset in UNSAID else f"{kind} {part.preset}"


def _keys_of(path: Path) -> set[str]:
    """The folder keys under which a path is looked for."""
    place = Path(os.path.abspath(path))
    keys = {key for kind in KINDS.values() for key in kind.folders}
    return {key for key in keys if any(place.is_relative_to(folder) for folder in host.current().model_folders(key))}
