"""`cascade encode` and `cascade decode` on the built-in tiny cascade. Run: pytest tests/cli/test_encode.py"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stable_cascade_nodes.cascade_core import images
from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.world import Scene, face_scene, sample_scene
from stable_cascade_nodes.cascade_core.files import tensors
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.files.owner import owned
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.images import EQUAL, encode_pixels
from stable_cascade_nodes.cascade_core.sampling.sizes import stage_c_size
from stable_cascade_nodes.cascade_core.training.data import latent_files
from stable_cascade_nodes.cascade_core.training.data.latent_files import batches
from stable_cascade_nodes.cli import decoder, pictures
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.recipes.tiny.reader import is_right

from .conftest import Answer

Command = Callable[..., Answer]
SIZES = {"a.png": (256, 256), "odd/b.jpg": (201, 137), "odd/c.bmp": (137, 201), "odd/deep/d.webp": (333, 64)}
SIZES |= {"e.png": (256, 250), "f.png": (256, 256), "smallest.png": (16, 17)}  # (width, height)
QUICK = ("--steps", "2")


@pytest.fixture
def cascade(folders: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, in an empty folder that is the current one."""

    def run(*arguments: object) -> Answer:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(str(stop.code))
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def album(folders: Path) -> Path:
    """A folder `in` with a few pictures of several sizes and formats."""
    for index, (name, size) in enumerate(SIZES.items()):
        path = folders / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(scene(index)).resize(size).save(path)
    (folders / "in" / "notes.txt").write_text("no picture")
    (folders / "in" / ".hidden.png").write_text("no picture")
    return folders / "in"


def scene(seed: int) -> Scene:
    return sample_scene(np.random.default_rng(seed))


def stored(*paths: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in paths for name, tensor in load_file(path).items()}


def entry(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[latent_files.KEY])


def decoded(folder: Path) -> dict[str, np.ndarray]:
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path), np.int16) for path in folder.rglob("*.*")}


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


def test_a_round_trip_keeps_what_the_pictures_show(cascade: Command, folders: Path) -> None:
    kinds = ("one", "relation", "count", "face")
    scenes = {
        f"{kinds[seed % 4]}/{seed}.png": sample_scene(np.random.default_rng(seed), kinds[seed % 4])
        for seed in range(16, 32)
    }
    for name, drawn in scenes.items():
        path = folders / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(drawn).save(path)
    assert cascade("encode", "in", "--to", "l.safetensors").code == 0
    assert cascade("decode", "l.safetensors", "--output", "out").code == 0
    right = {name: is_right(Image.open(folders / "out" / name), drawn) for name, drawn in scenes.items()}
    assert sum(right.values()) >= 15, right
    other = face_scene("pale", "black", True, False, "frown", "gray", np.random.default_rng(0))
    assert not any(is_right(Image.open(folders / "out" / name), other) for name in scenes)  # the reader tells apart


def test_names_and_sizes_are_kept(cascade: Command, album: Path, folders: Path) -> None:
    answer = cascade("encode", "in", "--to", "new/l.safetensors")
    assert (answer.code, answer.lines) == (0, ["new/l.safetensors"])
    found = stored(folders / "new/l.safetensors")
    assert {name: tensor.shape[1:] for name, tensor in found.items()} == {
        name: stage_c_size(*size) for name, size in SIZES.items()
    }
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    said = entry(folders / "new/l.safetensors")
    assert (said["kind"], said["family"], said["effnet"]) == ("latents", "tiny", "tiny (built-in)")
    assert {name: tuple(picture["size"][::-1]) for name, picture in said["pictures"].items()} == SIZES

    answer = cascade("decode", "new/l.safetensors", "--output", "out", *QUICK)
    assert answer.code == 0
    sizes = {name: picture.shape[1::-1] for name, picture in decoded(folders / "out").items()}
    assert sizes == {str(Path(name).with_suffix(".png")): size for name, size in SIZES.items()}
    assert sorted(answer.lines) == sorted(f"out/{name}" for name in sizes)


def test_a_latent_is_what_the_node_makes_of_the_picture(cascade: Command, album: Path, folders: Path) -> None:
    cascade("encode", "in", "--to", "l.safetensors", "--precision", "float32")
    ((name, path),) = built_in("effnet").items()
    effnet = load("effnet", path, name=name)
    for picture, latent in stored(folders / "l.safetensors").items():
        pixels = torch.from_numpy(np.array(Image.open(album / picture).convert("RGB"))).movedim(-1, 0)[None] / 255
        assert (encode_pixels(effnet, pixels)[0] - latent).abs().max() < 1e-4


def test_batches_give_what_single_pictures_give(cascade: Command, album: Path, folders: Path) -> None:
    for index in range(5):
        draw(scene(index + 20)).save(album / f"more-{index}.png")
    for batch in (1, 8):
        cascade("encode", "in", "--to", f"{batch}.safetensors", "--precision", "float32", "--batch", batch)
    one, many = (stored(folders / f"{batch}.safetensors") for batch in (1, 8))
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    for batch in (1, 4):
        arguments = ("--output", f"out{batch}", *QUICK, "--seed", 7, "--batch", batch, "--workers", batch)
        assert cascade("decode", "8.safetensors", *arguments).code == 0
    one, many = (decoded(folders / f"out{batch}") for batch in (1, 4))
    assert one.keys() == many.keys() and len(one) == len(SIZES) + 5
    assert max(np.abs(one[name] - many[name]).max() for name in one) <= 1


def test_every_picture_has_noise_of_its_own(cascade: Command, folders: Path) -> None:
    (folders / "in").mkdir()
    for name in ("a.png", "b.png"):
        draw(scene(0)).save(folders / "in" / name)
    cascade("encode", "in", "--to", "l.safetensors")
    cascade("decode", "l.safetensors", "--output", "out", *QUICK)
    cascade("decode", "l.safetensors", "--output", "next", *QUICK, "--seed", 1)
    out, shifted = decoded(folders / "out"), decoded(folders / "next")
    assert np.abs(out["a.png"] - out["b.png"]).max() > 1
    assert np.abs(out["b.png"] - shifted["a.png"]).max() <= 1  # seed 0 + 1 is seed 1 + 0


@pytest.mark.parametrize("shard", [("--shard-size", 2), ("--shard-size", 1000)])
def test_ctrl_c_keeps_what_is_encoded_and_nothing_is_encoded_twice(
    cascade: Command, album: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, shard: tuple[str, int]
) -> None:
    arguments = ("encode", "in", "--batch", 1, *shard, "--to")
    cascade(*arguments, "whole.safetensors")
    with monkeypatch.context() as patch:
        before = count_encoded(patch, stop_at=5)
        answer = cascade(*arguments, "l.safetensors")
    assert (answer.code, answer.err.splitlines()[-1]) == (130, "cascade: stopped")
    kept = latent_files.members(folders / "l.safetensors")
    assert sum(len(load_file(path)) for path in kept) == sum(before) == 5
    assert answer.lines == [path.name for path in kept]
    times = {path: path.stat().st_mtime_ns for path in kept}

    with monkeypatch.context() as patch:
        after = count_encoded(patch)
        answer = cascade(*arguments, "l.safetensors", "--json")
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
        assert cascade(*arguments, "l.safetensors").code == 0 and not count_encoded(patch)
    assert not list(folders.glob(".*"))


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_killed_run_ends_to_the_bit_as_one_that_was_not(
    cascade: Command, album: Path, folders: Path, left: int
) -> None:
    """What a kill leaves are the files that were full by then, and the file of a lock that nobody has."""
    arguments = ("encode", "in", "--shard-size", 2, "--to")
    cascade(*arguments, "whole.safetensors")
    wholes = latent_files.members(folders / "whole.safetensors")
    for path in wholes[:left]:
        path.with_name(path.name.replace("whole", "l")).write_bytes(path.read_bytes())
    (folders / ".l.safetensors.lock").write_text("process 1 on a computer since yesterday")
    (folders / f".{'0' * 32}.part").write_text("half")
    answer = cascade(*arguments, "l.safetensors")
    assert answer.code == 0 and len(answer.lines) == len(wholes) - left
    found = latent_files.members(folders / "l.safetensors")
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in wholes]
    assert not list(folders.glob(".*"))


def test_two_do_not_write_the_same(cascade: Command, album: Path, folders: Path) -> None:
    with owned(folders, "l.safetensors"):
        answer = cascade("encode", "in", "--to", "l.safetensors")
    assert (answer.code, answer.out) == (1, "")
    assert f"l.safetensors is being worked on by process {os.getpid()} on " in answer.err
    assert cascade("encode", "in", "--to", "l.safetensors").code == 0
    with owned(folders / "out"):
        answer = cascade("decode", "l.safetensors", "--output", "out", *QUICK)
    assert (answer.code, answer.out) == (1, "")
    assert f"out is being worked on by process {os.getpid()} on " in answer.err


def test_shards_are_numbered_as_they_come(cascade: Command, album: Path, folders: Path) -> None:
    answer = cascade("encode", "in", "--to", "l.safetensors", "--shard-size", 3)
    assert answer.lines == [f"l-{number:05}.safetensors" for number in (1, 2, 3)]
    assert [len(load_file(name)) for name in answer.lines] == [3, 3, 1]
    draw(scene(9)).save(album / "late.png")
    answer = cascade("encode", "in", "--to", "l.safetensors", "--shard-size", 3)
    assert answer.lines == ["l-00004.safetensors"] and load_file("l-00004.safetensors").keys() == {"late.png"}
    cascade("decode", "l-00004.safetensors", "--output", "one", *QUICK)
    cascade("decode", "l.safetensors", "--output", "all", *QUICK)
    assert decoded(folders / "one").keys() == {"late.png"}
    assert len(decoded(folders / "all")) == len(SIZES) + 1


def test_shards_by_size(cascade: Command, folders: Path) -> None:
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
    cascade: Command, album: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tensors.write_tensors

    def fail(path: Path, *arguments: Any) -> None:
        plain(path, *arguments)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "write_tensors", fail)
    answer = cascade("encode", "in", "--to", "out/l.safetensors")
    assert answer.code == 1 and "No space left on device" in answer.err
    assert not list((folders / "out").iterdir())


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(cascade: Command, album: Path) -> None:
    (album / "odd/broken.png").write_bytes((album / "a.png").read_bytes()[:300])
    (album / "text.jpg").write_text("no picture")
    Image.new("RGB", (9, 400)).save(album / "thin.png")
    answer = cascade("encode", "in", "--to", "l.safetensors", "--json")
    assert answer.code == 1
    said = json.loads(answer.out)
    assert said["failed"].keys() == {"odd/broken.png", "text.jpg", "thin.png"}
    assert said["pictures"] == len(SIZES) and load_file("l.safetensors").keys() == SIZES.keys()
    assert all(f"{name} is left out: " in answer.err for name in said["failed"])
    assert "16 to 8192" in said["failed"]["thin.png"]

    draw(scene(30)).save(album / "odd/broken.png")
    (album / "text.jpg").unlink()
    (album / "thin.png").unlink()
    answer = cascade("encode", "in", "--to", "l.safetensors")
    assert (answer.code, answer.lines) == (0, ["l-00002.safetensors"])
    assert load_file("l-00002.safetensors").keys() == {"odd/broken.png"}


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_text(cascade: Command, album: Path) -> None:
    try:
        (album / os.fsdecode(b"caf\xe9.png")).write_bytes((album / "a.png").read_bytes())
    except OSError:
        pytest.skip("this disk takes no such name")
    answer = cascade("encode", "in", "--to", "l.safetensors")
    assert answer.code == 1 and "its name is no UTF-8: rename it" in answer.err
    assert load_file("l.safetensors").keys() == SIZES.keys()


def test_pictures_of_one_name_go_to_different_files(cascade: Command, folders: Path) -> None:
    (folders / "in").mkdir()
    for index, name in enumerate(("x.png", "x.jpg", "x.webp", "y.jpg")):
        Image.new("RGB", (64, 64), (0, 80 * index, 0)).save(folders / "in" / name)
    cascade("encode", "in", "--to", "l.safetensors")
    assert cascade("decode", "l.safetensors", "--output", "out", *QUICK).code == 0
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
    cascade: Command, album: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cascade("encode", "in", "--to", "l.safetensors")
    arguments = ("decode", "l.safetensors", "--output", "out", *QUICK, "--batch", 1)
    cascade("decode", "l.safetensors", "--output", "whole", *QUICK, "--batch", 1)
    plain, calls = decoder.Decoder.__call__, []

    def stopping(self: Any, batch: Any, stage_c: Any) -> Any:
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(len(batch))
        return plain(self, batch, stage_c)

    monkeypatch.setattr(decoder.Decoder, "__call__", stopping)
    assert cascade(*arguments).code == 130
    first = {path: path.stat().st_mtime_ns for path in (folders / "out").rglob("*.png")}
    assert 1 <= len(first) <= 4
    assert not list((folders / "out").rglob(".*"))
    monkeypatch.setattr(decoder.Decoder, "__call__", plain)
    answer = cascade(*arguments, "--json")
    assert answer.code == 0 and json.loads(answer.out)["skipped"] == len(first)
    assert first == {path: path.stat().st_mtime_ns for path in first}
    one, other = decoded(folders / "out"), decoded(folders / "whole")
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)

    assert cascade(*arguments).lines == []
    assert len(cascade(*arguments, "--force").lines) == len(SIZES)
    assert np.array_equal(decoded(folders / "out")["a.png"], other["a.png"])


@pytest.mark.parametrize("more", [(), ("--force",), ("--processes", 2)])
def test_pictures_that_decode_did_not_write_are_neither_done_nor_replaced(
    cascade: Command, album: Path, folders: Path, more: Sequence[Any]
) -> None:
    cascade("encode", "in", "--to", "l.safetensors")
    before = {path: path.read_bytes() for path in album.rglob("*.png")}
    answer = cascade("decode", "l.safetensors", "--output", "in", *QUICK, *more)
    assert answer.code == 2 and "in has pictures that `cascade decode` did not write, such as" in answer.err
    assert answer.err.rstrip().endswith("choose another folder")
    assert before == {path: path.read_bytes() for path in album.rglob("*.png")}


BAD_PATHS = ["../a.png", "/tmp/a.png", "s/../../a.png", "", ".png/..", "a.txt", "a//b.png", "./a.png", "link/a.png"]


@pytest.mark.parametrize("png", BAD_PATHS)
def test_no_file_leads_out_of_the_output_folder(cascade: Command, album: Path, folders: Path, png: str) -> None:
    cascade("encode", "in", "--to", "l.safetensors")
    said = entry(folders / "l.safetensors")
    said["pictures"]["a.png"]["png"] = png
    save_file(load_file("l.safetensors"), "evil.safetensors", {latent_files.KEY: json.dumps(said)})
    (folders / "out").mkdir()
    (folders / "out/link").symlink_to(folders, target_is_directory=True)
    before = set(folders.rglob("*"))
    answer = cascade("decode", "evil.safetensors", "--output", "out")
    assert answer.code == 2 and "'a.png' is to be" in answer.err and len(answer.err.splitlines()) == 1
    assert set(folders.rglob("*")) - before == set()


def test_two_pictures_for_one_path_are_refused(cascade: Command, album: Path, folders: Path) -> None:
    cascade("encode", "in", "--to", "l.safetensors")
    said = entry(folders / "l.safetensors")
    said["pictures"]["e.png"]["png"] = "A.png"
    save_file(load_file("l.safetensors"), "evil.safetensors", {latent_files.KEY: json.dumps(said)})
    answer = cascade("decode", "evil.safetensors", "--output", "new")
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
    cascade: Command, album: Path, folders: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    cascade("encode", "in", "--to", "l.safetensors")
    said = entry(folders / "l.safetensors")
    spoil(said)
    save_file(load_file("l.safetensors"), "bad.safetensors", {latent_files.KEY: json.dumps(said)})
    answer = cascade("decode", "bad.safetensors", "--output", "new")
    assert answer.code == 1 and answer.err.startswith(
        f"cascade: bad.safetensors: its metadata entry `{latent_files.KEY}`"
    )
    assert len(answer.err.splitlines()) == 1


def test_what_is_no_file_of_latents(cascade: Command, album: Path, folders: Path) -> None:
    cascade("encode", "in", "--to", "l.safetensors")
    (folders / "half.safetensors").write_bytes((folders / "l.safetensors").read_bytes()[:3000])
    save_file({"x": torch.zeros(3)}, "model.safetensors")
    for name, says in (("half", "damaged"), ("model", "holds no latents")):
        file = f"{name}.safetensors"
        for arguments in (("decode", file, "--output", "out"), ("encode", "in", "--to", file)):
            answer = cascade(*arguments)
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
def test_bad_arguments(cascade: Command, album: Path, folders: Path, arguments: Sequence[str], says: str) -> None:
    cascade("encode", "in", "--to", "ready.safetensors")
    answer = cascade(*arguments)
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


def test_a_set_has_one_effnet(cascade: Command, album: Path, other_effnet: str) -> None:
    assert cascade("encode", "in", "--to", "l.safetensors").code == 0
    draw(scene(5)).save(album / "late.png")
    for options in (("--effnet", other_effnet), ("--precision", "float32"), ("--size", 128)):
        answer = cascade("encode", "in", "--to", "l.safetensors", *options)
        assert answer.code == 2 and "l.safetensors was written by tiny (built-in)" in answer.err
        assert answer.lines == []


def test_latents_of_another_family_are_refused(cascade: Command, album: Path, folders: Path, other_effnet: str) -> None:
    assert cascade("encode", "in", "--to", "l.safetensors", "--effnet", other_effnet, "--models", "models").code == 0
    answer = cascade("decode", "l.safetensors", "--output", "out")
    assert answer.code == 2 and "tiny (built-in) is of the family tiny" in answer.err and "others" in answer.err
    assert not (folders / "out").exists()


def test_latents_that_are_not_finite_are_left_out(
    cascade: Command, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = images.encode_resized

    def overflowing(effnet: Any, pixels: torch.Tensor) -> torch.Tensor:
        latent = plain(effnet, pixels)
        is_lost = pixels.shape[-2:] == (192, 192)  # those of 256 x 250 and 256 x 256, in float16
        return latent * 1e6 if is_lost else latent

    monkeypatch.setattr(images, "encode_resized", overflowing)
    answer = cascade("encode", "in", "--to", "l.safetensors")
    lost = {"a.png", "e.png", "f.png"}
    assert answer.code == 1 and all(f"{name} is left out: its latent" in answer.err for name in lost)
    assert load_file("l.safetensors").keys() == SIZES.keys() - lost


def test_pictures_are_shrunk_to_a_size(cascade: Command, album: Path, folders: Path) -> None:
    cascade("encode", "in", "--to", "l.safetensors", "--size", 100)
    sizes = {name: tuple(value["size"][::-1]) for name, value in entry(folders / "l.safetensors")["pictures"].items()}
    assert (sizes["a.png"], sizes["odd/b.jpg"], sizes["odd/deep/d.webp"]) == ((100, 100), (100, 68), (100, 19))
    assert sizes["smallest.png"] == (16, 17)  # none is made larger
    answer = cascade("decode", "l.safetensors", "--output", "out", *QUICK, "--compare", "in", "--json")
    assert answer.code == 0 and json.loads(answer.out)["psnr"].keys() == SIZES.keys()
    assert decoded(folders / "out")["odd/b.png"].shape == (68, 100, 3)


def test_the_report_tells_sizes_and_psnr(cascade: Command, album: Path, folders: Path) -> None:
    answer = cascade("encode", "in", "--to", "l.safetensors", "--json")
    said = json.loads(answer.out)
    assert said["bytes"] == {
        "files": sum((album / name).stat().st_size for name in SIZES),
        "pixels": sum(3 * width * height for width, height in SIZES.values()),
        "latents": (folders / "l.safetensors").stat().st_size,
    }
    assert said["seconds"] > 0 and said["files"] == ["l.safetensors"]
    answer = cascade("decode", "l.safetensors", "--output", "out", "--compare", "in", "--json")
    said = json.loads(answer.out)
    assert said["psnr"]["a.png"] > 20
    assert said["mean_psnr"] == pytest.approx(sum(said["psnr"].values()) / len(SIZES))
    assert "PSNR" in answer.err and len(said["files"]) == said["pictures"] == len(SIZES)

    (folders / "out/a.png").write_bytes(decoder.to_png(pictures.read(album / "a.png", None)[0]))
    (album / "e.png").unlink()
    answer = cascade("decode", "l.safetensors", "--output", "out", "--compare", "in", "--json")
    said = json.loads(answer.out)
    assert answer.code == 1 and said["failed"].keys() == {"e.png"} and said["psnr"]["a.png"] == EQUAL


def test_stage_b_needs_little_of_the_text(cascade: Command, album: Path, folders: Path) -> None:
    cascade("encode", "in", "--to", "l.safetensors")
    found: dict[str, float] = {}
    for text in ("tiny", "none"):
        answer = cascade(
            "decode", "l.safetensors", "--output", text, "--text-encoder", text, "--compare", "in", "--json"
        )
        found[text] = json.loads(answer.out)["mean_psnr"]
    assert abs(found["tiny"] - found["none"]) < 0.3


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


def test_pictures_of_formats_that_are_not_read_are_told(cascade: Command, album: Path) -> None:
    """A folder of which not all is encoded is no success: who deletes the originals then would lose them."""
    for name in ("IMG_1.HEIC", "odd/IMG_2.heic", "raw.CR2"):
        (album / name).write_bytes(b"x")
    answer = cascade("encode", album, "--to", "a.safetensors", "--json")
    assert answer.code == 1
    assert "pictures found: 10; used: 7; skipped: 3 (2 HEIC, 1 camera raw), whose formats are not read" in answer.err
    told = json.loads(answer.out)
    assert told["pictures"] == len(SIZES) and set(told["failed"]) == {"IMG_1.HEIC", "odd/IMG_2.heic", "raw.CR2"}
    assert told["failed"]["raw.CR2"] == "its format, camera raw, is not read: save it as PNG or JPEG"


def test_a_folder_of_such_pictures_alone(cascade: Command, album: Path) -> None:
    for path in list(album.rglob("*.*")):
        path.unlink()
    (album / "IMG_1.HEIC").write_bytes(b"x")
    answer = cascade("encode", album, "--to", "a.safetensors")
    assert answer.code == 2 and "that can be read; pictures found: 1; used: 0; skipped: 1 (1 HEIC)" in answer.err
