"""The driver: gives rows to workers, publishes what they made, and records each attempt.

A worker holds a row by a lease: one that ends gives its rows back, and the first of them counts as what it died of.
The driver alone writes the manifest and the pictures' names, so that a worker which it has given up does no harm.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import graph, node_classes
from .crew import Crew
from .failures import BAD_ROW, LOST_WORKER, MISSING_MODEL, RETRIED, STORAGE
from .job import Job
from .manifest import FINISHED, Manifest, Record
from .model_identity import differences, identity
from .output_folder import OutputFolder
from .resume import MOST_LOSSES, Past, Resume
from .rows import Row
from .worker import Answer

MOST_UNWRITTEN = 3  # rows in succession that the output folder may refuse
MOST_EARLY = 3  # workers in succession that may end before they begin
SHORT = 1.0  # seconds; where rows take less, a second one waits at each worker
TOGETHER = 0.1  # seconds of which the records are written at once
PAUSE = 0.5  # seconds at most between two looks at who takes too long


class BatchError(Exception):
    """Why a batch cannot go on; what is finished stays finished."""


@dataclass(frozen=True)
class Rules:
    workers: int = 1
    retries: int = 2  # further attempts at a row that failed by chance
    limit: int | None = None  # rows that are run at most
    timeout: float | None = None  # seconds that a row may take, then its worker is ended
    redo_changed: bool = False
    redo_lost: bool = False


@dataclass(frozen=True)
class Event:
    """What happened to a row: `state` as in its record, or `again` where it will be tried again, or `changed`."""

    state: str
    id: str
    kind: str = ""
    message: str = ""
    files: tuple[str, ...] = ()


@dataclass
class _Task:
    row: Row
    before: Record | None  # its last record, of an earlier run
    attempt: int = 0


@dataclass
class _Hired:
    place: str = ""  # where it is; nothing before it is ready
    device: Mapping[str, str] = field(default_factory=dict)
    lease: deque[_Task] = field(default_factory=deque)
    since: float = 0.0  # when the first row of the lease was begun
    proven: Mapping[str, str] | None = None  # its model files, found to be ours


class Driver:
    """`counts` has rows by what became of them: a record's state, or `skipped`, which were finished, or `changed`."""

    def __init__(
        self,
        job: Job,
        folder: OutputFolder,
        manifest: Manifest,
        crew: Crew,
        nodes: node_classes.Nodes,
        rules: Rules = Rules(),
    ) -> None:
        self.job, self.folder, self.manifest = job, folder, manifest
        self.crew, self.nodes, self.rules = crew, nodes, rules
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()  # of failures that stand
        self.stopping = False
        self._rows: Iterator[Row] = iter(())
        self._ahead: _Task | None = None
        self._again: deque[_Task] = deque()
        self._begun = self._given = 0  # rows, and attempts at them
        self._hired: dict[str, _Hired] = {}
        self._number = 0
        self._early = self._unwritten = 0
        self._seconds = SHORT
        self._events: list[Event] = []
        self._workflow = job.workflow_digest
        self._resume = Resume(manifest, folder, nodes, self._workflow)

    def stop(self) -> None:
        """Give no more rows to workers; those that run end."""
        self.stopping = True

    def run(self, rows: Iterable[Row]) -> Iterator[Event]:
        """Each event when its record is on the disk. Raises BatchError, WorkflowError."""
        self._rows = iter(rows)
        self._ahead = self._next()
        committed = time.monotonic()
        try:
            for _ in range(self.rules.workers if self._ahead is not None else 0):
                self._hire()
            while self._hired:
                self._give()
                if not self._is_busy():
                    break
                for worker, answer in self.crew.wait(PAUSE):
                    self._hear(worker, answer)
                self._end_overdue()
                if time.monotonic() - committed > TOGETHER:
                    self._commit()
                    committed = time.monotonic()
                    yield from self._drain()
        finally:
            try:
                self._commit()
            finally:
                self.crew.close()
        yield from self._drain()

    def _commit(self) -> None:
        try:
            self.manifest.commit()
        except OSError as error:
            raise BatchError(f"{self.folder.root} cannot be written: {error.strerror or error}") from error

    def _drain(self) -> Iterator[Event]:
        events, self._events = self._events, []
        yield from events

    def _is_busy(self) -> bool:
        """Whether a row runs, or one waits for workers that are still to come."""
        return any(hired.lease for hired in self._hired.values()) or (self._ahead is not None and not self.stopping)

    # Which row is next

    def _next(self) -> _Task | None:
        if self._again:
            return self._again.popleft()
        while self.rules.limit is None or self._begun < self.rules.limit:
            row = next(self._rows, None)
            if row is None:
                break
            if row.problem is not None:
                self._refuse(row, self.manifest.last(row.id))
            elif (past := self._resume.look_up(row)) and self._is_to_run(row, past):
                self._begun += 1
                return _Task(row, past.record)
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

    # Workers and leases

    def _hire(self) -> None:
        self._number += 1
        name = f"w{self._number}"
        self._hired[name] = _Hired()
        self.crew.start(name)

    def _give(self) -> None:
        self._refill()
        room = 2 if self._seconds < SHORT else 1
        for name, hired in self._hired.items():
            while hired.place and len(hired.lease) < room and self._ahead is not None and not self.stopping:
                task, self._ahead = self._ahead, None
                task.attempt += 1
                if not hired.lease:
                    hired.since = time.monotonic()
                hired.lease.append(task)
                self._given += 1
                attempt = str(self._given)  # the folder of its files
                self.crew.give(name, {"row_id": task.row.id, "values": dict(task.row.values), "attempt": attempt})
                self._refill()

    def _refill(self) -> None:
        if self._ahead is None and not self.stopping:
            self._ahead = self._next()

    def _hear(self, name: str, answer: Answer | None) -> None:
        hired = self._hired.get(name)
        if hired is None:  # it was sent away
            return
        if answer is None:
            self._lose(name, "the worker ended")
        elif "refused" in answer:
            self._dismiss(name, str(answer["refused"]))
        elif not hired.place:
            self._early = 0
            hired.device = answer["versions"]
            if why := self._differs(hired, answer["models"]):
                self._dismiss(name, f"{answer['place']}: {why}")
                return
            hired.place = str(answer["place"])
        else:
            task = hired.lease.popleft()
            hired.since = time.monotonic()
            self._take(name, hired, task, answer)

    def _differs(self, hired: _Hired, models: Mapping[str, str]) -> str:
        """Why a worker's model files are not those that are here; nothing where they are."""
        if models == hired.proven:
            return ""
        ours = {label: identity(label, self.nodes, self.job.whole) for label in models}
        different = differences(ours, models)
        if different:
            return f"its files of {' and '.join(different)} are not those of the driver: give both the same"
        hired.proven = models
        return ""

    def _lose(self, name: str, why: str) -> None:
        """A worker is gone: its first row counts a loss, the others are as they were."""
        hired = self._hired.pop(name)
        self.crew.stop(name)
        if not hired.place:
            self._early += 1
            if self._early >= MOST_EARLY:
                raise BatchError("workers end before they begin: what they said stands above")
        if hired.lease:
            task = hired.lease.popleft()
            self._fail(hired, task, {"seconds": round(time.monotonic() - hired.since, 4)}, LOST_WORKER, why)
        for task in reversed(hired.lease):
            task.attempt -= 1
            self._again.appendleft(task)
        if not self.stopping:
            self._hire()

    def _dismiss(self, name: str, why: str) -> None:
        """A worker that must not work; where it was the last, nothing can."""
        hired = self._hired.pop(name)
        self.crew.stop(name)
        self._again.extendleft(reversed(hired.lease))
        self._events.append(Event("dismissed", name, message=why))
        if not self._hired:
            raise graph.WorkflowError(why)

    def _end_overdue(self) -> None:
        limit = self.rules.timeout
        for name, hired in list(self._hired.items()):
            if limit is not None and hired.lease and time.monotonic() - hired.since > limit:
                self._lose(name, f"the row took more than {limit:g} seconds")

    # What came of a row

    def _take(self, name: str, hired: _Hired, task: _Task, answer: Answer) -> None:
        self._seconds += 0.2 * (answer["seconds"] - self._seconds)
        error = answer.get("error")
        if error is None and (why := self._differs(hired, answer["models"])):
            error = {"kind": MISSING_MODEL, "message": f"{hired.place}: {why}"}
        if error is None:
            try:
                self._finish(name, hired, task, answer)
                return
            except OSError as failure:
                error = {"kind": STORAGE, "message": str(failure)}
        self._fail(hired, task, answer, error["kind"], error["message"])

    def _finish(self, name: str, hired: _Hired, task: _Task, answer: Answer) -> None:
        folder = self.folder.staging / name / answer["folder"].replace("\\", "/").rpartition("/")[2]
        if "contents" in answer:
            contents = zip(answer["files"], answer["contents"], strict=True)
            self.folder.receive(folder.relative_to(self.folder.staging).as_posix(), list(contents))
        before = task.before["files"] if task.before and task.before["state"] in FINISHED else ()
        files = self.folder.publish(task.row.id, folder, answer["files"], before)
        self._unwritten = 0
        setup = {"workflow": self._workflow, "models": answer["models"], "versions": hired.device}
        record = self._record(hired, task, answer) | {"state": "done", "setup": self.manifest.setup(setup)}
        self.manifest.add(record | {"files": files, "seed": answer["seed"]})
        self.counts["done"] += 1
        self._events.append(Event("done", task.row.id, files=tuple(file["name"] for file in files)))

    def _fail(self, hired: _Hired, task: _Task, answer: Mapping[str, Any], kind: str, message: str) -> None:
        record = self._record(hired, task, answer)
        self.manifest.add(record | {"state": "failed", "error": {"kind": kind, "message": message}})
        lost = kind == LOST_WORKER and self.manifest.losses(task.row.id) < MOST_LOSSES
        if lost or (kind in RETRIED and task.attempt <= self.rules.retries):
            self._again.append(task)
            self._events.append(Event("again", task.row.id, kind, message))
            return
        self._count_failure("failed", kind)
        self._events.append(Event("failed", task.row.id, kind, message))
        if kind == STORAGE:
            self._unwritten += 1
            if self._unwritten >= MOST_UNWRITTEN:
                raise BatchError(f"{self.folder.root} cannot be written: {message}")

    def _record(self, hired: _Hired, task: _Task, answer: Mapping[str, Any]) -> Record:
        record: Record = {"id": task.row.id, "state": "", "row": task.row.digest, "attempt": task.attempt}
        record |= {"time": round(time.time(), 3), "seconds": answer["seconds"], "worker": hired.place}
        return record | ({"warnings": answer["warnings"]} if "warnings" in answer else {})

    def _count_failure(self, state: str, kind: str) -> None:
        self.counts[state] += 1
        self.kinds[kind] += 1
