"""What a run tells: nodes as they finish on stderr; written files on stdout, or all of it there as one JSON object."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..headless import graph


class Report:
    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.files: list[str] = []
        self.nodes: dict[str, dict[str, Any]] = {}

    def add(self, done: graph.Done) -> None:
        fields = {"class_type": done.class_type, "title": done.title, "seconds": done.seconds, "cached": done.cached}
        self.nodes[done.node] = fields
        print(f"{done.seconds:8.2f} s  {done.title}{' (cached)' if done.cached else ''}", file=sys.stderr)
        for path in [] if done.cached else _written(done.ui):
            self.add_file(path)

    def add_file(self, path: Path) -> None:
        self.files.append(str(path))
        if not self.as_json:
            print(path, flush=True)

    def close(self, seconds: float) -> None:
        if self.as_json:
            print(json.dumps({"files": self.files, "seconds": seconds, "nodes": self.nodes}), flush=True)


def _written(ui: graph.Ui) -> Iterator[Path]:
    """The files in the output folder that a node shows. Previews are gone when the program ends."""
    from ..runtime import host

    for shown in ui.values():
        for entry in shown:
            if graph.is_object(entry) and entry.get("type") == "output" and "filename" in entry:
                subfolder, name = str(entry.get("subfolder", "")), str(entry["filename"])
                yield host.current().output_directory() / subfolder / name
