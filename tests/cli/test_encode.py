"""`cascade encode` on the built-in tiny cascade: which pictures are encoded, and to what."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stable_cascade_nodes.cascade_core import images
from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.images import encode_pixels
from stable_cascade_nodes.cascade_core.training.data.latent_files import batches
from stable_cascade_nodes.cli import pictures

from .albums import SIZES, scene, stored
from .conftest import Command


def test_a_latent_is_what_the_node_makes_of_the_picture(real_cascade: Command, album: Path, folders: Path) -> None:
    real_cascade("encode", "in", "--to", "l.safetensors", "--precision", "float32")
    ((name, path),) = built_in("effnet").items()
    effnet = load("effnet", path, name=name)
    for picture, latent in stored(folders / "l.safetensors").items():
        pixels = torch.from_numpy(np.array(Image.open(album / picture).convert("RGB"))).movedim(-1, 0)[None] / 255
        assert (encode_pixels(effnet, pixels)[0] - latent).abs().max() < 1e-4


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(real_cascade: Command, album: Path) -> None:
    (album / "odd/broken.png").write_bytes((album / "a.png").read_bytes()[:300])
    (album / "text.jpg").write_text("no picture")
    Image.new("RGB", (9, 400)).save(album / "thin.png")
    answer = real_cascade("encode", "in", "--to", "l.safetensors", "--json")
    assert answer.code == 1
    said = json.loads(answer.out)
    assert said["failed"].keys() == {"odd/broken.png", "text.jpg", "thin.png"}
    assert said["pictures"] == len(SIZES) and load_file("l.safetensors").keys() == SIZES.keys()
    assert all(f"{name} is left out: " in answer.err for name in said["failed"])
    assert "16 to 8192" in said["failed"]["thin.png"]

    draw(scene(30)).save(album / "odd/broken.png")
    (album / "text.jpg").unlink()
    (album / "thin.png").unlink()
    answer = real_cascade("encode", "in", "--to", "l.safetensors")
    assert (answer.code, answer.lines) == (0, ["l-00002.safetensors"])
    assert load_file("l-00002.safetensors").keys() == {"odd/broken.png"}


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_text(real_cascade: Command, album: Path) -> None:
    try:
        (album / os.fsdecode(b"caf\xe9.png")).write_bytes((album / "a.png").read_bytes())
    except OSError:
        pytest.skip("this disk takes no such name")
    answer = real_cascade("encode", "in", "--to", "l.safetensors")
    assert answer.code == 1 and "its name is no UTF-8: rename it" in answer.err
    assert load_file("l.safetensors").keys() == SIZES.keys()


def test_latents_that_are_not_finite_are_left_out(
    real_cascade: Command, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = images.encode_resized

    def overflowing(effnet: Any, pixels: torch.Tensor) -> torch.Tensor:
        latent = plain(effnet, pixels)
        is_lost = pixels.shape[-2:] == (192, 192)  # those of 256 x 250 and 256 x 256, in float16
        return latent * 1e6 if is_lost else latent

    monkeypatch.setattr(images, "encode_resized", overflowing)
    answer = real_cascade("encode", "in", "--to", "l.safetensors")
    lost = {"a.png", "e.png", "f.png"}
    assert answer.code == 1 and all(f"{name} is left out: its latent" in answer.err for name in lost)
    assert load_file("l.safetensors").keys() == SIZES.keys() - lost


def test_an_animation_gives_its_first_frame(folders: Path) -> None:
    frames = [Image.new("RGB", (20, 30), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(folders / "moving.gif", save_all=True, append_images=frames[1:])
    pixels = pictures.read(folders / "moving.gif", None)
    assert pixels.shape == (1, 3, 30, 20) and pixels[0, 0].min() > 0.9


def test_batches() -> None:
    items = [("a", 1), ("b", 1), ("a", 1), ("a", 1), ("c", 9), ("b", 1), ("a", 1)]
    found = list(batches(items, lambda item: item[0], lambda item: item[1], most=2, room=8))
    assert found == [[items[0], items[2]], [items[4]], [items[1], items[5]], [items[3], items[6]]]


def test_what_waits_for_others_of_its_kind_is_bounded() -> None:
    taken: list[int] = []
    rare = (taken.append(index) or index for index in range(50))  # each of a kind of its own
    given = 0
    for batch in batches(rare, lambda item: item, lambda _: 3, most=2, room=4):
        given += len(batch)
        assert 3 * (len(taken) - given) <= 4 * 4
    assert given == 50


def test_pictures_of_formats_that_are_not_read_are_told(real_cascade: Command, album: Path) -> None:
    """A folder of which not all is encoded is no success: who deletes the originals then would lose them."""
    for name in ("IMG_1.HEIC", "odd/IMG_2.heic", "raw.CR2"):
        (album / name).write_bytes(b"x")
    answer = real_cascade("encode", album, "--to", "a.safetensors", "--json")
    assert answer.code == 1
    assert "pictures found: 10; used: 7; skipped: 3 (2 HEIC, 1 camera raw), whose formats are not read" in answer.err
    told = json.loads(answer.out)
    assert told["pictures"] == len(SIZES) and set(told["failed"]) == {"IMG_1.HEIC", "odd/IMG_2.heic", "raw.CR2"}
    assert told["failed"]["raw.CR2"] == "its format, camera raw, is not read: save it as PNG or JPEG"


def test_a_folder_of_such_pictures_alone(real_cascade: Command, album: Path) -> None:
    for path in list(album.rglob("*.*")):
        path.unlink()
    (album / "IMG_1.HEIC").write_bytes(b"x")
    answer = real_cascade("encode", album, "--to", "a.safetensors")
    assert answer.code == 2 and "that can be read; pictures found: 1; used: 0; skipped: 1 (1 HEIC)" in answer.err
