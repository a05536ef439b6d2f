"""`cascade encode` and `decode` by workers that are processes of their own: the bytes of one, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .albums import DECODE, ENCODE, contents, spoil, write_album

PACK = Path(__file__).parents[2]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """The command in a process of its own, in a folder with 60 pictures and what one process encoded of them."""
    write_album(tmp_path / "in", 60)
    spoil(tmp_path / "in")

    def run(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PACK), *arguments, "--threads", "1"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, **pipes)

    run(*ENCODE, "one/l.safetensors").communicate()
    return run


def workers_of(driver: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(driver)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def kill_a_worker(driver: subprocess.Popen[str]) -> bool:
    """Whether there was one of a driver that still works."""
    if driver.poll() is not None:
        return False
    for pid in workers_of(driver.pid)[:1]:
        os.kill(pid, signal.SIGKILL)
        return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks ps for the workers")
def test_killed_workers_change_nothing(tmp_path: Path, start: Callable[..., Any]) -> None:
    driver = start(*ENCODE, "two/l.safetensors", "--processes", "2")
    while not (tmp_path / "two/l-00001.safetensors").exists():
        time.sleep(0.01)
    killed = kill_a_worker(driver)
    while not (tmp_path / "two/l-00005.safetensors").exists() and driver.poll() is None:
        time.sleep(0.01)
    killed += kill_a_worker(driver)
    _, err = driver.communicate()
    assert driver.returncode == 1 and killed and "lost_worker" in err
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    left_out = [line for line in err.splitlines() if "is left out" in line]
    assert left_out == sorted(left_out) and len(left_out) == 3
    start(*DECODE, "alone").communicate()
    driver = start(*DECODE, "apart", "--processes", "2")
    while not contents(tmp_path / "apart").keys() - {".lock"} and driver.poll() is None:
        time.sleep(0.01)
    assert kill_a_worker(driver)
    assert driver.communicate() and driver.returncode == 0
    assert contents(tmp_path / "apart") == contents(tmp_path / "alone") and len(contents(tmp_path / "alone")) == 58


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks ps for the workers")
def test_a_killed_driver_takes_its_workers_along(tmp_path: Path, start: Callable[..., Any]) -> None:
    driver = start(*ENCODE, "two/l.safetensors", "--processes", "2")
    while not (tmp_path / "two/l-00002.safetensors").exists():
        time.sleep(0.01)
    orphans = workers_of(driver.pid)
    driver.kill()
    driver.communicate()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in orphans) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(orphans) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in orphans)
    assert start(*ENCODE, "two/l.safetensors", "--processes", "2").communicate()
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has other signals")
def test_ctrl_c_ends_quietly(tmp_path: Path, start: Callable[..., Any]) -> None:
    for command, seen in ((ENCODE, "two/l-00002.safetensors"), (DECODE, "two/000.png")):
        driver = start(*command, "two/l.safetensors" if command is ENCODE else "two", "--processes", "2")
        while not (tmp_path / seen).exists():
            time.sleep(0.01)
        driver.send_signal(signal.SIGINT)
        _, err = driver.communicate()
        assert driver.returncode == 130 and err.splitlines()[-1] == "cascade: stopped" and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray, the extra `batch`")
def test_a_cluster_makes_the_same_files(tmp_path: Path, start: Callable[..., Any]) -> None:
    more = ("--ray", "local", "--ray-options", '{"num_cpus": 0.5}', "--processes", "2")
    assert start(*ENCODE, "ray/l.safetensors", *more).communicate()
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")
    start(*DECODE, "alone").communicate()
    start(*DECODE, "apart", *more).communicate()
    assert contents(tmp_path / "apart") == contents(tmp_path / "alone") and len(contents(tmp_path / "alone")) == 58


def worker_with(mark: str) -> int | None:
    """A worker's process whose environment has the mark, wherever Ray has it below."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"--worker" in (entry / "cmdline").read_bytes() and mark.encode() in (entry / "environ").read_bytes():
                return int(entry.name)
        except OSError:  # it ended, or is not ours
            continue
    return None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for workers in /proc")
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray, the extra `batch`")
@pytest.mark.parametrize(("command", "target"), [(ENCODE, "l.safetensors"), (DECODE, "")])
def test_a_killed_worker_of_a_cluster_changes_nothing(
    tmp_path: Path,
    start: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    target: str,
) -> None:
    if command is DECODE:
        start(*DECODE, "alone").communicate()
    mark = f"CASCADE_TEST={tmp_path.name}-{time.time_ns()}"
    monkeypatch.setenv(*mark.split("="))
    more = ("--ray", "local", "--ray-options", '{"num_cpus": 0.5}', "--processes", "2", "--json")
    driver = start(*command, str(Path("ray") / target), *more)
    while not list((tmp_path / "ray").glob("[l0]*")) and driver.poll() is None:
        time.sleep(0.01)
    worker = worker_with(mark)
    assert driver.poll() is None and worker is not None
    os.kill(worker, signal.SIGKILL)
    out, err = driver.communicate()
    assert "lost_worker: the worker ended (it is tried again)" in err, err
    assert contents(tmp_path / "ray") == contents(tmp_path / ("one" if command is ENCODE else "alone"))
    said = json.loads(out.splitlines()[-1])
    assert said["skipped"] == 0 and len(said["files"]) == len(set(said["files"])) == len(contents(tmp_path / "ray"))
