"""Files that appear whole, and works with one owner, beside processes that are killed or at the same work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import atomic
from stable_cascade_nodes.cascade_core.files.locks import take
from stable_cascade_nodes.cascade_core.files.owner import owned

pytestmark = pytest.mark.skipif(os.name == "nt", reason="it kills processes as Unix does")

HEAD = """
import os, sys, time
from pathlib import Path
from stable_cascade_nodes.cascade_core.files import atomic, owner
place = Path(sys.argv[1])
"""
WRITING = f"""{HEAD}
with atomic.unfinished(place) as path:
    path.write_text("half")
    print(path.name, flush=True)
    time.sleep(60)
"""
OWNING = f"""{HEAD}
with owner.owned(place, "work"):
    print("mine", flush=True)
    time.sleep(60)
"""
CLAIMING = f"""{HEAD}
def link(*_): raise OSError(95, "no hard links here")
if sys.argv[2] == "without links":
    os.link = link
for number in range(int(sys.argv[3])):
    with atomic.unfinished(place) as path:
        path.write_text(f"{{os.getpid()}} {{number}}")
        free = 1
        while not atomic.claim(path, place / f"{{free:05}}.txt"):
            free += 1
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """A program that runs beside the test, and ends with it."""
    begun: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: object) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", program, *map(str, arguments)]
        begun.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_stays(tmp_path: Path, start: Start) -> None:
    dead, living = start(WRITING, tmp_path), start(WRITING, tmp_path)
    left, kept = first_line(dead), first_line(living)
    foreign = [".0123.part", ".notes.tmp", f"{'0' * 32}.part", f".model.safetensors.{'0' * 12}.part"]
    for name in foreign:
        (tmp_path / name).touch()
    dead.kill()
    dead.wait()
    assert names(tmp_path) == sorted([left, kept, *foreign])
    with atomic.whole(tmp_path / "a.txt") as path:  # the first that this process writes there
        path.write_text("whole")
    assert names(tmp_path) == sorted(["a.txt", kept, *foreign])
    living.kill()
    living.wait()
    atomic.sweep(tmp_path, tmp_path / "not there")
    assert names(tmp_path) == sorted(["a.txt", *foreign])


def test_a_work_has_one_owner_until_that_ends_however_it_ends(tmp_path: Path, start: Start) -> None:
    other = start(OWNING, tmp_path)
    assert first_line(other) == "mine"
    since = (
        rf"{tmp_path}/work is being worked on by process {other.pid} on .+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d: let"
    )
    with pytest.raises(CascadeError, match=since), owned(tmp_path, "work"):
        raise AssertionError("two owners")
    with owned(tmp_path, "other work"):
        pass
    assert names(tmp_path) == [".work.lock"]
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with owned(tmp_path, "work"):
        assert names(tmp_path) == [".work.lock"]
    assert names(tmp_path) == []


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path: Path) -> None:
    """Who opened the file before its owner removed it has a lock on nothing."""
    path = tmp_path / "lock"
    first = take(path, makes=True)
    assert first is not None and take(path) is None
    path.unlink()
    second = take(path, makes=True)
    assert second is not None and second != first
    os.close(first)
    os.close(second)
    assert take(tmp_path / "none") is None


def test_a_work_goes_on_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(_: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("stable_cascade_nodes.cascade_core.files.locks._lock", lock)
    left = tmp_path / f".{'a' * 32}.part"
    left.touch()
    with owned(tmp_path, "work"), atomic.whole(tmp_path / "a.txt") as path:
        path.write_text("whole")
    assert left.exists(), "it may be alive"
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("how", ["with links", "without links"])
@pytest.mark.parametrize("each", [30, pytest.param(667, marks=pytest.mark.slow)])
def test_three_processes_lose_nothing(tmp_path: Path, start: Start, how: str, each: int) -> None:
    processes = [start(CLAIMING, tmp_path, how, each) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    told = {path.read_text() for path in tmp_path.iterdir()}
    assert told == {f"{process.pid} {number}" for process in processes for number in range(each)}
    assert names(tmp_path) == [f"{number:05}.txt" for number in range(1, 3 * each + 1)]


def test_a_reserved_name_is_given_back_where_it_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(95, "no hard links here")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(FileNotFoundError):
        atomic.claim(tmp_path / "nothing", tmp_path / "a.txt")
    assert names(tmp_path) == []
