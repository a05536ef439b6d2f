"""The model files of a prompt, and digests that tell each from every other file of its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...cascade_core.errors import CascadeError
from ...cascade_core.reading import digest
from ...runtime import model_folders
from .. import graph, node_classes
from ..native.model_files import ModelFile

ABSENT = "absent"  # in place of the digest of what is not there
SAMPLES, SAMPLE = 64, 64 * 2**10  # pieces of a large file that are read, and bytes of each
BEGINNING = 2**20  # bytes that are read of a large file's beginning, where its header is


def identities(
    prompt: graph.Prompt, needed: Collection[str], nodes: node_classes.Nodes, whole: bool = False
) -> dict[str, str]:
    """A digest by "CLASS: NAME" for each model file that the needed nodes name. whole: of all of the content."""
    found: dict[str, str] = {}
    for node_id in needed:
        class_type, inputs = str(prompt[node_id]["class_type"]), prompt[node_id]["inputs"]
        name = inputs.get(getattr(nodes.classes.get(class_type), "FILE_INPUT", None))
        if isinstance(name, str) and name:
            found[f"{class_type}: {name}"] = identity(f"{class_type}: {name}", nodes, whole)
    return dict(sorted(found.items()))


def identity(label: str, nodes: node_classes.Nodes, whole: bool = False) -> str:
    """The digest of the files that a label of `identities` stands for here."""
    class_type, _, name = label.partition(": ")
    loader: Any = nodes.classes.get(class_type)
    try:
        paths = loader.files_of(name) if issubclass(loader, ModelFile) else [loader.find(name)]
        files = [file for path in paths for file in model_folders.belonging(path)]
        states = [file.stat() for file in files]
        digests = [
            _digest(file, state.st_size, state.st_mtime_ns, whole) for file, state in zip(files, states, strict=True)
        ]
    except (CascadeError, OSError, AttributeError, TypeError):  # nothing of that name
        return ABSENT
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """The names of the models that are not the same files in both."""
    return [label.partition(": ")[2] for label in {**ours, **theirs} if ours.get(label) != theirs.get(label)]


@lru_cache(maxsize=1024)
def _digest(file: Path, size: int, _modified: int, whole: bool) -> str:
    """Of all of a file, or of its size, its header and pieces all through it: no two trainings agree in those."""
    if whole or size <= BEGINNING + SAMPLES * SAMPLE:
        return digest(file)[:16]
    content = hashlib.sha256(f"{size} ".encode())
    with file.open("rb") as opened:
        content.update(opened.read(BEGINNING))
        for index in range(1, SAMPLES + 1):
            opened.seek(BEGINNING + (size - BEGINNING - SAMPLE) * index // SAMPLES, os.SEEK_SET)
            content.update(opened.read(SAMPLE))
    return f"~{content.hexdigest()[:15]}"
