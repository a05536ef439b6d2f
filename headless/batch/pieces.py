"""Pieces: units of another command than `cascade batch`, whose results are taken in their order, whoever ends first."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from pathlib import Path

from .crew import Answer, Crew
from .failures import LOST_WORKER, MOST_LOSSES
from .leases import Event, Hired, Leases, Rules, Unit
from .model_identity import differences

VERSIONS = ("cascade", "torch")  # in which workers agree with the driver: others may compute other bits


class Pieces(Leases[Unit]):
    """Nothing is written here: who takes the results does, and what was not taken is made again by the next run."""

    def __init__(
        self,
        pieces: Iterable[Unit],
        models: Mapping[str, str],
        versions: Mapping[str, str],
        root: Path,
        crew: Crew,
        workers: int,
        most: int,
    ) -> None:
        """models, versions: as workers must have them. most: pieces of each worker that wait for one before them."""
        super().__init__(root, crew, Rules(workers))
        self._pieces, self._models, self._versions = iter(pieces), models, versions
        self._most = most * workers
        self._open: deque[Unit] = deque()  # begun, from the first that is not done
        self._done: dict[str, Answer] = {}  # those behind it that are
        self._ready: deque[tuple[Unit, Answer]] = deque()
        self._deaths: Counter[str] = Counter()

    def results(self, tell: Callable[[Event], object]) -> Generator[tuple[Unit, Answer]]:
        """Each piece with its answer, or with an `error` in place of one. Raises BatchError, WorkflowError.

        tell: is called where a piece is tried again, and where a worker is sent away.
        """
        with closing(self.work()) as events:
            for event in events:
                if event.state in ("again", "dismissed"):
                    tell(event)
                while self._ready:
                    yield self._ready.popleft()

    def _begin(self) -> Unit | None:
        if len(self._open) >= self._most:
            return None
        piece = next(self._pieces, None)
        if piece is not None:
            self._open.append(piece)
        return piece

    def _differs(self, hired: Hired[Unit], models: Mapping[str, str]) -> str:
        unlike = [*differences(self._models, models)]
        unlike += [name for name in VERSIONS if self._versions[name] != hired.device[name]]
        return f"its {' and '.join(unlike)} are not those of the driver: give both the same" if unlike else ""

    def _finish(self, name: str, hired: Hired[Unit], unit: Unit, answer: Answer) -> None:
        self.counts["done"] += 1
        self._events.append(Event("done", unit.id))
        self._settle(unit, answer)

    def _note_failure(self, hired: Hired[Unit], unit: Unit, answer: Answer, kind: str, message: str) -> int:
        self._deaths[unit.id] += kind == LOST_WORKER
        return self._deaths[unit.id]

    def _give_up(self, unit: Unit, kind: str, message: str) -> None:
        super()._give_up(unit, kind, message)
        why = f"{MOST_LOSSES} workers died of it" if kind == LOST_WORKER else message
        self._settle(unit, {"error": {"kind": kind, "message": why}})

    def _settle(self, unit: Unit, answer: Answer) -> None:
        self._done[unit.id] = answer
        while self._open and self._open[0].id in self._done:
            first = self._open.popleft()
            self._ready.append((first, self._done.pop(first.id)))
