"""A worker: keeps the models of a workflow and runs one row after another, each into a folder of its own.

What it answers is plain JSON, wherever it runs. It writes in the staging folder alone; the driver publishes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...runtime import host
from ...runtime.environment import pack_version
from .. import built_in, graph, node_classes, requirements, set_values
from ..native.saving import PreviewImage
from ..run import configure, perform
from .crew import Answer
from .failures import BAD_ROW, OUT_OF_MEMORY, of_error, of_problems
from .job import TOKEN, Job
from .model_identity import identities

MOST_WARNINGS = 3  # of a row that are kept


class _Refused(Exception):
    """A row that cannot run: its kind, and why."""

    def __init__(self, kind: str, *messages: str) -> None:
        super().__init__(" ".join(messages))
        self.kind = kind


class Worker:
    """Raises WorkflowError and CascadeError for a job that no row can be run of."""

    def __init__(self, job: Job, name: str) -> None:
        """name: a folder of its own in the staging folder."""
        import torch

        os.chdir(job.folder)
        torch.set_num_threads(job.threads)
        folders = {key: Path(path) for key in ("input", "models") if (path := getattr(job, key)) is not None}
        self.host = configure(argparse.Namespace(**folders, device=job.device))
        host.configure(audience=self, compile=job.compile)
        self.device = str(self.host.device())  # refuses one that is not there
        self.job, self.nodes = job, node_classes.load()
        self._definitions = self.nodes.definitions()
        workflow = job.workflow()
        self._typed = set_values.apply(workflow, job.assignments, self._definitions, draws=False)
        self._base = replace(job, prompt=workflow.prompt, editor=workflow.editor)
        self._kept = self._temporary_files()
        self._cache = graph.Cache()
        self._warnings: list[str] = []
        token = Path(job.staging) / TOKEN
        self.is_shared = token.is_file() and token.read_text(encoding="utf-8") == job.token
        self._staging = (Path(job.staging) if self.is_shared else self.host.temporary_directory() / "rows") / name
        self._kept.add(self._staging.parent)
        self._folders: list[Path] = []  # of rows before, until the driver has taken what lies there

    def describe(self) -> Answer:
        """What the driver asks before the first row: the same models, the same versions?"""
        return {
            "models": identities(self._base.prompt, self._base.prompt.keys(), self.nodes, self.job.whole),
            "versions": self.versions(),
            "shared": self.is_shared,
            "place": f"{socket.gethostname()} {os.getpid()}",
        }

    def versions(self) -> dict[str, str]:
        import torch

        return {
            "cascade": pack_version(),
            "torch": torch.__version__,
            "device": self.device,
            "threads": str(torch.get_num_threads()),  # in which sums are parted, and so their last bits
        }

    def run(self, row_id: str, values: Mapping[str, str], attempt: str) -> Answer:
        """Run a row. attempt: a name for the folder that its files are laid in. KeyboardInterrupt passes through."""
        started = time.perf_counter()
        folder = self._staging / attempt
        answer: Answer = {"id": row_id, "state": "failed", "folder": str(folder), "models": {}, "seed": {}}
        self._warnings = []
        self._folders = [old for old in self._folders if not _remove_empty(old)] + [folder]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            host.configure(output=folder)
            checked, editor = self._prepare(values)
            answer["models"] = identities(checked.prompt, checked.needed, self.nodes, self.job.whole)
            answer["seed"] = self._seeds(checked)
            self._perform(checked, editor, {"id": row_id, "values": values})
            answer |= {"state": "done", "files": _seal(folder)}
        except Exception as error:  # whatever a node stumbles over: one row must not end all others
            known = isinstance(error, _Refused)
            kind, message = (error.kind, str(error)) if known else of_error(error, self.nodes, folder)
            answer["error"] = {"kind": kind, "message": message[:2000]}
            shutil.rmtree(folder, ignore_errors=True)
            if kind == OUT_OF_MEMORY:
                self._cache = graph.Cache()
        finally:
            for path in self._temporary_files() - self._kept:
                path.unlink(missing_ok=True) if not path.is_dir() else shutil.rmtree(path, ignore_errors=True)
        answer["seconds"] = round(time.perf_counter() - started, 4)
        return answer | ({"warnings": self._warnings} if self._warnings else {})

    def _prepare(self, values: Mapping[str, str]) -> tuple[graph.Validation, dict[str, Any] | None]:
        workflow = self._base.workflow()
        try:
            assignments = [f"{target}={text}" for target, text in values.items()]
            typed = set_values.apply(workflow, assignments, self._definitions, draws=False)
            if self.job.built_in:
                built_in.apply(workflow, self._definitions, typed | self._typed)
        except graph.WorkflowError as error:
            raise _Refused(BAD_ROW, *(message.removeprefix("--set ") for message in error.messages)) from error
        checked = graph.validate(workflow.prompt, self.nodes.classes)
        kept = [key for key in checked.outputs if checked.prompt[key]["class_type"] != PreviewImage.__name__]
        checked = replace(checked, outputs=tuple(kept))
        problems = checked.problems or requirements.unusable(checked, self.nodes)
        if problems:
            raise _Refused(of_problems(problems, self.nodes), *(problem.message for problem in problems))
        return checked, workflow.editor

    def _perform(self, checked: graph.Validation, editor: dict[str, Any] | None, row: Mapping[str, Any]) -> None:
        problems: list[str] = []
        perform(
            checked,
            editor,
            self.nodes,
            finished=lambda done: None,
            refused=lambda problem: problems.append(problem.message),
            cache=self._cache,
            row=row,
        )
        if problems:
            raise _Refused(BAD_ROW, *problems)

    def _seeds(self, checked: graph.Validation) -> dict[str, int]:
        """The seeds by the titles of their nodes."""
        names = graph.names_of(checked.prompt)
        found: dict[str, int] = {}
        for node_id in checked.prompt:
            if node_id in checked.needed:
                node = checked.prompt[node_id]
                for entry in self._definitions[node["class_type"]].inputs.values():
                    value = node["inputs"].get(entry.name)
                    if entry.type == "INT" and entry.has_control and isinstance(value, int):
                        found[names[node_id]] = value
        return found

    def _temporary_files(self) -> set[Path]:
        return {*self.host.temporary_directory().iterdir(), *self.host.temporary_directory().glob("typed/*")}

    def advance(self, label: str, done: int, total: int, preview: host.Preview | None) -> None:
        """As the host's audience: steps of a row are nobody's concern."""

    def warn(self, node: str, message: str) -> None:
        if len(self._warnings) < MOST_WARNINGS:
            self._warnings.append(f"{node}: {message}")


def _remove_empty(folder: Path) -> bool:
    """Whether a folder was empty, sub-folders aside, and is gone."""
    if any(path.is_file() for path in folder.rglob("*")):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _seal(folder: Path) -> Sequence[dict[str, Any]]:
    """The files in a folder, on the disk for good, in the order of their names."""
    found: list[dict[str, Any]] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb+") as file:
            content = file.read()
            os.fsync(file.fileno())
        digest = hashlib.sha256(content).hexdigest()
        found.append({"name": path.relative_to(folder).as_posix(), "size": len(content), "sha256": digest})
    if not found:
        raise _Refused(BAD_ROW, "it writes no file: the workflow needs a node such as Save Image")
    return found
