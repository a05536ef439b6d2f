"""What loaders offer of model folders, by name: files, sharded sets as one name, and diffusers folders as `name/`.

Told from names alone, so that a list costs no opened model: whether a choice is the right model is told when it is
loaded. Knows no host: callers say which folders a key has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from ..cascade_core.files.shards import CONFIG_FILE, PIPELINE_FILE, SHARD
from ..cascade_core.files.shards import SUFFIXES as MODEL_SUFFIXES

INDEX_SUFFIX = ".index.json"


def files(folders: Iterable[Path], suffixes: tuple[str, ...] = MODEL_SUFFIXES) -> dict[str, Path]:
    """The files of one key's folders by name, in order; the first folder wins a clash.

    The name of a file in a sub-folder has the sub-folder before it, with `/` on every system.
    """
    return _named((folder, path, "") for folder in folders for path in _files(folder, suffixes))


def models(folders: Iterable[Path]) -> dict[str, Path]:
    """The same of the key `diffusers`: the files that lie directly in its folders, and the diffusers folders below."""
    found: list[tuple[Path, Path, str]] = []
    for folder in folders:
        found += ((folder, path, "") for path in _files(folder, MODEL_SUFFIXES, deep=False))
        found += ((folder, path, "/") for path in _diffusers_folders(folder))
    return _named(found)


def can_hold_weights(name: str) -> bool:
    return name.lower().endswith(MODEL_SUFFIXES)


def in_order(found: Mapping[str, Path]) -> dict[str, Path]:
    """By name, as every list of a loader has them."""
    return {name: found[name] for name in sorted(found, key=lambda name: (_plain(name).casefold(), name))}


def first_wins(shelves: Iterable[Mapping[str, Path]]) -> dict[str, Path]:
    """All of the shelves as one; a name stands where it is first found."""
    found: dict[str, Path] = {}
    for shelf in shelves:
        for name, path in shelf.items():
            found.setdefault(name, path)
    return found


def offered(names: Iterable[str]) -> list[str]:
    """The names that a list shows: of a sharded set the first, since any of them loads its siblings."""
    sets: dict[str, str] = {}
    for name in names:
        sets.setdefault(SHARD.sub(r"-of-\2", name), name)
    return list(sets.values())


def find(found: Mapping[str, Path], name: str) -> Path | None:
    """What a workflow means by a name, which may come from a system with the other separator."""
    if name in found:
        return found[name]
    return next((path for known, path in found.items() if _plain(known) == _plain(name)), None)


def find_file(found: Mapping[str, Path], name: str) -> Path | None:
    """The same, where the name may lack its ending."""
    return next(filter(None, (find(found, name + suffix) for suffix in ("", *MODEL_SUFFIXES))), None)


def belonging(path: Path) -> list[Path]:
    """All files that a choice stands for: itself, the shards of its set and their index, or a folder's."""
    if path.is_dir():
        found = (parent / name for parent, _, names in _walk(path, _is_hidden) for name in names)
    elif SHARD.search(path.name):
        whole = SHARD.sub(r"-of-\2", path.name), SHARD.sub("", path.name) + INDEX_SUFFIX
        found = (entry for entry in path.parent.iterdir() if SHARD.sub(r"-of-\2", entry.name) in whole)
    else:
        found = iter((path,))
    return sorted(file for file in found if file.is_file())


def file_name(name: str) -> str:
    """A name without the sub-folder before it."""
    return _plain(name).rpartition("/")[2]


def _plain(name: str) -> str:
    return name.replace("\\", "/")


def _named(found: Iterable[tuple[Path, Path, str]]) -> dict[str, Path]:
    """(folder of the key, what lies in it, what its name ends with) by name; the first wins."""
    names: dict[str, Path] = {}
    for folder, path, end in found:
        name = path.relative_to(folder).as_posix() if path != folder else path.name
        names.setdefault(name + end, path)
    return in_order(names)


def _files(folder: Path, suffixes: tuple[str, ...], deep: bool = True) -> Iterator[Path]:
    for parent, _, names in islice(_walk(folder, lambda name: name == ".git"), None if deep else 1):
        paths = (parent / name for name in names if name.lower().endswith(suffixes))
        yield from (path for path in paths if path.is_file())  # not a link to nowhere


def _diffusers_folders(folder: Path) -> Iterator[Path]:
    """Pipelines; and components that stand alone, or that their pipeline does not name, such as its lite variants."""
    for parent, directories, names in _walk(folder, _is_hidden):
        if PIPELINE_FILE in names:
            named = _components(parent / PIPELINE_FILE)
            directories[:] = [name for name in directories if name not in named]
            yield parent
        elif CONFIG_FILE in names and any(map(can_hold_weights, names)):
            directories.clear()
            yield parent


def _components(index: Path) -> set[str]:
    """The sub-folders that a pipeline names; none of a damaged one, of which loading says more."""
    with suppress(OSError, ValueError):
        content: Any = json.loads(index.read_bytes())
        if isinstance(content, dict):
            return {str(name) for name in content}
    return set()


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _walk(
    folder: Path, skipped: Callable[[str], bool], above: frozenset[str] = frozenset()
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder with the names in it: its folders, of which the caller may strike some, and its files.

    Links are followed, but not to a folder that they lie in.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    directories: list[str] = []
    names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:  # one that is not there, or not ours to read, holds nothing
        for entry in entries:
            (directories if entry.is_dir() else names).append(entry.name)
    directories = [name for name in directories if not skipped(name)]
    yield folder, directories, names
    for name in directories:
        yield from _walk(folder / name, skipped, above | {real})
