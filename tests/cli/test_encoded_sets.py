"""The files that `cascade encode` writes: how many, and what is in them when it is stopped, killed or not alone."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stable_cascade_nodes.cascade_core import images
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.files import tensors
from stable_cascade_nodes.cascade_core.files.owner import owned
from stable_cascade_nodes.cascade_core.training.data import latent_files

from .albums import QUICK, SIZES, decoded, entry, scene, stored
from .conftest import Command


def count_encoded(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[int]:
    """How many pictures each pass of the effnet has; Ctrl-C in the pass number `stop_at`."""
    passes: list[int] = []
    plain = images.encode_resized

    def counting(effnet: Any, pixels: torch.Tensor) -> torch.Tensor:
        if len(passes) == stop_at:
            raise KeyboardInterrupt
        passes.append(len(pixels))
        return plain(effnet, pixels)

    monkeypatch.setattr(images, "encode_resized", counting)
    return passes


@pytest.mark.parametrize("shard", [("--shard-size", 2), ("--shard-size", 1000)])
def test_ctrl_c_keeps_what_is_encoded_and_nothing_is_encoded_twice(
    real_cascade: Command, album: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, shard: tuple[str, int]
) -> None:
    arguments = ("encode", "in", "--batch", 1, *shard, "--to")
    real_cascade(*arguments, "whole.safetensors")
    with monkeypatch.context() as patch:
        before = count_encoded(patch, stop_at=5)
        answer = real_cascade(*arguments, "l.safetensors")
    assert (answer.code, answer.err.splitlines()[-1]) == (130, "cascade: stopped")
    kept = latent_files.members(folders / "l.safetensors")
    assert sum(len(load_file(path)) for path in kept) == sum(before) == 5
    assert answer.lines == [path.name for path in kept]
    times = {path: path.stat().st_mtime_ns for path in kept}

    with monkeypatch.context() as patch:
        after = count_encoded(patch)
        answer = real_cascade(*arguments, "l.safetensors", "--json")
    assert (answer.code, sum(after)) == (0, len(SIZES) - 5)
    assert json.loads(answer.out)["skipped"] == 5
    assert times == {path: path.stat().st_mtime_ns for path in kept}
    wholes, resumed = (latent_files.members(folders / name) for name in ("whole.safetensors", "l.safetensors"))
    one, other = stored(*wholes), stored(*resumed)
    assert one.keys() == other.keys() == SIZES.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    said = [
        {name: value for path in paths for name, value in entry(path)["pictures"].items()}
        for paths in (wholes, resumed)
    ]
    assert said[0] == said[1]
    with monkeypatch.context() as patch:
        assert real_cascade(*arguments, "l.safetensors").code == 0 and not count_encoded(patch)
    assert not list(folders.glob(".*"))


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_killed_run_ends_to_the_bit_as_one_that_was_not(
    real_cascade: Command, album: Path, folders: Path, left: int
) -> None:
    """What a kill leaves are the files that were full by then, and the file of a lock that nobody has."""
    arguments = ("encode", "in", "--shard-size", 2, "--to")
    real_cascade(*arguments, "whole.safetensors")
    wholes = latent_files.members(folders / "whole.safetensors")
    for path in wholes[:left]:
        path.with_name(path.name.replace("whole", "l")).write_bytes(path.read_bytes())
    (folders / ".l.safetensors.lock").write_text("process 1 on a computer since yesterday")
    (folders / f".{'0' * 32}.part").write_text("half")
    answer = real_cascade(*arguments, "l.safetensors")
    assert answer.code == 0 and len(answer.lines) == len(wholes) - left
    found = latent_files.members(folders / "l.safetensors")
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in wholes]
    assert not list(folders.glob(".*"))


def test_two_do_not_write_the_same(real_cascade: Command, album: Path, folders: Path) -> None:
    with owned(folders, "l.safetensors"):
        answer = real_cascade("encode", "in", "--to", "l.safetensors")
    assert (answer.code, answer.out) == (1, "")
    assert f"l.safetensors is being worked on by process {os.getpid()} on " in answer.err
    assert real_cascade("encode", "in", "--to", "l.safetensors").code == 0
    with owned(folders / "out"):
        answer = real_cascade("decode", "l.safetensors", "--output", "out", *QUICK)
    assert (answer.code, answer.out) == (1, "")
    assert f"out is being worked on by process {os.getpid()} on " in answer.err


def test_shards_are_numbered_as_they_come(real_cascade: Command, album: Path, folders: Path) -> None:
    answer = real_cascade("encode", "in", "--to", "l.safetensors", "--shard-size", 3)
    assert answer.lines == [f"l-{number:05}.safetensors" for number in (1, 2, 3)]
    assert [len(load_file(name)) for name in answer.lines] == [3, 3, 1]
    draw(scene(9)).save(album / "late.png")
    answer = real_cascade("encode", "in", "--to", "l.safetensors", "--shard-size", 3)
    assert answer.lines == ["l-00004.safetensors"] and load_file("l-00004.safetensors").keys() == {"late.png"}
    real_cascade("decode", "l-00004.safetensors", "--output", "one", *QUICK)
    real_cascade("decode", "l.safetensors", "--output", "all", *QUICK)
    assert decoded(folders / "one").keys() == {"late.png"}
    assert len(decoded(folders / "all")) == len(SIZES) + 1


def test_shards_by_size(real_cascade: Command, folders: Path) -> None:
    origin = latent_files.Origin("tiny", "an effnet", "x", "float16")
    picture = latent_files.Picture((256, 256), 0, "a.png")
    latent = torch.zeros(16, 6, 6, dtype=torch.float16)  # 1152 bytes
    files: list[Path] = []
    writer = latent_files.Writer(folders / "l.safetensors", origin, None, 2500, files.append)
    for index in range(5):
        writer.add(f"{index}.png", latent, replace(picture, index=index, png=f"{index}.png"))
    writer.flush(last=True)
    assert [len(latent_files.read(path).pictures) for path in files] == [2, 2, 1]


def test_another_process_is_not_written_over(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folders / "l.safetensors"
    target.write_text("of another process")
    monkeypatch.setattr(latent_files, "members", lambda _: [])  # it came between the look and the writing
    files: list[Path] = []
    origin = latent_files.Origin("tiny", "an effnet", "x", "float16")
    writer = latent_files.Writer(target, origin, 10, None, files.append)
    writer.add("a.png", torch.zeros(16, 6, 6, dtype=torch.float16), latent_files.Picture((256, 256), 0, "a.png"))
    writer.flush(last=True)
    assert target.read_text() == "of another process"
    assert [path.name for path in files] == ["l-00001.safetensors"]


def test_a_full_disk_leaves_no_half_of_a_file(
    real_cascade: Command, album: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tensors.write_tensors

    def fail(path: Path, *arguments: Any) -> None:
        plain(path, *arguments)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "write_tensors", fail)
    answer = real_cascade("encode", "in", "--to", "out/l.safetensors")
    assert answer.code == 1 and "No space left on device" in answer.err
    assert not list((folders / "out").iterdir())
