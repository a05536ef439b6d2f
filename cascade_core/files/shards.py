"""Weights that lie in several files: shards of one set, a component's folder, a pipeline's folder of components."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..errors import CascadeError
from ..kinds import KINDS
from ..reading import read_json as read_values
from ..wording import first_of, printable
from .wording import damaged, no_weights

SAFETENSORS = (".safetensors", ".sft")
SUFFIXES = (*SAFETENSORS, ".ckpt", ".pt", ".pth", ".bin")  # files of weights; the first that is there wins
VARIANTS = ("", "bf16", "fp16")  # a component's variants, best first; others come after these, by name
SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.)")
INDEX = re.compile(r".+\.index(\.[\w-]+)*\.json")
COMPONENT_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
PIPELINE_FILE, CONFIG_FILE = "model_index.json", "config.json"
OURS = "StableCascade"  # how the class of a pipeline of ours begins


def siblings(path: Path) -> Sequence[Path]:
    """All shards of the set that `path` is one of, or `path` alone; a missing one is named in a CascadeError."""
    found = SHARD.search(path.name)
    if not found:
        return (path,)
    before, after, total = path.name[: found.start()], path.name[found.end() :], found[2]
    names = [f"{before}-{number:05}-of-{total}{after}" for number in range(1, int(total) + 1)]
    if path.name not in names:
        raise CascadeError(
            f"{path.name} is called part {int(found[1])} of a set of {int(total)} files: give it its name"
        )
    return _complete(path, names)


def listed_in(index: Path) -> tuple[Sequence[Path], Mapping[str, str]]:
    """The files that an index JSON names, and in which of them each tensor should lie."""
    wanted = read_json(index).get("weight_map")
    if not isinstance(wanted, dict) or not wanted:
        raise CascadeError(no_weights(index.name, "a JSON text", "choose the weights, or the index of a set of them"))
    places = {str(name): str(file) for name, file in cast(dict[Any, Any], wanted).items()}
    for file in places.values():
        if Path(file).name != file:
            raise CascadeError(
                f"{index.name} names {printable(file)}, which does not lie beside it: download the set again"
            )
    return _complete(index, sorted(set(places.values()))), places


def component_weights(folder: Path) -> Sequence[Path]:
    """The files with the weights of a component's folder.

    Of several variants the plain one wins, as in diffusers; then bf16, fp16, and others by name; .safetensors before
    .bin. Whoever wants another variant chooses its file.
    """
    files = _weights_in(folder)
    usual = [path for path in files if _stem(path.name) in COMPONENT_STEMS]
    if usual:
        return siblings(min(usual, key=_rank))
    sets = {tuple(siblings(path)) for path in files}
    if len(sets) == 1:
        return sets.pop()
    if not sets:
        raise CascadeError(
            f"{folder.name} is a folder without weights: expected {CONFIG_FILE} and a .safetensors file, or a pipeline"
            f" with {PIPELINE_FILE}; choose another folder, or download it again"
        )
    raise CascadeError(
        f"{folder.name} is a folder of {len(sets)} models ({first_of([file.name for file in files])}): choose one"
    )


def components(folder: Path) -> Sequence[Path]:
    """The components' folders of a pipeline's folder; none if it is none. CascadeError for another model's pipeline."""
    index = folder / PIPELINE_FILE
    names = [kind.diffusers_folder for kind in KINDS.values() if kind.diffusers_folder]
    if index.exists():
        entries = read_json(index)
        pipeline = str(entries.get("_class_name", ""))
        if not pipeline.startswith(OURS):
            from .other_models import OtherModel

            raise OtherModel(
                f"{folder.name} is a folder of another model ({printable(pipeline) or 'unnamed'}): expected a"
                " pipeline or a component of Stable Cascade in diffusers' layout"
            )
        names = [name for name, value in entries.items() if isinstance(value, list)]
    elif (folder / CONFIG_FILE).is_file():
        return ()
    return [folder / name for name in names if _weights_in(folder / name)]


def component_config(path: Path) -> Mapping[str, Any] | None:
    """config.json of a component's folder, or beside a file that is called as the weights of a component are."""
    if path.is_dir():
        file = path / CONFIG_FILE
    elif _stem(path.name) in COMPONENT_STEMS:
        file = path.parent / CONFIG_FILE
    else:
        return None
    return read_json(file) if file.exists() else None


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object; CascadeError for anything else."""
    try:
        found = read_values(path)
    except OSError as error:
        raise CascadeError(f"{path.name} cannot be read ({error.strerror}): {path}") from error
    except ValueError as error:
        raise CascadeError(damaged(path.name, "expected JSON")) from error
    if not isinstance(found, dict):
        raise CascadeError(damaged(path.name, "expected a JSON object"))
    return cast(dict[str, Any], found)


def _weights_in(folder: Path) -> Sequence[Path]:
    """Files that are called as weights are; none where there is no such folder."""
    if not folder.is_dir():
        return ()
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except OSError as error:
        raise CascadeError(f"{folder.name} cannot be read ({error.strerror}): {folder}") from error


def _stem(name: str) -> str:
    """The name without the variant, the suffix and the number of a shard."""
    return SHARD.sub("", name).partition(".")[0]


def _rank(path: Path) -> tuple[int, int, str]:
    """The order of a component's variants, best first."""
    variant = SHARD.sub("", path.name).removesuffix(path.suffix).partition(".")[2]
    place = VARIANTS.index(variant) if variant in VARIANTS else len(VARIANTS)
    return SUFFIXES.index(path.suffix), place, path.name


def _complete(path: Path, names: Sequence[str]) -> Sequence[Path]:
    files = [path.parent / name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CascadeError(
            f"{path.name} belongs to a set of {len(names)} files, of which {len(missing)} lie not beside it"
            f" ({first_of(missing)}): download all of them into one folder"
        )
    return files
