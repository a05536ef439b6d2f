"""Model folders: where the folders of a key lie, and what lies in them, by name.

Keys and `extra_model_paths.yaml` are ComfyUI's. A loader offers files, sharded sets as one name, and diffusers folders
as `name/`. All of it is told from names alone, so that a list opens no model: whether a choice is the right one is told
when it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, cast

from ..cascade_core.errors import CascadeError
from ..cascade_core.files.shards import CONFIG_FILE, PIPELINE_FILE, SHARD, SUFFIXES
from ..cascade_core.reading import is_hidden, read_json, read_text, walk

EXTRA_PATHS = "extra_model_paths.yaml"  # beside the models folder
FOLDERS = {
    "diffusion_models": ("unet", "diffusion_models"),
    "text_encoders": ("text_encoders", "clip"),
    "controlnet": ("controlnet", "t2i_adapter"),
}  # keys that have other folders than the one of their own name
OLD_KEYS = {"unet": "diffusion_models", "clip": "text_encoders", "t2i_adapter": "controlnet"}
DIFFUSERS = "diffusers"  # the key whose sub-folders are models
INDEX_SUFFIX = ".index.json"  # of the list of a sharded set's files
LONGEST_EXTRA = 64 * 1024  # bytes of EXTRA_PATHS
_NESTED = (dict, list, set, tuple)  # what YAML has besides texts and numbers
_SET = r"-of-\2"  # instead of the name of a shard's number: the same for all shards of a set


def folders_of(key: str, models: Path) -> list[Path]:
    """The folders of a key in the order in which they are searched.

    Those under the folder `models`, and what `extra_model_paths.yaml` adds, its defaults in front.
    """
    found = [models / name for name in FOLDERS.get(key, (key,))]
    extra_file = models.parent / EXTRA_PATHS
    if extra_file.is_file():
        for folder, is_default in _read_extra(extra_file, extra_file.stat().st_mtime_ns).get(key, ()):
            if is_default:
                found = [folder, *(other for other in found if other != folder)]
            elif folder not in found:
                found.append(folder)
    return found


def models_of(key: str, folders: Iterable[Path]) -> dict[str, Path]:
    """The models in the folders of a key by name, in order; the first folder wins a clash."""
    return diffusers(folders) if key == DIFFUSERS else files(folders)


def files(folders: Iterable[Path], suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, Path]:
    """The files below these folders. The name of one in a sub-folder has that before it, with `/` on every system."""
    return _named((folder, path, "") for folder in folders for path in _files(folder, suffixes))


def diffusers(folders: Iterable[Path]) -> dict[str, Path]:
    """The files that lie directly in these folders, and the diffusers folders below."""
    found: list[tuple[Path, Path, str]] = []
    for folder in folders:
        found += ((folder, path, "") for path in _files(folder, SUFFIXES, deep=False))
        found += ((folder, path, "/") for path in _diffusers_folders(folder))
    return _named(found)


def can_hold_weights(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def in_order(found: Mapping[str, Path]) -> dict[str, Path]:
    """By name, as every list of a loader has them."""
    return {name: found[name] for name in sorted(found, key=lambda name: (_plain(name).casefold(), name))}


def first_wins(lists: Iterable[Mapping[str, Path]]) -> dict[str, Path]:
    """All of the lists as one; a name means what it means in the first that has it."""
    found: dict[str, Path] = {}
    for named in lists:
        for name, path in named.items():
            found.setdefault(name, path)
    return found


def offered(names: Iterable[str]) -> list[str]:
    """The names that a combo shows: of a sharded set the first, since any of them loads its siblings."""
    sets: dict[str, str] = {}
    for name in names:
        sets.setdefault(SHARD.sub(_SET, name), name)
    return list(sets.values())


def find(found: Mapping[str, Path], name: str) -> Path | None:
    """The model that a workflow means by a name, which may come from a system with the other separator."""
    if name in found:
        return found[name]
    return next((path for known, path in found.items() if _plain(known) == _plain(name)), None)


def find_file(found: Mapping[str, Path], name: str) -> Path | None:
    """The file that a name means, which may lack its ending."""
    return next(filter(None, (find(found, name + suffix) for suffix in ("", *SUFFIXES))), None)


def belonging(path: Path) -> list[Path]:
    """All files that a choice stands for: itself, the shards of its set and their index, or a folder's."""
    if path.is_dir():
        found = (parent / name for parent, _, names in walk(path, is_hidden) for name in names)
    elif SHARD.search(path.name):
        whole = SHARD.sub(_SET, path.name), SHARD.sub("", path.name) + INDEX_SUFFIX
        found = (entry for entry in path.parent.iterdir() if SHARD.sub(_SET, entry.name) in whole)
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
    for parent, _, names in islice(walk(folder, lambda name: name == ".git"), None if deep else 1):
        paths = (parent / name for name in names if name.lower().endswith(suffixes))
        yield from (path for path in paths if path.is_file())  # not a link to nowhere


def _diffusers_folders(folder: Path) -> Iterator[Path]:
    """Pipelines; and components that stand alone, or that their pipeline does not name, such as its lite variants."""
    for parent, directories, names in walk(folder, is_hidden):
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
        content: Any = read_json(index)
        if isinstance(content, dict):
            return {str(name) for name in content}
    return set()


@lru_cache(maxsize=4)
def _read_extra(file: Path, _changed: int) -> Mapping[str, Sequence[tuple[Path, bool]]]:
    """key -> (folder, is it a default) of every section; `_changed` is the file's time, so that edits are seen."""
    import yaml  # only needed where there is such a file

    try:
        sections: Any = yaml.safe_load(read_text(file, LONGEST_EXTRA)) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CascadeError(f"{file} cannot be read: {error}") from error
    found: dict[str, list[tuple[Path, bool]]] = {}
    if not isinstance(sections, dict):
        raise CascadeError(f"{file}: expected sections with `key: path` lines, found {_shown(sections)}")
    for name, section in cast(dict[Any, Any], sections).items():
        if section is None:
            continue
        if not isinstance(section, dict):
            raise CascadeError(
                f"{file}: the section {_shown(name)}: expected `key: path` lines, found {_shown(section)}"
            )
        entries = dict(cast(dict[str, Any], section))
        for key, value in entries.items():
            if isinstance(value, _NESTED):
                raise CascadeError(f"{file}: {_shown(key)}: expected a path, found {_shown(value)}")
        base = file.parent / _expand(entries.pop("base_path", None) or "")
        is_default = bool(entries.pop("is_default", False))
        for key, paths in entries.items():
            for line in filter(None, map(str.strip, str(paths or "").split("\n"))):
                found.setdefault(OLD_KEYS.get(key, key), []).append(
                    (Path(os.path.normpath(base / _expand(line))), is_default)
                )
    return found


def _shown(value: object) -> str:
    """A value in a message; of a nested one its kind: its text may have no end, since YAML may name a list often."""
    return f"a {type(value).__name__}" if isinstance(value, _NESTED) else f"{value!r:.60}"


def _expand(path: object) -> str:
    return os.path.expandvars(os.path.expanduser(str(path)))
