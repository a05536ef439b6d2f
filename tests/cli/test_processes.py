"""`cascade encode` and `decode` by several processes: the bytes of one, whoever ends first and whoever dies.

What is not marked slow has its workers in this process, through the lines that they would say.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stable_cascade_nodes.cascade_core import images
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.world import sample_scene
from stable_cascade_nodes.cascade_core.training.data import latent_files
from stable_cascade_nodes.cli import decoder, workers
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless.batch.crew import Heard, ThisProcess

from .conftest import Answer

PACK = Path(__file__).parents[2]
SIZES = [(256, 256), (201, 137), (64, 90), (256, 256), (137, 201)]  # (width, height)
ENCODE = ("encode", "in", "--shard-size", "4", "--to")
DECODE = ("decode", "one/l.safetensors", "--steps", "1", "--batch", "3", "--output")
DRAWN = random.Random(0)
Command = Callable[..., Answer]


def write_album(folder: Path, number: int) -> None:
    folder.mkdir()
    for index in range(number):
        draw(sample_scene(np.random.default_rng(index))).resize(SIZES[index % 5]).save(folder / f"{index:03}.png")
        if index % 3 == 0:
            (folder / f"{index:03}.txt").write_text(f"picture {index}")


class Shuffled(ThisProcess):
    """Workers that speak in lines of JSON, one drawn at random before the others."""

    def wait(self, seconds: float) -> list[Heard]:
        if self._tasks:
            worker = DRAWN.choice(sorted({worker for worker, _ in self._tasks}))
            first = next(task for task in self._tasks if task[0] == worker)
            self._tasks.remove(first)
            self._tasks.appendleft(first)
        return [(worker, json.loads(json.dumps(answer))) for worker, answer in super().wait(seconds)]


@pytest.fixture
def cascade(folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in a folder with the pictures `in`."""
    write_album(folders / "in", 11)
    monkeypatch.setattr(workers, "crew", lambda job, options: Shuffled(lambda name: workers.make(job, name)))

    def run(*arguments: object) -> Answer:
        code = main([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(target: Path) -> dict[str, tuple[latent_files.Picture, bytes]]:
    """The pictures of a set, whatever file each is in."""
    found: dict[str, tuple[latent_files.Picture, bytes]] = {}
    for path in latent_files.members(target):
        latents = load_file(path)
        found |= {
            name: (one, latents[name].numpy().tobytes()) for name, one in latent_files.read(path).pictures.items()
        }
    return found


def spoil(folder: Path) -> None:
    (folder / "005.png").write_bytes((folder / "003.png").read_bytes()[:300])
    (folder / "zz.jpg").write_text("no picture")
    (folder / "003.txt").write_bytes(b"\xff\xfe\xff")
    (folder / "photo.HEIC").write_text("of a telephone")


def told(answer: Answer) -> list[str]:
    """All but the last line, which has seconds."""
    return answer.err.splitlines()[:-1]


@pytest.mark.parametrize("is_spoilt", [False, True])
def test_encoded_files_and_complaints_are_those_of_one_process(
    cascade: Command, folders: Path, is_spoilt: bool
) -> None:
    if is_spoilt:
        spoil(folders / "in")
    one = cascade(*ENCODE, "one/l.safetensors")
    two = cascade(*ENCODE, "two/l.safetensors", "--processes", 2)
    assert one.code == two.code == is_spoilt and told(one) == told(two) and len(told(one)) == 4 * is_spoilt
    assert contents(folders / "one") == contents(folders / "two") and len(contents(folders / "two")) == 3
    again = cascade(*ENCODE, "two/l.safetensors", "--processes", 2, "--json")
    assert json.loads(again.out)["files"] == [] and json.loads(again.out)["skipped"] == 11 - 2 * is_spoilt


def test_latents_that_are_not_finite_and_too_little_memory_are_told(
    cascade: Command, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = images.encode_resized

    def failing(effnet: Any, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.shape[-2:] == (96, 64):
            raise torch.OutOfMemoryError("a lot was asked for")
        return plain(effnet, pixels) * (torch.nan if pixels.shape[-2:] == (128, 160) else 1)

    monkeypatch.setattr(images, "encode_resized", failing)
    answer = cascade(*ENCODE, "two/l.safetensors", "--processes", 2, "--json")
    failed = json.loads(answer.out)["failed"]
    assert answer.code == 1 and set(failed) == {"001.png", "006.png", "002.png", "007.png"}
    assert "not finite" in failed["001.png"]
    assert failed["002.png"].startswith("out of memory: a lot was asked for; choose a smaller --size")


def test_ctrl_c_keeps_what_is_encoded(cascade: Command, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cascade(*ENCODE, "one/l.safetensors")
    with monkeypatch.context() as patch:
        count: list[int] = []
        plain = images.encode_resized

        def interrupted(effnet: Any, pixels: torch.Tensor) -> torch.Tensor:
            count.append(1)
            if len(count) == 9:
                raise KeyboardInterrupt
            time.sleep(0.06)  # results are handed on each tenth of a second
            return plain(effnet, pixels)

        patch.setattr(images, "encode_resized", interrupted)
        answer = cascade(*ENCODE, "two/l.safetensors", "--processes", 2)
    assert (answer.code, answer.err) == (130, "cascade: stopped\n")
    first = contents(folders / "two")
    assert first and contents(folders / "one")["l-00001.safetensors"] == first["l-00001.safetensors"]
    assert cascade(*ENCODE, "two/l.safetensors", "--processes", 2).code == 0
    assert first.items() <= contents(folders / "two").items()
    assert stored(folders / "one/l.safetensors") == stored(folders / "two/l.safetensors")


def test_decoded_files_are_those_of_one_process_also_where_some_are_there(cascade: Command, folders: Path) -> None:
    cascade(*ENCODE, "one/l.safetensors")
    assert cascade(*DECODE, "alone").code == 0
    answer = cascade(*DECODE, "two", "--processes", 2)
    assert answer.code == 0 and len(answer.lines) == 11
    assert contents(folders / "alone") == contents(folders / "two")
    for index, more in enumerate([("--processes", 2), ()]):
        kept = contents(folders / "alone")
        for name in ("000.png", "004.png", "007.png"):
            (folders / "two" / name).unlink()
        passes = cascade(*DECODE, "two", *more, "--json")
        assert json.loads(passes.out)["skipped"] == 8 and contents(folders / "two") == kept, index


def test_latents_and_models_that_do_not_fit_are_told(
    cascade: Command, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade(*ENCODE, "one/l.safetensors")
    with monkeypatch.context() as patch:
        numbers = iter(range(99))
        patch.setattr(latent_files, "fingerprint", lambda path: str(next(numbers)))
        decoder.read_same.cache_clear()
        answer = cascade(*DECODE, "two", "--processes", 2)
    assert answer.code == 1 and answer.err.count("is not the driver's file of that name") == 11
    answer = cascade(*DECODE, "two", "--processes", 1, "--text-encoder", "mine")
    assert answer.code == 2 and "no text encoder 'mine'" in answer.err and contents(folders / "two") == {}


@pytest.mark.parametrize(
    ("command", "option", "folder"),
    [(ENCODE, "--effnet", "vae"), (DECODE, "--stage-b", "diffusion_models"), (DECODE, "--stage-a", "vae")],
)
def test_a_model_that_cannot_be_used_is_refused_in_the_words_of_one_process(
    cascade: Command, folders: Path, command: tuple[str, ...], option: str, folder: str
) -> None:
    cascade(*ENCODE, "one/l.safetensors")
    (folders / "models" / folder).mkdir(parents=True)
    (folders / "models" / folder / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    for name in ("bad.safetensors", "absent.safetensors"):
        given = (*command, "new/l.safetensors" if command is ENCODE else "new", "--models", "models", option, name)
        one, many = cascade(*given), cascade(*given, "--processes", 2)
        assert one.code == many.code == 2 and one.err == many.err and name in one.err
        assert len(one.err.splitlines()) == 1 and one.err.startswith(f"cascade: {option}: ")
        assert not contents(folders / "new")


def test_too_little_memory_for_the_models_is_told_as_by_one_process(
    cascade: Command, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade(*ENCODE, "one/l.safetensors")

    def fill(*_: object) -> None:
        raise torch.OutOfMemoryError("a lot was asked for")

    monkeypatch.setattr(decoder.Decoder, "__init__", fill)
    one = cascade(*DECODE, "new")
    assert one.code == 1 and one.err == f"cascade: out of memory: a lot was asked for; {decoder.ADVICE}\n"
    job = {"arguments": [*DECODE, "new"], "folder": str(folders), "threads": 1, "families": {}}
    with pytest.raises(MemoryError) as told:
        workers.make(json.dumps(job), "w1")
    assert f"cascade: {told.value}\n" == one.err


def test_what_cannot_be_read_of_the_options_is_told_before_work(cascade: Command, folders: Path) -> None:
    for more in (("--processes", "0"), ("--threads", "0")):
        with pytest.raises(SystemExit):
            cascade(*ENCODE, "one/l.safetensors", *more)


# In processes of their own


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
