"""The folder of a batch: the manifest, the pictures under their rows' ids, and a place where workers lay their files.

A picture appears under its name by a rename, when all of its row is there. Whatever lies here was made by a batch, so
an attempt may replace what an earlier one left.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...cascade_core.files import locks
from ...cascade_core.reading import digest
from ...runtime import paths
from .. import graph
from . import manifest
from .job import TOKEN

STAGING = ".work"  # the folder in which workers write

File = dict[str, Any]  # of a record: name, size, sha256, modified


class OutputFolder:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._inside = f"{root}/"
        self.token = uuid.uuid4().hex
        self.staging = root / STAGING / self.token[:8]

    def make(self) -> None:
        """Have the folder. Raises CascadeError for one that cannot be written, WorkflowError for one with other things.

        They might have a picture's name.
        """
        paths.expect_writable(self.root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise graph.WorkflowError(f"--output {self.root} cannot be made: {error.strerror or error}") from error
        if (self.root / manifest.NAME).exists():
            return  # and is not listed: it may have a million names
        others = [name for name in os.listdir(self.root) if name not in (locks.NAME, STAGING)]
        if others:
            raise graph.WorkflowError(
                f"--output: expected a new or an empty folder, or one of an earlier `cascade batch`, found {self.root}"
                f" with {graph.list_choices(others, most=3)}"
            )

    def clear_staging(self) -> None:
        """A new place for the workers; what a driver that was killed left is removed. Needs the lock."""
        self.remove_staging()
        self.staging.mkdir(parents=True)
        (self.staging / TOKEN).write_text(self.token, encoding="utf-8")

    def remove_staging(self) -> None:
        shutil.rmtree(self.root / STAGING, ignore_errors=True)

    def receive(self, name: str, files: Sequence[tuple[File, bytes]]) -> Path:
        """Lay files here that a worker without this disk handed over. Raises OSError."""
        folder = self.staging / name
        for file, content in files:
            if hashlib.sha256(content).hexdigest() != file["sha256"]:
                raise OSError(f"{file['name']} arrived damaged")
            path = paths.inside(folder, file["name"])
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
        return folder

    def publish(self, row_id: str, folder: Path, files: Sequence[File], before: Sequence[File]) -> list[File]:
        """Give a row's files their names. before: those of its last record, which go where none takes their place.

        The names need not be on the disk for good: a run that goes on looks whether each file is there.
        """
        published: list[File] = []
        for index, file in enumerate(files):
            name = f"{row_id}{f'@{index + 1}' if index else ''}{Path(file['name']).suffix}"
            target = paths.inside(self.root, name)
            if "/" in name:
                target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder / file["name"], target)
            published.append({**file, "name": name, "modified": target.stat().st_mtime_ns})
        for name in {file["name"] for file in before} - {file["name"] for file in published}:
            paths.inside(self.root, name).unlink(missing_ok=True)
        return published

    def look_at(self, files: Sequence[File]) -> list[File] | None:
        """Recorded files as they are now; None where one is not there or has another content.

        A file of the same size and time is the same; of another time its content decides.
        """
        found: list[File] = []
        for file in files:
            try:
                state = os.stat(self._inside + file["name"])
                if state.st_size != file["size"]:
                    return None
                if state.st_mtime_ns == file["modified"]:
                    found.append(file)
                elif digest(self.root / file["name"]) == file["sha256"]:
                    found.append({**file, "modified": state.st_mtime_ns})
                else:
                    return None
            except OSError:
                return None
        return found
