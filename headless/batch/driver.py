"""The driver of a batch: rows are the units; it publishes what workers made, and records each attempt.

It alone writes the manifest and the pictures' names, so that a worker which it has given up does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .. import node_classes
from .crew import Answer, Crew
from .failures import BAD_ROW, LOST_WORKER
from .job import Job
from .leases import Event, Hired, Leases, Rules, Unit
from .manifest import FINISHED, Manifest, Record
from .model_identity import differences, identity
from .output_folder import OutputFolder
from .resume import Past, Resume
from .rows import Row


@dataclass
class Task(Unit):
    """A row to run, where it was read, and its last record of an earlier run."""

    digest: str = ""
    place: str = ""
    before: Record | None = None


class Driver(Leases[Task]):
    """`counts` has rows by what became of them: a record's state, or `skipped`, which were finished, or `changed`.

    `warned` is how many of those done had warnings, and `warning` the first of these, behind its row's id.
    """

    def __init__(
        self,
        job: Job,
        folder: OutputFolder,
        manifest: Manifest,
        crew: Crew,
        nodes: node_classes.Nodes,
        rules: Rules,
    ) -> None:
        super().__init__(folder.root, crew, rules)
        self.job, self.folder, self.manifest, self.nodes = job, folder, manifest, nodes
        self._rows: Iterator[Row] = iter(())
        self._begun = self.warned = 0
        self.warning = ""
        self._workflow = job.workflow_digest
        self._resume = Resume(manifest, folder, nodes, self._workflow)

    def run(self, rows: Iterable[Row]) -> Iterator[Event]:
        """Each event when its record is on the disk. Raises BatchError, WorkflowError."""
        self._rows = iter(rows)
        yield from self.work()

    def _write(self) -> None:
        self.manifest.commit()

    # Which row is next

    @property
    def is_at_limit(self) -> bool:
        return self.rules.limit is not None and self._begun >= self.rules.limit

    def _begin(self) -> Task | None:
        while not self.is_at_limit:
            row = next(self._rows, None)
            if row is None:
                break
            if row.problem is not None:
                self._refuse(row, self.manifest.last(row.id))
            elif (past := self._resume.look_up(row)) and self._is_to_run(row, past):
                self._begun += 1
                asks = {"row_id": row.id, "values": dict(row.values)}
                return Task(row.id, asks, digest=row.digest, place=row.place, before=past.record)
        return None

    def _is_to_run(self, row: Row, past: Past) -> bool:
        redone = {"changed": self.rules.redo_changed, "lost": self.rules.redo_lost}
        if past.state == "to do" or redone.get(past.state, False):
            return True
        if past.state == "lost":
            self._count_failure("failed", LOST_WORKER)
            return False
        if past.state == "changed":
            self._events.append(Event("changed", row.id, message=past.message))
        elif past.state == "reused" and past.record is not None:
            self.manifest.add(past.record)
        self.counts[past.state] += 1
        return False

    def _refuse(self, row: Row, record: Record | None) -> None:
        error = {"kind": BAD_ROW, "message": f"{row.place}: {row.problem}"}
        self._count_failure("refused", BAD_ROW)
        self._events.append(Event("refused", row.id, BAD_ROW, error["message"]))
        if record is None or record.get("error") != error:  # not once more at each run
            now = round(time.time(), 3)
            self.manifest.add({"id": row.id, "state": "refused", "row": row.digest, "time": now, "error": error})

    # What came of a row

    def _differs(self, hired: Hired[Task], models: Mapping[str, str]) -> str:
        if models == hired.proven:
            return ""
        ours = {label: identity(label, self.nodes, self.job.whole) for label in models}
        different = differences(ours, models)
        if different:
            return f"its files of {' and '.join(different)} are not those of the driver: give both the same"
        hired.proven = models
        return ""

    def _finish(self, name: str, hired: Hired[Task], unit: Task, answer: Answer) -> None:
        folder = self.folder.staging / name / answer["folder"].replace("\\", "/").rpartition("/")[2]
        if "contents" in answer:
            contents = zip(answer["files"], answer["contents"], strict=True)
            self.folder.receive(folder.relative_to(self.folder.staging).as_posix(), list(contents))
        before = unit.before["files"] if unit.before and unit.before["state"] in FINISHED else ()
        files = self.folder.publish(unit.id, folder, answer["files"], before)
        setup = {"workflow": self._workflow, "models": answer["models"], "versions": hired.device}
        record = self._record(hired, unit, answer) | {"state": "done", "setup": self.manifest.setup(setup)}
        self.manifest.add(record | {"files": files, "seed": answer["seed"]})
        self.counts["done"] += 1
        if warnings := answer.get("warnings"):
            self.warned += 1
            self.warning = self.warning or f"{unit.id}: {warnings[0]}"
        self._events.append(Event("done", unit.id, files=tuple(file["name"] for file in files)))

    def _note_failure(self, hired: Hired[Task], unit: Task, answer: Answer, kind: str, message: str) -> int:
        record = self._record(hired, unit, answer)
        record |= {"place": unit.place} if kind == BAD_ROW and unit.place else {}
        self.manifest.add(record | {"state": "failed", "error": {"kind": kind, "message": message}})
        return self.manifest.losses(unit.id)

    def _give_up(self, unit: Task, kind: str, message: str) -> None:
        place = f"{unit.place}: " if kind == BAD_ROW and unit.place else ""
        super()._give_up(unit, kind, f"{place}{message}")

    def _record(self, hired: Hired[Task], unit: Task, answer: Answer) -> Record:
        record: Record = {"id": unit.id, "state": "", "row": unit.digest, "attempt": unit.attempt}
        record |= {"time": round(time.time(), 3), "seconds": answer["seconds"], "worker": hired.place}
        return record | ({"warnings": answer["warnings"]} if "warnings" in answer else {})
