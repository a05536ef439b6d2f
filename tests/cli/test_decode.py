"""`cascade decode` on the built-in tiny cascade: where pictures go, what is done already, which files are refused."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.training.data import latent_files
from stable_cascade_nodes.cli import decoder

from .albums import QUICK, SIZES, decoded, entry, scene
from .conftest import Command


def test_every_picture_has_noise_of_its_own(real_cascade: Command, folders: Path) -> None:
    (folders / "in").mkdir()
    for name in ("a.png", "b.png"):
        draw(scene(0)).save(folders / "in" / name)
    real_cascade("encode", "in", "--to", "l.safetensors")
    real_cascade("decode", "l.safetensors", "--output", "out", *QUICK)
    real_cascade("decode", "l.safetensors", "--output", "next", *QUICK, "--seed", 1)
    out, shifted = decoded(folders / "out"), decoded(folders / "next")
    assert np.abs(out["a.png"] - out["b.png"]).max() > 1
    assert np.abs(out["b.png"] - shifted["a.png"]).max() <= 1  # seed 0 + 1 is seed 1 + 0


def test_pictures_of_one_name_go_to_different_files(real_cascade: Command, folders: Path) -> None:
    (folders / "in").mkdir()
    for index, name in enumerate(("x.png", "x.jpg", "x.webp", "y.jpg")):
        Image.new("RGB", (64, 64), (0, 80 * index, 0)).save(folders / "in" / name)
    real_cascade("encode", "in", "--to", "l.safetensors")
    assert real_cascade("decode", "l.safetensors", "--output", "out", *QUICK).code == 0
    assert decoded(folders / "out").keys() == {"x.png", "x.jpg.png", "x.webp.png", "y.png"}


@pytest.mark.parametrize(
    ("names", "taken", "expected"),
    [
        (["s/a.jpg", "b.PNG"], [], {"s/a.jpg": "s/a.png", "b.PNG": "b.png"}),
        (["a.jpg", "a.png"], [], {"a.jpg": "a.jpg.png", "a.png": "a.png"}),
        (["a.jpg"], ["a.png"], {"a.jpg": "a.jpg.png"}),
        (["A.jpg", "a.jpg"], [], {"A.jpg": "A.png", "a.jpg": "a.jpg.png"}),
        (["a.jpg", "a.jpg.png", "a.png"], [], {"a.jpg": "a.jpg (2).png", "a.jpg.png": "a.jpg.png", "a.png": "a.png"}),
    ],
)
def test_where_decoded_pictures_go(names: Iterable[str], taken: Sequence[str], expected: dict[str, str]) -> None:
    assert latent_files.png_names(names, taken) == expected


def test_decoding_goes_on_where_it_stopped(
    real_cascade: Command, album: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_cascade("encode", "in", "--to", "l.safetensors")
    arguments = ("decode", "l.safetensors", "--output", "out", *QUICK, "--batch", 1)
    real_cascade("decode", "l.safetensors", "--output", "whole", *QUICK, "--batch", 1)
    plain, calls = decoder.Decoder.__call__, []

    def stopping(self: Any, batch: Any, stage_c: Any) -> Any:
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(len(batch))
        return plain(self, batch, stage_c)

    monkeypatch.setattr(decoder.Decoder, "__call__", stopping)
    assert real_cascade(*arguments).code == 130
    first = {path: path.stat().st_mtime_ns for path in (folders / "out").rglob("*.png")}
    assert 1 <= len(first) <= 4
    assert not list((folders / "out").rglob(".*"))
    monkeypatch.setattr(decoder.Decoder, "__call__", plain)
    answer = real_cascade(*arguments, "--json")
    assert answer.code == 0 and json.loads(answer.out)["skipped"] == len(first)
    assert first == {path: path.stat().st_mtime_ns for path in first}
    one, other = decoded(folders / "out"), decoded(folders / "whole")
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)

    assert real_cascade(*arguments).lines == []
    assert len(real_cascade(*arguments, "--force").lines) == len(SIZES)
    assert np.array_equal(decoded(folders / "out")["a.png"], other["a.png"])


@pytest.mark.parametrize("more", [(), ("--force",), ("--processes", 2)])
def test_pictures_that_decode_did_not_write_are_neither_done_nor_replaced(
    real_cascade: Command, album: Path, folders: Path, more: Sequence[Any]
) -> None:
    real_cascade("encode", "in", "--to", "l.safetensors")
    before = {path: path.read_bytes() for path in album.rglob("*.png")}
    answer = real_cascade("decode", "l.safetensors", "--output", "in", *QUICK, *more)
    assert answer.code == 2 and "in has pictures that `cascade decode` did not write, such as" in answer.err
    assert answer.err.rstrip().endswith("choose another folder")
    assert before == {path: path.read_bytes() for path in album.rglob("*.png")}


BAD_PATHS = ["../a.png", "/tmp/a.png", "s/../../a.png", "", ".png/..", "a.txt", "a//b.png", "./a.png", "link/a.png"]


@pytest.mark.parametrize("png", BAD_PATHS)
def test_no_file_leads_out_of_the_output_folder(real_cascade: Command, album: Path, folders: Path, png: str) -> None:
    real_cascade("encode", "in", "--to", "l.safetensors")
    said = entry(folders / "l.safetensors")
    said["pictures"]["a.png"]["png"] = png
    save_file(load_file("l.safetensors"), "evil.safetensors", {latent_files.KEY: json.dumps(said)})
    (folders / "out").mkdir()
    (folders / "out/link").symlink_to(folders, target_is_directory=True)
    before = set(folders.rglob("*"))
    answer = real_cascade("decode", "evil.safetensors", "--output", "out")
    assert answer.code == 2 and "'a.png' is to be" in answer.err and len(answer.err.splitlines()) == 1
    assert set(folders.rglob("*")) - before == set()


def test_two_pictures_for_one_path_are_refused(real_cascade: Command, album: Path, folders: Path) -> None:
    real_cascade("encode", "in", "--to", "l.safetensors")
    said = entry(folders / "l.safetensors")
    said["pictures"]["e.png"]["png"] = "A.png"
    save_file(load_file("l.safetensors"), "evil.safetensors", {latent_files.KEY: json.dumps(said)})
    answer = real_cascade("decode", "evil.safetensors", "--output", "new")
    assert answer.code == 2 and "named twice" in answer.err and not (folders / "new").exists()


def _without(said: dict[str, Any], *keys: str) -> None:
    for key in keys:
        del said[key]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: _without(said, "kind"),
        lambda said: _without(said, "family"),
        lambda said: said.update(kind="stage_a"),
        lambda said: said.update(pictures=[]),
        lambda said: said["pictures"].pop("a.png"),
        lambda said: said["pictures"]["a.png"].update(size=[256, 2560]),
        lambda said: said["pictures"]["a.png"].update(size=[0, 256]),
        lambda said: said["pictures"]["a.png"].update(index="1"),
        lambda said: said["pictures"]["a.png"].update(more=1),
    ],
)
def test_metadata_that_cannot_be_used(
    real_cascade: Command, album: Path, folders: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    real_cascade("encode", "in", "--to", "l.safetensors")
    said = entry(folders / "l.safetensors")
    spoil(said)
    save_file(load_file("l.safetensors"), "bad.safetensors", {latent_files.KEY: json.dumps(said)})
    answer = real_cascade("decode", "bad.safetensors", "--output", "new")
    assert answer.code == 1 and answer.err.startswith(
        f"cascade: bad.safetensors: its metadata entry `{latent_files.KEY}`"
    )
    assert len(answer.err.splitlines()) == 1


def test_stage_b_needs_little_of_the_text(real_cascade: Command, album: Path, folders: Path) -> None:
    real_cascade("encode", "in", "--to", "l.safetensors")
    found: dict[str, float] = {}
    for text in ("tiny", "none"):
        answer = real_cascade(
            "decode", "l.safetensors", "--output", text, "--text-encoder", text, "--compare", "in", "--json"
        )
        found[text] = json.loads(answer.out)["mean_psnr"]
    assert abs(found["tiny"] - found["none"]) < 0.3
