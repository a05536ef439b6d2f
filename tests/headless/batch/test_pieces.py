"""Pieces with workers that do as a test says: results in order, deaths, and what may wait for what."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.headless.batch import leases
from stable_cascade_nodes.headless.batch.crew import Heard, Task
from stable_cascade_nodes.headless.batch.leases import BatchError, Event, Unit
from stable_cascade_nodes.headless.batch.pieces import Pieces
from stable_cascade_nodes.headless.graph import WorkflowError

VERSIONS = {"cascade": "1", "torch": "2"}
MODELS = {"effnet: small": "abc"}
Act = Callable[[str, int], Any]  # (worker, piece) -> "done", a kind of failure, or None where the worker dies


class Scripted:
    """A crew that answers one task at a time, of a worker drawn at random; `most` tasks were asked at once."""

    def __init__(self, act: Act, random: random.Random, **described: Any) -> None:
        self.act, self.random = act, random
        self.described = {"models": MODELS, "versions": VERSIONS, "place": "there"} | described
        self.tasks: dict[str, list[Task]] = {}
        self.ready: list[str] = []
        self.taken: list[int] = []
        self.closed = False

    def start(self, worker: str) -> None:
        self.tasks[worker] = []
        self.ready.append(worker)

    def give(self, worker: str, task: Task) -> None:
        self.tasks[worker].append(task)

    def wait(self, seconds: float) -> list[Heard]:
        ready, self.ready = self.ready, []
        busy = sorted(worker for worker, tasks in self.tasks.items() if tasks)
        if ready or not busy:
            return [(worker, self.described) for worker in ready]
        worker = self.random.choice(busy)
        number = self.tasks[worker].pop(0)["number"]
        self.taken.append(number)
        outcome = self.act(worker, number)
        if outcome is None:
            return [(worker, None)]
        answer = {"models": MODELS, "seconds": 0.01, "square": number**2}
        return [(worker, answer if outcome == "done" else answer | {"error": {"kind": outcome, "message": "no"}})]

    def stop(self, worker: str) -> None:
        self.tasks.pop(worker)

    def close(self) -> None:
        self.closed = True


def run(
    act: Act = lambda worker, number: "done", workers: int = 3, most: int = 4, seed: int = 0, **described: Any
) -> tuple[list[Any], list[Event], Scripted]:
    """Forty pieces: what came of each in order, what was told, and the crew."""
    crew = Scripted(act, random.Random(seed), **described)
    told: list[Event] = []
    units = [Unit(f"p{number}", {"number": number}) for number in range(40)]
    pieces = Pieces(units, MODELS, VERSIONS, Path("here"), crew, workers, most)
    found = [
        (unit.asks["number"], answer.get("square", answer.get("error"))) for unit, answer in pieces.results(told.append)
    ]
    return found, told, crew


SQUARES = [(number, number**2) for number in range(40)]


def dies(piece: int, times: int) -> Act:
    left = Counter({piece: times})

    def act(worker: str, number: int) -> str | None:
        left[number] -= 1
        return None if left[number] >= 0 else "done"

    return act


@pytest.fixture(params=[0.0, 0.1], ids=["each at once", "some together"])
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are handed on as they come, or only when the time has come."""
    monkeypatch.setattr(leases, "TOGETHER", request.param)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("workers", "most"), [(1, 1), (2, 1), (5, 3)])
def test_results_come_in_their_order(together: None, workers: int, most: int, seed: int) -> None:
    found, told, crew = run(workers=workers, most=most, seed=seed)
    assert found == SQUARES and told == [] and crew.closed


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_the_pieces_of_dead_workers_go_to_others(together: None, times: int, seed: int) -> None:
    found, told, crew = run(dies(7, times), seed=seed)
    assert found == SQUARES and [(event.id, event.kind) for event in told] == [("p7", "lost_worker")] * times
    assert Counter(crew.taken) == Counter(range(40)) + Counter({7: times})


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (3, 4)])
def test_a_piece_of_which_three_died_is_given_up(together: None, workers: int, most: int) -> None:
    """Also where all others wait for it."""
    found, _, crew = run(dies(7, 99), workers=workers, most=most)
    error = {"kind": "lost_worker", "message": "3 workers died of it"}
    assert found == [(number, error if number == 7 else square) for number, square in SQUARES]
    assert Counter(crew.taken)[7] == 3


@pytest.mark.parametrize(("kind", "attempts"), [("bad_row", 1), ("out_of_memory", 3), ("transient", 3)])
def test_what_fails_for_good_has_an_error_in_its_place(together: None, kind: str, attempts: int) -> None:
    found, _, crew = run(lambda worker, number: kind if number in (0, 20, 39) else "done")
    errors = {number: {"kind": kind, "message": "no"} for number in (0, 20, 39)}
    assert found == [(number, errors.get(number, square)) for number, square in SQUARES]
    assert Counter(crew.taken)[20] == attempts


def test_no_more_waits_for_a_slow_piece_than_may() -> None:
    begun: list[int] = []

    def act(worker: str, number: int) -> str:
        begun.append(number)
        return "transient" if number == 0 and len(begun) < 25 and begun.count(0) < 3 else "done"

    found, _, _ = run(act, workers=2, most=3)
    assert found == SQUARES
    until = max(index for index, number in enumerate(begun) if number == 0)
    assert max(begun[:until]) < 6


@pytest.mark.parametrize("described", [{"models": {"effnet: small": "abd"}}, {"versions": VERSIONS | {"torch": "3"}}])
def test_workers_that_would_compute_other_bits_are_sent_away(described: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match=r"its (small|torch) are not those of the driver"):
        run(**described)


def test_workers_that_die_at_once_end_it() -> None:
    crew = Scripted(lambda worker, number: None, random.Random(0))
    crew.wait = lambda seconds: [(worker, None) for worker in list(crew.tasks)]  # pyright: ignore[reportAttributeAccessIssue]
    pieces = Pieces([Unit("a", {})], MODELS, VERSIONS, Path("here"), crew, 2, 4)
    with pytest.raises(BatchError, match="before they begin"):
        list(pieces.results(lambda event: None))
    assert crew.closed
