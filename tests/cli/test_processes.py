"""`cascade encode` and `decode` by several processes: the bytes and the words of one, whoever ends first.

The workers are in this process, through the lines that they would say; test_worker_processes.py has real ones.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stable_cascade_nodes.cascade_core import images
from stable_cascade_nodes.cascade_core.training.data import latent_files
from stable_cascade_nodes.cli import decoder, workers
from stable_cascade_nodes.headless.batch.crew import Heard, ThisProcess

from .albums import DECODE, ENCODE, contents, spoil, write_album
from .conftest import Answer, Command

DRAWN = random.Random(0)


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
def cascade(real_cascade: Command, folders: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in a folder with the pictures `in`."""
    write_album(folders / "in", 11)
    monkeypatch.setattr(workers, "crew", lambda job, options: Shuffled(lambda name: workers.make(job, name)))
    return real_cascade


def stored(target: Path) -> dict[str, tuple[latent_files.Picture, bytes]]:
    """The pictures of a set, whatever file each is in."""
    found: dict[str, tuple[latent_files.Picture, bytes]] = {}
    for path in latent_files.members(target):
        latents = load_file(path)
        found |= {
            name: (one, latents[name].numpy().tobytes()) for name, one in latent_files.read(path).pictures.items()
        }
    return found


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
        assert cascade(*ENCODE, "one/l.safetensors", *more).code == 2
