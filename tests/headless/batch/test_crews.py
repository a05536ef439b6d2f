"""Workers as processes and on Ray: what they say, how their end is told, and the whole command with kills."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stable_cascade_nodes.headless.batch.crew import Heard, Processes
from stable_cascade_nodes.headless.batch.job import Job, from_json
from stable_cascade_nodes.headless.batch.ray_crew import RayCrew
from stable_cascade_nodes.headless.graph import WorkflowError
from stable_cascade_nodes.headless.set_values import ShortForm

PACK = Path(__file__).parents[3]
JOB = Job({}, None, [], "", "", "")
# Says how long its job is, then each task's id; dies of the task `die`, while it speaks.
WORKER = """
import json, os, sys
print(json.dumps({"place": sys.argv[1], "job": len(sys.stdin.readline())}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    if task["row_id"] == "die":
        print('{"id": "half of', end="", flush=True)
        os._exit(9)
    print(json.dumps({"id": task["row_id"]}), flush=True)
"""
PIECES = {
    "1": ("Drawing", "CascadePicture", {"image": "heart and star (built-in)"}),
    "2": ("Piece", "ImageCrop", {"image": ["1", 0], "width": 48, "height": 48, "x": 0, "y": 0}),
    "3": ("Picture out", "SaveImage", {"images": ["2", 0], "filename_prefix": "a"}),
}


def task(row_id: str) -> dict[str, Any]:
    return {"row_id": row_id, "values": {}, "attempt": "1"}


@pytest.fixture
def crew() -> Iterator[Processes]:
    found = Processes(JOB.to_json(), [sys.executable, "-c", WORKER])
    yield found
    found.close()


def wait_for(crew: Processes, number: int) -> list[Heard]:
    heard: list[Heard] = []
    while len(heard) < number:
        heard += crew.wait(10)
    return heard


def test_a_job_is_the_same_behind_its_json() -> None:
    job = Job({"1": {}}, {"nodes": []}, ["a.b=1", ShortForm("--seed 1", ["a.seed=1"])], "s", "t", "f", models="m")
    assert from_json(job.to_json()) == job and from_json(job.to_json()).workflow_digest == job.workflow_digest


def test_workers_answer_in_the_order_of_their_tasks(crew: Processes) -> None:
    for name in ("w1", "w2"):
        crew.start(name)
    size = len(JOB.to_json()) + 1
    assert sorted(wait_for(crew, 2), key=str) == [(name, {"place": name, "job": size}) for name in ("w1", "w2")]
    for row in "abc":
        crew.give("w1", task(row))
    crew.give("w2", task("ü"))
    heard = wait_for(crew, 4)
    assert [answer for name, answer in heard if name == "w1"] == [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    assert ("w2", {"id": "ü"}) in heard


def test_a_worker_that_dies_is_told_and_one_that_is_stopped_is_not_heard(crew: Processes) -> None:
    crew.start("w1")
    crew.start("w2")
    wait_for(crew, 2)
    crew.give("w1", task("die"))
    crew.give("w1", task("a"))
    assert wait_for(crew, 1) == [("w1", None)]
    crew.give("w1", task("b"))  # it is not known yet that nobody reads it
    crew.stop("w1")
    crew.stop("w2")
    assert crew.wait(0.3) == []


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "manifest.jsonl").read_bytes().split(b"\n")[:-1] if (folder / "manifest.jsonl").exists() else []
    return [record for record in map(json.loads, lines) if "id" in record]


@pytest.fixture
def run_pieces(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """`run_pieces(folder, ...)`: 40 rows of a workflow without a network, by the command in a process of its own."""
    prompt = {k: {"class_type": c, "inputs": i, "_meta": {"title": t}} for k, (t, c, i) in PIECES.items()}
    (tmp_path / "pieces.json").write_text(json.dumps(prompt))
    rows = "".join(json.dumps({"id": f"r{i}", "Piece.x": i}) + "\n" for i in range(40))
    (tmp_path / "rows.jsonl").write_text(rows)
    given = ["batch", tmp_path / "pieces.json", "--rows", tmp_path / "rows.jsonl", "--output"]

    def run(folder: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, PACK, *given, tmp_path / folder, *more]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    return run


def workers_of(driver: int) -> list[int]:
    """The processes that a driver has started, by what Linux says."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(driver)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks ps for the workers")
def test_killed_workers_and_drivers_change_nothing(tmp_path: Path, run_pieces: Callable[..., Any]) -> None:
    assert run_pieces("alone").wait() == 0
    driver = run_pieces("apart", "--workers", "2")
    while sum(record["state"] == "done" for record in records(tmp_path / "apart")) < 5:
        time.sleep(0.02)
    first, *_ = (pid for pid in workers_of(driver.pid))
    os.kill(first, signal.SIGKILL)
    while sum(record["state"] == "done" for record in records(tmp_path / "apart")) < 15 and driver.poll() is None:
        time.sleep(0.02)
    orphans = workers_of(driver.pid)
    driver.kill()
    driver.wait()
    assert run_pieces("apart", "--workers", "2").wait() == 0
    done = [record["id"] for record in records(tmp_path / "apart") if record["state"] == "done"]
    assert sorted(done) == sorted(f"r{i}" for i in range(40)), "each once"
    for path in (tmp_path / "alone").glob("*.png"):
        assert (tmp_path / "apart" / path.name).read_bytes() == path.read_bytes()
    assert not any(Path(f"/proc/{pid}").exists() for pid in orphans), "workers end with their driver"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray, the extra `batch`")
def test_a_cluster_makes_the_same_files(tmp_path: Path, run_pieces: Callable[..., Any]) -> None:
    assert run_pieces("alone").wait() == 0
    assert run_pieces("ray", "--ray", "local", "--workers", "2").wait() == 0
    names = sorted(path.name for path in (tmp_path / "alone").glob("*.png"))
    assert len(names) == 40 and names == sorted(path.name for path in (tmp_path / "ray").glob("*.png"))
    for name in names:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Token authentication is enabled but no authentication token was found", "RAY_AUTH_MODE=disabled"),
        ("InvalidAuthToken: Authentication failed\nmore", "~/.ray/auth_token"),
        (
            "Could not find any running Ray instance\nmore",
            "there is no cluster: Could not find any running Ray instance",
        ),
    ],
)
def test_a_cluster_that_cannot_be_used_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    def init(**_: object) -> None:
        raise ConnectionError(said)

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(WorkflowError, match=r"^--ray head:6379: [^\n]+$") as refusal:
        RayCrew("", "", "head:6379", {})
    assert told in str(refusal.value)


def test_a_worker_of_a_cluster_that_ends_with_two_tasks_is_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of its answers are there at the same time, and neither is one."""

    class RayError(Exception):
        pass

    def get(reference: object) -> None:
        raise RayError(reference)

    asked = itertools.count()
    actor = SimpleNamespace(ask=SimpleNamespace(remote=lambda _: next(asked)))
    actors = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: actor))
    ray = SimpleNamespace(
        init=lambda **_: None,
        remote=lambda _: actors,
        wait=lambda references, **_: (references, []),
        get=get,
        exceptions=SimpleNamespace(RayError=RayError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    crew = RayCrew("job", "", "head:6379", {})
    crew.start("w1")
    crew.give("w1", {})
    assert crew.wait(1) == [("w1", None)]
