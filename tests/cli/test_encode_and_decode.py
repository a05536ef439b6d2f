"""`cascade encode` and `cascade decode` one after the other: what comes back, and what both refuse."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.world import face_scene, sample_scene
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.images import EQUAL
from stable_cascade_nodes.cascade_core.sampling.sizes import stage_c_size
from stable_cascade_nodes.cli import decoder, pictures
from stable_cascade_nodes.recipes.tiny.reader import is_right

from .albums import QUICK, SIZES, decoded, entry, scene, stored
from .conftest import Command


def test_a_round_trip_keeps_what_the_pictures_show(real_cascade: Command, folders: Path) -> None:
    kinds = ("one", "relation", "count", "face")
    scenes = {
        f"{kinds[seed % 4]}/{seed}.png": sample_scene(np.random.default_rng(seed), kinds[seed % 4])
        for seed in range(16, 32)
    }
    for name, drawn in scenes.items():
        path = folders / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(drawn).save(path)
    assert real_cascade("encode", "in", "--to", "l.safetensors").code == 0
    assert real_cascade("decode", "l.safetensors", "--output", "out").code == 0
    right = {name: is_right(Image.open(folders / "out" / name), drawn) for name, drawn in scenes.items()}
    assert sum(right.values()) >= 15, right
    other = face_scene("pale", "black", True, False, "frown", "gray", np.random.default_rng(0))
    assert not any(is_right(Image.open(folders / "out" / name), other) for name in scenes)  # the reader tells apart


def test_names_and_sizes_are_kept(real_cascade: Command, album: Path, folders: Path) -> None:
    answer = real_cascade("encode", "in", "--to", "new/l.safetensors")
    assert (answer.code, answer.lines) == (0, ["new/l.safetensors"])
    found = stored(folders / "new/l.safetensors")
    assert {name: tensor.shape[1:] for name, tensor in found.items()} == {
        name: stage_c_size(*size) for name, size in SIZES.items()
    }
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    said = entry(folders / "new/l.safetensors")
    assert (said["kind"], said["family"], said["effnet"]) == ("latents", "tiny", "tiny (built-in)")
    assert {name: tuple(picture["size"][::-1]) for name, picture in said["pictures"].items()} == SIZES

    answer = real_cascade("decode", "new/l.safetensors", "--output", "out", *QUICK)
    assert answer.code == 0
    sizes = {name: picture.shape[1::-1] for name, picture in decoded(folders / "out").items()}
    assert sizes == {str(Path(name).with_suffix(".png")): size for name, size in SIZES.items()}
    assert sorted(answer.lines) == sorted(f"out/{name}" for name in sizes)


def test_batches_give_what_single_pictures_give(real_cascade: Command, album: Path, folders: Path) -> None:
    for index in range(5):
        draw(scene(index + 20)).save(album / f"more-{index}.png")
    for batch in (1, 8):
        real_cascade("encode", "in", "--to", f"{batch}.safetensors", "--precision", "float32", "--batch", batch)
    one, many = (stored(folders / f"{batch}.safetensors") for batch in (1, 8))
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    for batch in (1, 4):
        arguments = ("--output", f"out{batch}", *QUICK, "--seed", 7, "--batch", batch, "--workers", batch)
        assert real_cascade("decode", "8.safetensors", *arguments).code == 0
    one, many = (decoded(folders / f"out{batch}") for batch in (1, 4))
    assert one.keys() == many.keys() and len(one) == len(SIZES) + 5
    assert max(np.abs(one[name] - many[name]).max() for name in one) <= 1


def test_what_is_no_file_of_latents(real_cascade: Command, album: Path, folders: Path) -> None:
    real_cascade("encode", "in", "--to", "l.safetensors")
    (folders / "half.safetensors").write_bytes((folders / "l.safetensors").read_bytes()[:3000])
    save_file({"x": torch.zeros(3)}, "model.safetensors")
    for name, says in (("half", "damaged"), ("model", "holds no latents")):
        file = f"{name}.safetensors"
        for arguments in (("decode", file, "--output", "out"), ("encode", "in", "--to", file)):
            answer = real_cascade(*arguments)
            assert answer.code == 1 and says in answer.err and len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("encode", "nowhere", "--to", "l.safetensors"), "expected a folder of pictures"),
        (("encode", "output", "--to", "l.safetensors"), "no pictures in output"),
        (("encode", "in", "--to", "l.pt"), "ends in .safetensors"),
        (("encode", "in", "--to", "l.safetensors", "--effnet", "mine.safetensors"), "no effnet 'mine.safetensors'"),
        (("encode", "in", "--to", "l.safetensors", "--shard-size", "0"), "--shard-size"),
        (("encode", "in", "--to", "l.safetensors", "--shard-size", "2 parsecs"), "--shard-size"),
        (("encode", "in", "--to", "l.safetensors", "--batch", "0"), "at least 1"),
        (("encode", "in", "--to", "l.safetensors", "--device", "abacus"), "abacus"),
        (("encode", "in", "--to", "l.safetensors", "--models", "nowhere"), "--models"),
        (("decode", "none.safetensors", "--output", "out"), "no file 'none.safetensors'"),
        (("decode", "ready.safetensors", "--output", "in/a.png"), "--output: expected a folder"),
        (("decode", "ready.safetensors", "--output", "out", "--stage-b", "mine"), "no Stage B 'mine'"),
        (("decode", "ready.safetensors", "--output", "out", "--text-encoder", "mine"), "no text encoder 'mine'"),
        (("decode", "ready.safetensors", "--output", "out", "--compare", "nowhere"), "--compare"),
        (("decode", "ready.safetensors", "--output", "out", "--cfg", "nan"), "--cfg"),
    ],
)
def test_bad_arguments(real_cascade: Command, album: Path, folders: Path, arguments: Sequence[str], says: str) -> None:
    real_cascade("encode", "in", "--to", "ready.safetensors")
    answer = real_cascade(*arguments)
    assert answer.code == 2 and says in answer.err and answer.out == ""
    assert not (folders / "l.safetensors").exists() and not (folders / "out").exists()


@pytest.fixture
def other_effnet(folders: Path) -> str:
    """A file of the models folder: the tiny effnet with other weights, of another family."""
    (path,) = built_in("effnet").values()
    module = load("effnet", path).module
    with torch.no_grad():
        next(module.parameters()).add_(0.01)
    (folders / "models/vae").mkdir(parents=True)
    save(folders / "models/vae/other.safetensors", module, "effnet", family="others")
    return "other.safetensors"


def test_a_set_has_one_effnet(real_cascade: Command, album: Path, other_effnet: str) -> None:
    assert real_cascade("encode", "in", "--to", "l.safetensors").code == 0
    draw(scene(5)).save(album / "late.png")
    for options in (("--effnet", other_effnet), ("--precision", "float32"), ("--size", 128)):
        answer = real_cascade("encode", "in", "--to", "l.safetensors", *options)
        assert answer.code == 2 and "l.safetensors was written by tiny (built-in)" in answer.err
        assert answer.lines == []


def test_latents_of_another_family_are_refused(
    real_cascade: Command, album: Path, folders: Path, other_effnet: str
) -> None:
    assert (
        real_cascade("encode", "in", "--to", "l.safetensors", "--effnet", other_effnet, "--models", "models").code == 0
    )
    answer = real_cascade("decode", "l.safetensors", "--output", "out")
    assert answer.code == 2 and "tiny (built-in) is of the family tiny" in answer.err and "others" in answer.err
    assert not (folders / "out").exists()


def test_pictures_are_shrunk_to_a_size(real_cascade: Command, album: Path, folders: Path) -> None:
    real_cascade("encode", "in", "--to", "l.safetensors", "--size", 100)
    sizes = {name: tuple(value["size"][::-1]) for name, value in entry(folders / "l.safetensors")["pictures"].items()}
    assert (sizes["a.png"], sizes["odd/b.jpg"], sizes["odd/deep/d.webp"]) == ((100, 100), (100, 68), (100, 19))
    assert sizes["smallest.png"] == (16, 17)  # none is made larger
    answer = real_cascade("decode", "l.safetensors", "--output", "out", *QUICK, "--compare", "in", "--json")
    assert answer.code == 0 and json.loads(answer.out)["psnr"].keys() == SIZES.keys()
    assert decoded(folders / "out")["odd/b.png"].shape == (68, 100, 3)


def test_the_report_tells_sizes_and_psnr(real_cascade: Command, album: Path, folders: Path) -> None:
    answer = real_cascade("encode", "in", "--to", "l.safetensors", "--json")
    said = json.loads(answer.out)
    assert said["bytes"] == {
        "files": sum((album / name).stat().st_size for name in SIZES),
        "pixels": sum(3 * width * height for width, height in SIZES.values()),
        "latents": (folders / "l.safetensors").stat().st_size,
    }
    assert said["seconds"] > 0 and said["files"] == ["l.safetensors"]
    answer = real_cascade("decode", "l.safetensors", "--output", "out", "--compare", "in", "--json")
    said = json.loads(answer.out)
    assert said["psnr"]["a.png"] > 20
    assert said["mean_psnr"] == pytest.approx(sum(said["psnr"].values()) / len(SIZES))
    assert "PSNR" in answer.err and len(said["files"]) == said["pictures"] == len(SIZES)

    (folders / "out/a.png").write_bytes(decoder.to_png(pictures.read(album / "a.png", None)[0]))
    (album / "e.png").unlink()
    answer = real_cascade("decode", "l.safetensors", "--output", "out", "--compare", "in", "--json")
    said = json.loads(answer.out)
    assert answer.code == 1 and said["failed"].keys() == {"e.png"} and said["psnr"]["a.png"] == EQUAL
