"""The driver with workers that do as a test says: leases, lost workers, retries, and what is refused."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.headless.batch import manifest
from stable_cascade_nodes.headless.batch.crew import Heard, Task
from stable_cascade_nodes.headless.batch.driver import Driver
from stable_cascade_nodes.headless.batch.job import Job
from stable_cascade_nodes.headless.batch.leases import BatchError, Event, Rules
from stable_cascade_nodes.headless.batch.manifest import Manifest
from stable_cascade_nodes.headless.batch.output_folder import OutputFolder
from stable_cascade_nodes.headless.batch.rows import Row
from stable_cascade_nodes.headless.graph import WorkflowError
from stable_cascade_nodes.headless.node_classes import Nodes

Act = Callable[[str, Task], Any]  # (worker, task) -> "done", an error's kind, or None where the worker dies
NO_NODES = Nodes({}, {})
VERSIONS = {"cascade": "1", "torch": "2", "device": "cpu"}


class Scripted:
    """A crew whose workers do each task when they are waited for, one each, in an order of the test's choice."""

    def __init__(self, staging: Path, act: Act, models: dict[str, str], is_shared: bool = True) -> None:
        self.staging, self.act, self.models, self.is_shared = staging, act, models, is_shared
        self.tasks: dict[str, list[Task]] = {}
        self.ready: list[str] = []
        self.given: list[tuple[str, str]] = []
        self.closed = False

    def start(self, worker: str) -> None:
        self.tasks[worker] = []
        self.ready.append(worker)

    def give(self, worker: str, task: Task) -> None:
        self.tasks[worker].append(task)
        self.given.append((worker, task["row_id"]))

    def wait(self, seconds: float) -> list[Heard]:
        heard: list[Heard] = [(name, self.describe(name)) for name in self.ready]
        self.ready = []
        for worker, tasks in list(self.tasks.items()):
            if tasks:
                heard.append((worker, self.answer(worker, tasks.pop(0))))
        return heard

    def describe(self, name: str) -> dict[str, Any] | None:
        if self.act(name, {"row_id": ""}) is None:
            return None
        return {"models": self.models, "versions": VERSIONS, "place": f"there {name}", "shared": self.is_shared}

    def answer(self, worker: str, task: Task) -> dict[str, Any] | None:
        outcome = self.act(worker, task)
        if outcome is None:
            return None
        answer = {"id": task["row_id"], "seconds": 0.01, "models": self.models, "seed": {}}
        if outcome != "done":
            return answer | {"state": "failed", "folder": "", "error": {"kind": outcome, "message": "it would not"}}
        content = f"{task['values']}".encode()
        folder = self.staging / worker / task["attempt"]
        file = {"name": "a.png", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if not self.is_shared:
            return answer | {
                "state": "done",
                "folder": f"/far/{task['attempt']}",
                "files": [file],
                "contents": [content],
            }
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(content)
        return answer | {"state": "done", "folder": str(folder), "files": [file]}

    def stop(self, worker: str) -> None:
        self.tasks.pop(worker)

    def close(self) -> None:
        self.closed = True


class Trial:
    """One run over rows a, b, c, ... in a folder that stays from run to run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.driver: Any = None
        self.crew: Any = None
        self.events: list[Event] = []

    def run(
        self, rows: Sequence[Row], act: Act = lambda worker, task: "done", *, more: Any = None, **rules: Any
    ) -> dict[str, int]:
        options = more or {}
        folder = OutputFolder(self.root)
        folder.make()
        folder.clear_staging()
        job = Job({}, options.get("editor"), [], str(folder.staging), folder.token, str(self.root))
        written = Manifest(self.root / manifest.NAME)
        self.crew = Scripted(folder.staging, act, options.get("models", {}), options.get("is_shared", True))
        self.driver = Driver(job, folder, written, self.crew, NO_NODES, Rules(**rules))
        self.events = []
        try:
            for event in self.driver.run(rows):
                self.events.append(event)
        finally:
            written.close()
            folder.remove_staging()
        return dict(self.driver.counts)

    def records(self) -> list[dict[str, Any]]:
        return [record for record in manifest.records(self.root / manifest.NAME) if "id" in record]

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.root.glob("*.png"))}


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path / "out")


def make_rows(names: str, value: str = "1") -> list[Row]:
    return [Row(name, {"Prompt.text": value}) for name in names]


def dies(*rows: str, times: int = 1) -> Act:
    """Workers die of these rows, so many times of each."""
    left = Counter(dict.fromkeys(rows, times))

    def act(worker: str, task: Task) -> str | None:
        left[task["row_id"]] -= 1
        return None if left[task["row_id"]] >= 0 else "done"

    return act


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("is_shared", [True, False])
def test_every_row_is_there_once_whatever_the_workers(trial: Trial, workers: int, is_shared: bool) -> None:
    assert trial.run(make_rows("abcdefg"), workers=workers, more={"is_shared": is_shared}) == {"done": 7}
    assert trial.files() == {f"{name}.png": "{'Prompt.text': '1'}" for name in "abcdefg"}
    assert Counter(record["id"] for record in trial.records()) == Counter("abcdefg")
    assert trial.crew.closed and not (trial.root / ".work").exists()


@pytest.mark.parametrize("workers", [1, 3])
def test_the_rows_of_a_dead_worker_go_to_others(trial: Trial, workers: int) -> None:
    assert trial.run(make_rows("abcdef"), dies("b", "e"), workers=workers) == {"done": 6}
    losses = [record["id"] for record in trial.records() if record["state"] == "failed"]
    assert sorted(losses) == ["b", "e"], "the row that ran counts it, not those that waited at the worker"
    assert len(trial.files()) == 6


def test_a_row_that_kills_three_workers_is_recorded_and_left_also_by_later_runs(trial: Trial) -> None:
    assert trial.run(make_rows("abc"), dies("b", times=99), workers=2) == {"done": 2, "failed": 1}
    assert [record["id"] for record in trial.records()].count("b") == 3
    assert trial.driver.kinds == {"lost_worker": 1}
    assert trial.run(make_rows("abc")) == {"skipped": 2, "failed": 1}, "it is not tried again"
    assert trial.crew.given == []
    assert trial.run(make_rows("abc"), redo_lost=True) == {"skipped": 2, "done": 1}
    assert trial.run(make_rows("abc")) == {"skipped": 3}


def test_losses_of_several_runs_add_up(trial: Trial) -> None:
    """A row that brings down what runs the driver too must not do so for ever."""

    def run_until_a_worker_dies() -> None:
        deaths = iter([None])

        def act(worker: str, task: Task) -> str | None:
            if not task["row_id"]:
                return "ready"
            for death in deaths:
                return death
            raise KeyboardInterrupt

        trial.run(make_rows("a"), act)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_until_a_worker_dies()
    run_until_a_worker_dies()
    assert trial.driver.counts == {"failed": 1}
    assert trial.run(make_rows("a")) == {"failed": 1} and trial.crew.given == []


@pytest.mark.parametrize(
    ("kind", "attempts"), [("transient", 3), ("out_of_memory", 3), ("storage", 3), ("bad_row", 1), ("missing_model", 1)]
)
def test_what_may_be_chance_is_tried_again(trial: Trial, kind: str, attempts: int) -> None:
    act = lambda worker, task: kind if task["row_id"] == "b" else "done"  # noqa: E731
    assert trial.run(make_rows("abc"), act, workers=2, retries=2) == {"done": 2, "failed": 1}
    failed = [record for record in trial.records() if record["id"] == "b"]
    assert [record["attempt"] for record in failed] == list(range(1, attempts + 1))
    assert {record["error"]["kind"] for record in failed} == {kind} and trial.driver.kinds == {kind: 1}
    assert trial.run(make_rows("abc")) == {"skipped": 2, "done": 1}, "the same command tries it again"


def test_a_row_that_succeeds_at_last_is_done(trial: Trial) -> None:
    tries = itertools.count()
    assert trial.run(make_rows("a"), lambda worker, task: "done" if next(tries) > 2 else "transient") == {"done": 1}
    assert [event.state for event in trial.events] == ["again", "again", "done"]


def test_finished_rows_are_skipped_and_lost_files_are_made_again(trial: Trial) -> None:
    trial.run(make_rows("abcd"))
    (trial.root / "b.png").unlink()
    (trial.root / "c.png").write_text("other")
    touched = trial.root / "d.png"
    touched.write_text(touched.read_text())
    os.utime(touched, ns=(1, 1))
    assert trial.run(make_rows("abcd")) == {"skipped": 1, "done": 2, "reused": 1}
    assert trial.run(make_rows("abcd")) == {"skipped": 4}, "what was touched is known by its new time"
    assert len(trial.files()) == 4


def test_changed_rows_are_named_and_left_until_told_otherwise(trial: Trial) -> None:
    trial.run(make_rows("ab"))
    before = trial.files()
    assert trial.run(make_rows("a", "2") + make_rows("b")) == {"changed": 1, "skipped": 1}
    assert trial.events == [Event("changed", "a", message="its values changed since it was made")]
    assert trial.run(make_rows("ab"), more={"editor": {"nodes": []}}) == {"changed": 2}
    assert (
        "the workflow or an option (--steps, --set, ...) changed" in trial.events[0].message and trial.files() == before
    )
    assert trial.run(make_rows("a", "2") + make_rows("b"), redo_changed=True) == {"done": 1, "skipped": 1}
    assert trial.files()["a.png"] == "{'Prompt.text': '2'}"


def test_workers_with_other_model_files_are_sent_away(trial: Trial) -> None:
    with pytest.raises(WorkflowError, match=r"its files of big\.safetensors are not those of the driver"):
        trial.run(make_rows("ab"), more={"models": {"Loader: big.safetensors": "123"}})
    assert trial.records() == []


def test_a_worker_that_refuses_the_job_is_not_missed(trial: Trial) -> None:
    """Its end, which is heard after it was sent away, is nobody's loss."""
    describe = Scripted.describe

    def refuse(crew: Scripted, name: str) -> dict[str, Any] | None:
        return {"refused": "there is no such device"} if name == "w1" else describe(crew, name)

    def wait(crew: Scripted, seconds: float) -> list[Heard]:
        return [*heard(crew, seconds), *([("w1", None)] if "w1" not in crew.tasks or crew.ready else [])]

    heard = Scripted.wait
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Scripted, "describe", refuse)
        patched.setattr(Scripted, "wait", wait)
        assert trial.run(make_rows("abc"), workers=2) == {"done": 3}
        with pytest.raises(WorkflowError, match="no such device"):
            trial.run(make_rows("d"))


def test_workers_that_end_before_they_begin_end_the_run(trial: Trial) -> None:
    with pytest.raises(BatchError, match="before they begin"):
        trial.run(make_rows("ab"), lambda worker, task: None, workers=2)
    assert trial.crew.closed


def test_a_folder_that_takes_nothing_ends_the_run(trial: Trial) -> None:
    with pytest.raises(BatchError, match="cannot be written"):
        trial.run(make_rows("abcdefgh"), lambda worker, task: "storage", retries=0)
    assert len(trial.records()) == 3
    assert trial.run(make_rows("abcdefgh")) == {"done": 8}


def test_only_so_many_rows_are_run(trial: Trial) -> None:
    assert trial.run(make_rows("abcde"), limit=2) == {"done": 2}
    assert trial.run(make_rows("abcde"), limit=2, workers=2) == {"skipped": 2, "done": 2}
    assert trial.run(make_rows("abcde"), limit=2) == {"skipped": 4, "done": 1}
    assert trial.run(make_rows("abcde"), limit=2) == {"skipped": 5} and trial.crew.tasks == {}


def test_a_stop_lets_the_running_rows_end(trial: Trial) -> None:
    """Those that wait at a worker are its own, and end as well."""

    def act(worker: str, task: Task) -> str:
        trial.driver.stop() if task["row_id"] == "c" else None
        return "done"

    counts = trial.run(make_rows("abcdefgh"), act, workers=2)
    assert 3 <= counts["done"] <= 6 and len(trial.records()) == counts["done"]
    assert trial.run(make_rows("abcdefgh"))["done"] == 8 - counts["done"]


def test_a_row_that_is_none_is_recorded_once_for_all_runs(trial: Trial) -> None:
    rows = [Row("line-1", {}, "rows, line 1", "expected a JSON object"), *make_rows("a")]
    assert trial.run(rows) == {"refused": 1, "done": 1}
    assert trial.run(rows) == {"refused": 1, "skipped": 1}
    assert [record["state"] for record in trial.records()] == ["refused", "done"]


def test_a_folder_with_other_things_in_it_is_refused(trial: Trial) -> None:
    trial.root.mkdir()
    (trial.root / "holiday.png").touch()
    with pytest.raises(WorkflowError, match=r'expected a new or an empty folder.*"holiday.png"'):
        trial.run(make_rows("a"))
