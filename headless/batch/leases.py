"""Leases: units of work are given to workers until each is done or given up.

A worker holds a unit by a lease: one that ends gives its units back, and the first of them counts as what it died of.
What a unit is and what becomes of an answer is said by who inherits: the rows of a batch, the pieces of a command.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from .. import graph
from .crew import Answer, Crew
from .failures import LOST_WORKER, MISSING_MODEL, MOST_LOSSES, RETRIED, STORAGE

MOST_UNWRITTEN = 3  # units in succession that the output folder may refuse
MOST_EARLY = 3  # workers in succession that may end before they begin
SHORT = 1.0  # seconds; where units take less, a second one waits at each worker
TOGETHER = 0.1  # seconds of which the records are written at once
PATIENCE = 30.0  # seconds that a refusal may wait to be told
PAUSE = 0.5  # seconds at most between two looks at who takes too long


class BatchError(Exception):
    """Why no unit can be done any more; what is finished stays finished."""


@dataclass(frozen=True)
class Rules:
    workers: int = 1
    retries: int = 2  # further attempts at a unit that failed by chance
    limit: int | None = None  # units that are run at most
    timeout: float | None = None  # seconds that a unit may take, then its worker is ended
    redo_changed: bool = False
    redo_lost: bool = False


@dataclass(frozen=True)
class Event:
    """What happened to a unit: `state` as in its record, or `again` where it will be tried again, or `changed`."""

    state: str
    id: str
    kind: str = ""
    message: str = ""
    files: tuple[str, ...] = ()


@dataclass
class Unit:
    """What a worker does at once. asks: what its `run` takes, beside the attempt."""

    id: str
    asks: Mapping[str, Any]
    attempt: int = 0


AUnit = TypeVar("AUnit", bound=Unit)


@dataclass
class Hired(Generic[AUnit]):
    place: str = ""  # where it is; nothing before it is ready
    device: Mapping[str, str] = field(default_factory=dict)
    lease: deque[AUnit] = field(default_factory=deque)
    since: float = 0.0  # when the first unit of the lease was begun
    proven: Mapping[str, str] | None = None  # its model files, found to be ours


class Leases(Generic[AUnit]):
    """`counts` has units by what became of them, `kinds` those of failures that stand. All that raises is a hook."""

    def __init__(self, root: Path, crew: Crew, rules: Rules) -> None:
        """root: where results are written, for messages."""
        self.root, self.crew, self.rules = root, crew, rules
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.stopping = False
        self._ahead: AUnit | None = None
        self._again: deque[AUnit] = deque()
        self._given = 0  # attempts
        self._hired: dict[str, Hired[AUnit]] = {}
        self._number = 0
        self._early = self._unwritten = 0
        self._seconds = SHORT
        self._events: list[Event] = []
        self._refusals: list[Event] = []  # not told yet: where all workers say the same it is one sentence
        self._refused = 0.0  # when the first of them was

    def _begin(self) -> AUnit | None:
        """A unit that was not begun yet; None where there is none, or none until one that runs is done."""
        raise NotImplementedError

    def _differs(self, hired: Hired[AUnit], models: Mapping[str, str]) -> str:
        """Why a worker's model files are not those that are here; nothing where they are."""
        raise NotImplementedError

    def _finish(self, name: str, hired: Hired[AUnit], unit: AUnit, answer: Answer) -> None:
        """Take what a worker made of a unit. Raises OSError where it cannot be written."""
        raise NotImplementedError

    def _note_failure(self, hired: Hired[AUnit], unit: AUnit, answer: Answer, kind: str, message: str) -> int:
        """Note an attempt that failed; returns how many workers have died of the unit."""
        raise NotImplementedError

    def _write(self) -> None:
        """Have on the disk what was noted. Raises OSError."""

    def stop(self) -> None:
        """Give no more units to workers; those that run end."""
        self.stopping = True

    def work(self) -> Generator[Event]:
        """Each event when its record is on the disk. Raises BatchError, WorkflowError."""
        self._refill()
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
                    self._tell_refusals()
                    yield from self._drain()
        finally:
            try:
                self._commit()
            finally:
                self.crew.close()
        self._tell_refusals()
        yield from self._drain()

    def _commit(self) -> None:
        try:
            self._write()
        except OSError as error:
            raise BatchError(f"{self.root} cannot be written: {error.strerror or error}") from error

    def _drain(self) -> Iterator[Event]:
        events, self._events = self._events, []
        yield from events

    def _is_busy(self) -> bool:
        """Whether a unit runs, or one waits for workers that are still to come."""
        return any(hired.lease for hired in self._hired.values()) or (self._ahead is not None and not self.stopping)

    # Workers and leases

    def _hire(self) -> None:
        self._number += 1
        name = f"w{self._number}"
        self._hired[name] = Hired()
        self.crew.start(name)

    def _give(self) -> None:
        self._refill()
        room = 2 if self._seconds < SHORT else 1
        for name, hired in self._hired.items():
            while hired.place and len(hired.lease) < room and self._ahead is not None and not self.stopping:
                unit, self._ahead = self._ahead, None
                unit.attempt += 1
                if not hired.lease:
                    hired.since = time.monotonic()
                hired.lease.append(unit)
                self._given += 1
                self.crew.give(name, {**unit.asks, "attempt": str(self._given)})  # the name of a folder
                self._refill()

    def _refill(self) -> None:
        if self._ahead is None and not self.stopping:
            self._ahead = self._again.popleft() if self._again else self._begin()

    def _hear(self, name: str, answer: Answer | None) -> None:
        hired = self._hired.get(name)
        if hired is None:  # it was sent away
            return
        if answer is None:
            self._lose(name, "the worker ended")
        elif "refused" in answer:
            self._dismiss(name, str(answer["refused"]), answer.get("kind", ""))
        elif not hired.place:
            self._early = 0
            hired.device = answer["versions"]
            if why := self._differs(hired, answer["models"]):
                self._dismiss(name, f"{answer['place']}: {why}")
                return
            hired.place = str(answer["place"])
        else:
            unit = hired.lease.popleft()
            hired.since = time.monotonic()
            self._take(name, hired, unit, answer)

    def _lose(self, name: str, why: str) -> None:
        """A worker is gone: its first unit counts a loss, the others are as they were."""
        hired = self._hired.pop(name)
        self.crew.stop(name)
        if not hired.place:
            self._early += 1
            if self._early >= MOST_EARLY:
                raise BatchError("workers end before they begin: what they said stands above")
        if hired.lease:
            unit = hired.lease.popleft()
            self._fail(hired, unit, {"seconds": round(time.monotonic() - hired.since, 4)}, LOST_WORKER, why)
        for unit in reversed(hired.lease):
            unit.attempt -= 1
            self._again.appendleft(unit)
        if not self.stopping:
            self._hire()

    def _dismiss(self, name: str, why: str, kind: str = "") -> None:
        """A worker that cannot work; where it was the last, nothing can. kind: of what is no fault of the command."""
        hired = self._hired.pop(name)
        self.crew.stop(name)
        self._again.extendleft(reversed(hired.lease))
        self._refused = self._refused if self._refusals else time.monotonic()
        self._refusals.append(Event("dismissed", name, kind, why))
        if not self._hired:
            whys = list(dict.fromkeys(refusal.message for refusal in self._refusals))
            raise BatchError("; ".join(whys)) if kind else graph.WorkflowError(*whys)

    def _tell_refusals(self) -> None:
        """Tell why workers were sent away, now that others work, or let wait."""
        is_late = time.monotonic() - self._refused > PATIENCE
        if is_late or any(hired.place for hired in self._hired.values()):
            self._events += self._refusals
            self._refusals = []

    def _end_overdue(self) -> None:
        limit = self.rules.timeout
        for name, hired in list(self._hired.items()):
            if limit is not None and hired.lease and time.monotonic() - hired.since > limit:
                self._lose(name, f"the row took more than {limit:g} seconds")

    # What came of a unit

    def _take(self, name: str, hired: Hired[AUnit], unit: AUnit, answer: Answer) -> None:
        self._seconds += 0.2 * (answer["seconds"] - self._seconds)
        error = answer.get("error")
        if error is None and (why := self._differs(hired, answer["models"])):
            error = {"kind": MISSING_MODEL, "message": f"{hired.place}: {why}"}
        if error is None:
            try:
                self._finish(name, hired, unit, answer)
                self._unwritten = 0
                return
            except OSError as failure:
                error = {"kind": STORAGE, "message": str(failure)}
        self._fail(hired, unit, answer, error["kind"], error["message"])

    def _fail(self, hired: Hired[AUnit], unit: AUnit, answer: Answer, kind: str, message: str) -> None:
        losses = self._note_failure(hired, unit, answer, kind, message)
        lost = kind == LOST_WORKER and losses < MOST_LOSSES
        if lost or (kind in RETRIED and unit.attempt <= self.rules.retries):
            self._again.append(unit)
            self._events.append(Event("again", unit.id, kind, message))
            return
        self._give_up(unit, kind, message)
        if kind == STORAGE:
            self._unwritten += 1
            if self._unwritten >= MOST_UNWRITTEN:
                raise BatchError(f"{self.root} cannot be written: {message}")

    def _give_up(self, unit: AUnit, kind: str, message: str) -> None:
        self._count_failure("failed", kind)
        self._events.append(Event("failed", unit.id, kind, message))

    def _count_failure(self, state: str, kind: str) -> None:
        self.counts[state] += 1
        self.kinds[kind] += 1
