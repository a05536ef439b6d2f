"""Where models and pictures lie on disk when ComfyUI is not there to say so.

The same folder keys, `extra_model_paths.yaml` and annotated picture names as in ComfyUI, on the standard library alone
(and PyYAML where there is such a file). A name that comes out of a workflow never leads out of its folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from .. import cascade_core as core

EXTRA_PATHS = "extra_model_paths.yaml"
MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
FOLDERS = {
    "diffusion_models": ("unet", "diffusion_models"),
    "text_encoders": ("text_encoders", "clip"),
    "controlnet": ("controlnet", "t2i_adapter"),
}  # keys that have other folders than the one of their own name
OLD_KEYS = {"unet": "diffusion_models", "clip": "text_encoders", "t2i_adapter": "controlnet"}
FLAT_KEYS = ("diffusers",)  # folders in these are models in another layout, not shelves
COMFYUI_TOKENIZER = Path("comfy") / "sd1_tokenizer"  # under ComfyUI's folder: its copy of CLIP's vocabulary


def base_folder() -> Path | None:
    """ComfyUI's folder, where this pack lies in its `custom_nodes`."""
    pack = Path(os.path.abspath(__file__)).parents[1]  # not resolved: the pack may be a link in custom_nodes
    base = pack.parents[1]
    return base if pack.parent.name == "custom_nodes" and (base / "models").is_dir() else None


def model_folders(models: Path, key: str) -> list[Path]:
    """The folders of a key, in order: defaults of `extra_model_paths.yaml`, those under `models`, the file's others."""
    own = [models / name for name in FOLDERS.get(key, (key,))]
    extra_file = models.parent / EXTRA_PATHS
    if not extra_file.is_file():
        return own
    extra = _read_extra(extra_file, extra_file.stat().st_mtime_ns)
    first = [folder for folder, is_default in extra.get(key, ()) if is_default]
    others = [folder for folder, is_default in extra.get(key, ()) if not is_default]
    return list(dict.fromkeys([*first, *own, *others]))


def model_files(models: Path, keys: Sequence[str]) -> dict[str, Path]:
    """The files under all of the keys by name, sorted within a key; the first key wins a clash."""
    return first_wins(shelf(model_folders(models, key), deep=key not in FLAT_KEYS) for key in keys)


def shelf(folders: Iterable[Path], deep: bool) -> dict[str, Path]:
    """The model files of one key's folders by name, sorted; the first folder wins a clash.

    The name of a file in a sub-folder has the sub-folder before it, with `/` on every system.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in _files(folder, MODEL_SUFFIXES, deep):
            found.setdefault(path.relative_to(folder).as_posix(), path)
    return {name: found[name] for name in sorted(found, key=str.casefold)}


def first_wins(shelves: Iterable[Mapping[str, Path]]) -> dict[str, Path]:
    """All of the shelves as one; a name stands where it is first found."""
    found: dict[str, Path] = {}
    for files in shelves:
        for name, path in files.items():
            found.setdefault(name, path)
    return found


def pictures(folder: Path) -> list[str]:
    """Names of the picture files that lie directly in a folder."""
    return sorted((path.name for path in _files(folder, PICTURE_SUFFIXES, deep=False)), key=str.casefold)


def inside(root: Path, name: str) -> Path:
    """`root / name`, which must not lead out of `root`, neither by its words nor through a link."""
    if "\0" in name:
        raise core.CascadeError(f"{name!r} is not the name of a file")
    path = Path(os.path.normpath(root / name.replace("\\", "/")))
    if not path.is_relative_to(os.path.normpath(root)):
        raise core.CascadeError(f"{name!r} leads out of {root}: a workflow may only name files inside that folder")
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise core.CascadeError(f"{name!r} is a link that leads out of {root}: put the file itself there")
    return path


def split_annotation(name: str) -> tuple[str, str]:
    """`picture.png [output]` -> ("picture.png", "output"); without an annotation the folder is "input"."""
    for kind in ("input", "output", "temp"):
        if name.endswith(f"[{kind}]"):
            return name[: -len(kind) - 2].rstrip(), kind
    return name, "input"


def _files(folder: Path, suffixes: Iterable[str], deep: bool) -> Iterator[Path]:
    seen: set[str] = set()  # links may lead in circles
    for parent, directories, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen or not deep:
            directories.clear()
        if real not in seen:
            yield from (Path(parent, name) for name in names if name.lower().endswith(tuple(suffixes)))
        seen.add(real)


@lru_cache(maxsize=4)
def _read_extra(file: Path, _changed: int) -> Mapping[str, Sequence[tuple[Path, bool]]]:
    """key -> (folder, is it a default) of every section; `_changed` is the file's time, so that edits are seen."""
    import yaml  # only needed where there is such a file

    try:
        sections: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise core.CascadeError(f"{file} cannot be read: {error}") from error
    found: dict[str, list[tuple[Path, bool]]] = {}
    if not isinstance(sections, dict):
        raise core.CascadeError(f"{file}: expected sections with `key: path` lines, found {sections!r:.60}")
    for name, section in cast(dict[str, Any], sections).items():
        if section is None:
            continue
        if not isinstance(section, dict):
            raise core.CascadeError(f"{file}: the section {name}: expected `key: path` lines, found {section!r:.60}")
        entries = dict(cast(dict[str, Any], section))
        base = file.parent / _expand(entries.pop("base_path", None) or "")
        is_default = bool(entries.pop("is_default", False))
        for key, paths in entries.items():
            for line in filter(None, map(str.strip, str(paths or "").split("\n"))):
                found.setdefault(OLD_KEYS.get(key, key), []).append((base / _expand(line), is_default))
    return found


def _expand(path: object) -> str:
    return os.path.expandvars(os.path.expanduser(str(path)))
