"""What an earlier run says of a row: finished, changed since, given up, or still to do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from .. import node_classes
from .failures import MOST_LOSSES
from .manifest import FINISHED, Manifest, Record
from .model_identity import differences, identity
from .output_folder import OutputFolder
from .rows import Row

State = Literal["to do", "skipped", "reused", "changed", "lost"]


@dataclass(slots=True)
class Past:
    """skipped: its files are there; reused: they are there, but were touched; lost: workers died of it."""

    state: State
    record: Record | None = None  # the last one
    message: str = ""


class Resume:
    def __init__(self, manifest: Manifest, folder: OutputFolder, nodes: node_classes.Nodes, workflow: str) -> None:
        """workflow: its digest."""
        self._manifest, self._folder, self._nodes, self._workflow = manifest, folder, nodes, workflow
        self._changes: dict[str, list[str]] = {}  # by a setup's key what of it is not as it was

    def look_up(self, row: Row) -> Past:
        record = self._manifest.last(row.id)
        if record is None or record["state"] not in FINISHED:
            lost = self._manifest.losses(row.id) >= MOST_LOSSES
            return Past("lost" if lost else "to do", record)
        changed = ["its values"] if record.get("row") != row.digest else self._changed(str(record.get("setup")))
        if changed:
            return Past("changed", record, f"{' and '.join(changed)} changed since it was made")
        files = self._folder.look_at(record["files"])
        if files is None:
            return Past("to do", record)
        if files == record["files"]:
            return Past("skipped", record)
        return Past("reused", {**record, "state": "reused", "files": files, "time": round(time.time(), 3)})

    def _changed(self, key: str) -> list[str]:
        if key not in self._changes:
            setup = self._manifest.setups.get(key, {})
            models: dict[str, str] = setup.get("models", {})
            now = {label: identity(label, self._nodes, not digest.startswith("~")) for label, digest in models.items()}
            changes = (
                [] if setup.get("workflow") == self._workflow else ["the workflow or an option (--steps, --set, ...)"]
            )
            self._changes[key] = changes + [f"the model {name}" for name in differences(models, now)]
        return self._changes[key]
