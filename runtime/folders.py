"""Where models and pictures lie on disk when ComfyUI is not there to say so.

The same folder keys, `extra_model_paths.yaml` and annotated picture names as in ComfyUI, on the standard library alone
(and PyYAML where there is such a file). A name that comes out of a workflow never leads out of its folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from ..cascade_core.errors import CascadeError
from . import model_folders as shelves

EXTRA_PATHS = "extra_model_paths.yaml"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
FOLDERS = {
    "diffusion_models": ("unet", "diffusion_models"),
    "text_encoders": ("text_encoders", "clip"),
    "controlnet": ("controlnet", "t2i_adapter"),
}  # keys that have other folders than the one of their own name
OLD_KEYS = {"unet": "diffusion_models", "clip": "text_encoders", "t2i_adapter": "controlnet"}
DIFFUSERS = "diffusers"  # the key whose sub-folders are models
TOKENIZER = "tokenizer"  # in a folder of text encoders: CLIP's vocabulary for all of them
COMFYUI_TOKENIZER = Path("comfy") / "sd1_tokenizer"  # under ComfyUI's folder: its copy of CLIP's vocabulary


def base_folder() -> Path | None:
    """ComfyUI's folder, where this pack lies in its `custom_nodes`."""
    pack = Path(os.path.abspath(__file__)).parents[1]  # not resolved: the pack may be a link in custom_nodes
    base = pack.parents[1]
    return base if pack.parent.name == "custom_nodes" and (base / "models").is_dir() else None


def model_folders(models: Path, key: str) -> list[Path]:
    """The folders of a key in the order in which they are searched: those under `models`, and what
    `extra_model_paths.yaml` adds, its defaults in front."""
    found = [models / name for name in FOLDERS.get(key, (key,))]
    extra_file = models.parent / EXTRA_PATHS
    if extra_file.is_file():
        for folder, is_default in _read_extra(extra_file, extra_file.stat().st_mtime_ns).get(key, ()):
            if is_default:
                found = [folder, *(other for other in found if other != folder)]
            elif folder not in found:
                found.append(folder)
    return found


def model_files(models: Path, keys: Sequence[str]) -> dict[str, Path]:
    """The models under all of the keys by name, in order within a key; the first key wins a clash."""
    read = {DIFFUSERS: shelves.models}
    return shelves.first_wins(read.get(key, shelves.files)(model_folders(models, key)) for key in keys)


def pictures(folder: Path) -> list[str]:
    """Names of the picture files that lie directly in a folder."""
    names = os.listdir(folder) if folder.is_dir() else []
    found = (name for name in names if name.lower().endswith(PICTURE_SUFFIXES) and not (folder / name).is_dir())
    return sorted(found, key=str.casefold)


def inside(root: Path, name: str) -> Path:
    """`root / name`, which must not lead out of `root`, neither by its words nor through a link."""
    if "\0" in name:
        raise CascadeError(f"{name!r} is not the name of a file")
    path = Path(os.path.normpath(root / name.replace("\\", "/")))
    if not path.is_relative_to(os.path.normpath(root)):
        raise CascadeError(f"{name!r:.200} leads out of {root}: a workflow may only name files inside that folder")
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise CascadeError(f"{name!r:.200} is a link that leads out of {root}: put the file itself there")
    return path


def split_annotation(name: str) -> tuple[str, str]:
    """`picture.png [output]` -> ("picture.png", "output"); without an annotation the folder is "input"."""
    for kind in ("input", "output", "temp"):
        if name.endswith(f"[{kind}]"):
            return name[: -len(kind) - 2].rstrip(), kind
    return name, "input"


@lru_cache(maxsize=4)
def _read_extra(file: Path, _changed: int) -> Mapping[str, Sequence[tuple[Path, bool]]]:
    """key -> (folder, is it a default) of every section; `_changed` is the file's time, so that edits are seen."""
    import yaml  # only needed where there is such a file

    try:
        sections: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CascadeError(f"{file} cannot be read: {error}") from error
    found: dict[str, list[tuple[Path, bool]]] = {}
    if not isinstance(sections, dict):
        raise CascadeError(f"{file}: expected sections with `key: path` lines, found {sections!r:.60}")
    for name, section in cast(dict[str, Any], sections).items():
        if section is None:
            continue
        if not isinstance(section, dict):
            raise CascadeError(f"{file}: the section {name}: expected `key: path` lines, found {section!r:.60}")
        entries = dict(cast(dict[str, Any], section))
        base = file.parent / _expand(entries.pop("base_path", None) or "")
        is_default = bool(entries.pop("is_default", False))
        for key, paths in entries.items():
            for line in filter(None, map(str.strip, str(paths or "").split("\n"))):
                found.setdefault(OLD_KEYS.get(key, key), []).append(
                    (Path(os.path.normpath(base / _expand(line))), is_default)
                )
    return found


def _expand(path: object) -> str:
    return os.path.expandvars(os.path.expanduser(str(path)))
