"""The pictures of the output folder, and how each was made."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cascade_core.files import picture_files
from ..headless import graph, node_classes, workflow_file
from ..runtime import host, paths
from . import values
from .tabs import Tab, find, values_of

MOST = 60  # pictures that are shown
DEPTH = 3  # folders into each other that are looked into


@dataclass(frozen=True)
class Origin:
    """The workflow that made a picture; `tab` and `values` are None where no tab has that workflow."""

    document: dict[str, Any]
    tab: Tab | None
    values: Sequence[Any] | None


def latest() -> list[Path]:
    """The pictures of the output folder, the latest first; links that lead out of it are left out."""
    root = host.current().output_directory()
    found: list[tuple[int, Path]] = []
    for folder in _folders(root, DEPTH):
        for name in picture_files.names_in(folder):
            path = folder / name
            if path.is_file() and paths.is_inside(root, path):
                found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)[:MOST]]


def origin(path: Path, tabs: Sequence[Tab], nodes: node_classes.Nodes) -> Origin:
    """The workflow in a picture; WorkflowError where there is none, or one with values that no tab can show."""
    document = workflow_file.read(path)
    prompt = graph.convert(deepcopy(document), graph.definitions(nodes.classes), nodes.names).prompt
    tab = find(tabs, prompt)
    if tab is None:
        return Origin(document, None, None)
    found = values_of(tab, prompt)
    values.changes(tab, found)
    return Origin(document, tab, found)


def caption(path: Path, tabs: Sequence[Tab], nodes: node_classes.Nodes) -> str:
    """The line under a picture: its seed and name; all seeds of a batch, whose pictures do not say which is theirs."""
    try:
        made = origin(path, tabs, nodes)
    except graph.WorkflowError:
        return path.name
    if made.tab is None or made.values is None:
        return path.name
    pairs = list(zip(made.tab.fields, made.values, strict=True))
    seed = next((value for field, value in pairs if field.is_seed), None)
    batch = max((value for field, value in pairs if field.name == "batch_size"), default=1)
    if seed is None:
        return path.name
    return f"seeds {seed} to {seed + batch - 1} · {path.name}" if batch > 1 else f"seed {seed} · {path.name}"


def _folders(root: Path, depth: int) -> list[Path]:
    if not root.is_dir():
        return []
    inner = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()] if depth else []
    return [root, *(found for folder in inner for found in _folders(folder, depth - 1))]
