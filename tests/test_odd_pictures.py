"""Pictures as people have them, on every workflow that takes one: it runs, or one sentence says why, before sampling.

Run: pytest tests/test_odd_pictures.py -m "slow or not slow"
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import graph, shipped
from stable_cascade_nodes.runtime import host

from .workflow_runs import FOLDER, Runner

PHOTO = (4032, 3024)  # (width, height)
QUICK = {"Stage C.steps": 1, "Stage B.steps": 1}
ONE_PICTURE = ("canny", "face_identity", "inpainting", "outpainting", "super_resolution")  # a hint each, one latent


def scene(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A disc on a slope of grey, as large as may be."""
    down, across = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    grey = np.broadcast_to(120 + 60 * across, (height, width))
    inside = down**2 + across**2 < 0.4
    return Image.fromarray(np.where(inside, 230, grey).astype(np.uint8)).convert(mode)


def photo(path: Path) -> None:
    scene(*PHOTO).save(path.with_suffix(".jpg"), quality=60)


def one_pixel(path: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(path.with_suffix(".png"))


def strip(path: Path) -> None:
    scene(3000, 4).save(path.with_suffix(".png"))


def icon(path: Path) -> None:
    picture = scene(48, 48, "RGBA")
    disc = np.asarray(scene(48, 48).convert("L")) > 200
    picture.putalpha(Image.fromarray(np.where(disc, 255, 0).astype(np.uint8)))
    picture.save(path.with_suffix(".png"))


def animation(path: Path) -> None:
    frames = [scene(120, 80).rotate(angle) for angle in (0, 30, 60)]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.asarray(scene(200, 300).convert("L"), np.uint16) * 257).save(path.with_suffix(".png"))


def cmyk(path: Path) -> None:
    scene(300, 200, "CMYK").save(path.with_suffix(".jpg"))


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(320, 200).save(path.with_suffix(".jpg"), exif=exif)


def palette(path: Path) -> None:
    scene(200, 200).quantize(16).save(path.with_suffix(".png"), transparency=0)


ODD: dict[str, Callable[[Path], None]] = {
    make.__name__: make for make in (photo, one_pixel, strip, icon, animation, sixteen_bits, cmyk, turned, palette)
}
WORKFLOWS = sorted(path.stem for path in shipped.files() if '"CascadePicture"' in path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Runner]:
    """Workflows by name, with all of the pictures in the input folder; loaded models stay."""
    folder = tmp_path_factory.mktemp("odd")
    for name, make in ODD.items():
        make(folder / name)
    runners = {name: Runner(name, folder) for name in WORKFLOWS}

    def choose(name: str) -> Runner:
        host.configure(input=folder, output=folder / "output")
        return runners[name]

    return choose


def settings(runner: Runner, picture: str) -> dict[str, Any]:
    """The picture in the place of every one of the workflow."""
    (file,) = (path.name for path in runner.folder.glob(f"{picture}.*"))
    titles = [graph.title_of(node) for node in runner.prompt.values() if node["class_type"] == "CascadePicture"]
    given = {f"{title}.image": file for title in titles}
    if any(node["class_type"] == "CascadeInpaintHint" for node in runner.prompt.values()):
        Image.new("L", size_in(runner.folder / file), 255).save(runner.folder / "all.png")
        given["Picture.mask"] = "all.png"
    return given


def size_in(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it stands upright."""
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).size


def rehearse(runner: Runner, given: dict[str, Any]) -> list[str]:
    prompt = {key: {**node, "inputs": dict(node["inputs"])} for key, node in runner.prompt.items()}
    for setting, value in given.items():
        title, _, name = setting.partition(".")
        (node,) = [node for node in prompt.values() if graph.title_of(node) == title]
        node["inputs"][name] = value
    assert not graph.validate(prompt, runner.nodes).problems
    return [str(problem) for problem in graph.rehearse(graph.Plan(prompt, runner.nodes, cache=runner.cache))]


def test_all_workflows_that_take_a_picture_are_meant() -> None:
    assert len(WORKFLOWS) == 9 and {*ONE_PICTURE, "reconstruction"} < {*WORKFLOWS}


def is_quick(workflow: str, picture: str) -> bool:
    """All pictures on one workflow, another on each of the others, and the large photo on one alone."""
    place = (sorted(WORKFLOWS).index(workflow), sorted(ODD).index(picture))
    return workflow == "canny" or (picture != "photo" and (workflow == "inpainting" or place[0] == place[1]))


@pytest.mark.parametrize(
    ("workflow", "picture"),
    [
        pytest.param(workflow, picture, marks=() if is_quick(workflow, picture) else pytest.mark.slow)
        for workflow in WORKFLOWS
        for picture in ODD
    ],
)
def test_before_anything_is_computed(runner: Callable[[str], Runner], workflow: str, picture: str) -> None:
    """Everything fits together; of an animation a ControlNet says how many pictures to make."""
    chosen = runner(workflow)
    given = settings(chosen, picture)
    problems = rehearse(chosen, given)
    if picture == "animation" and workflow in ONE_PICTURE:
        (problem,) = problems
        assert "expected one hint or as many as there are images (1), found 3" in problem
        problems = rehearse(chosen, given | {"Size.batch_size": 3})
    assert problems == []


def run(runner: Runner, picture: str) -> np.ndarray | str:
    """The picture out, or why there is none."""
    titles = {graph.title_of(node) for node in runner.prompt.values()}
    quick = {name: steps for name, steps in QUICK.items() if name.partition(".")[0] in titles}
    try:
        return runner.run({**settings(runner, picture), **quick})
    except graph.NodeFailure as failure:
        return str(failure)


def size_of(made: np.ndarray | str) -> tuple[int, int]:
    assert isinstance(made, np.ndarray), made
    return made.shape[2], made.shape[1]


def test_a_photo_is_made_within_the_budget(runner: Callable[[str], Runner]) -> None:
    assert size_of(run(runner("image_to_image"), "photo")) == (296, 224)


def test_an_icon_is_made_as_large_as_the_models_want(runner: Callable[[str], Runner]) -> None:
    assert size_of(run(runner("image_variation"), "icon")) == (256, 256)


def test_a_photo_keeps_its_size_and_every_pixel_that_is_not_masked(runner: Callable[[str], Runner]) -> None:
    chosen = runner("inpainting")
    picture = scene(1600, 1200)
    hole = np.zeros((1200, 1600), bool)
    hole[400:640, 600:1000] = True
    masked = picture.copy()
    masked.putalpha(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)))
    masked.save(chosen.folder / "painted.png", compress_level=1)
    (made,) = chosen.run({"Picture.image": "painted.png", **QUICK})
    assert np.array_equal(made[~hole], np.asarray(picture)[~hole])
    assert np.any(made[hole] != np.asarray(picture)[hole])


@pytest.mark.slow
@pytest.mark.parametrize("picture", ODD)
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_it_runs_or_says_why(runner: Callable[[str], Runner], workflow: str, picture: str) -> None:
    chosen = runner(workflow)
    made = run(chosen, picture)
    if isinstance(made, str) and workflow == "face_identity":  # the detector takes some of the discs for a face
        assert "No face was found in picture" in made or "expected one hint" in made
    elif picture == "animation" and workflow in ONE_PICTURE:
        assert isinstance(made, str) and "expected one hint" in made
    else:
        assert min(size_of(made)) >= (1 if workflow == "inpainting" else 16)  # that one has the picture's own size


# Inpainting without a mask, or with one in a file.


def test_a_photo_without_a_mask_is_refused_before_anything_is_computed(
    new_program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene(320, 200).save(new_program / "photo.jpg")
    assert main(["run", "inpainting", "--set", "Picture.image=photo.jpg"]) == 2
    captured = capsys.readouterr()
    assert "there is nothing to fill in: " in captured.err and "--set Picture.mask=FILE" in captured.err
    assert captured.out == "" and not (new_program / "output").exists()


def test_a_mask_of_its_own_file_is_given_to_a_photo(new_program: Path) -> None:
    scene(320, 200).save(new_program / "photo.png")
    hole = np.zeros((200, 320), bool)
    hole[40:120, 60:160] = True
    Image.fromarray(np.where(hole, 255, 0).astype(np.uint8)).save(new_program / "mask.png")
    names = ("Picture.image=photo.png", "Picture.mask=mask.png", "Stage C.steps=1", "Stage B.steps=1")
    assert main(["run", "inpainting", *(word for name in names for word in ("--set", name))]) == 0
    (path,) = (new_program / "output").glob("*.png")
    with Image.open(path) as picture:
        made = np.asarray(picture.convert("RGB"))
    differs = (made != np.asarray(scene(320, 200))).any(-1)
    assert not differs[~hole].any() and differs[hole].mean() > 0.5


# Sizes that do not fit the picture.


def test_a_size_of_another_aspect_is_refused_where_a_hint_covers_the_picture(runner: Callable[[str], Runner]) -> None:
    chosen = runner("canny")
    (problem,) = rehearse(chosen, {"Size.width": 512})
    assert "the hint's picture is 256 x 256 pixels, but the picture to be made is 512 x 256" in problem
    assert rehearse(chosen, {"Size.width": 512, "Size.height": 512}) == []
    assert rehearse(chosen, {"Fit.width": 512, "Fit.height": 384}) == []  # the picture is cropped, the latent follows


# What is far from the models' size is told once.


@pytest.mark.parametrize(("side", "told"), [(256, []), (512, ["more"]), (100, ["fewer"])])
def test_a_size_far_from_the_models_is_told_once(
    new_program: Path, side: int, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    size = [f"Size.{name}={side}" for name in ("width", "height")]
    steps = [f"{title}.steps=1" for title in ("Stage C", "Stage B")]
    changes = [word for change in (*size, *steps) for word in ("--set", change)]
    assert main(["run", str(FOLDER / "text_to_image.json"), *changes]) == 0
    assert re.findall("are far (more|fewer) than the 256 x 256", capsys.readouterr().err) == told


# Files that Pillow stumbles over.


def cut_gif() -> bytes:
    data = BytesIO()
    scene(60, 40).save(data, "GIF", save_all=True, append_images=[scene(60, 40).rotate(30)])
    return data.getvalue()[:-400]


def tiff_without_a_second_size() -> bytes:
    """Of a second picture in the file no size is written: Pillow raises TypeError."""
    data = BytesIO()
    scene(60, 40).save(data, "TIFF")
    whole = bytearray(data.getvalue())
    (directory,) = struct.unpack_from("<I", whole, 4)
    (entries,) = struct.unpack_from("<H", whole, directory)
    struct.pack_into("<I", whole, directory + 2 + 12 * entries, len(whole))
    return bytes(whole) + bytes(6)


def huge_png() -> bytes:
    """13,000 x 13,000 pixels of one bit in 21 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 13_000
    packed = zlib.compress(bytes(1 + side // 8) * side, 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def heic() -> bytes:
    return struct.pack(">I", 24) + b"ftypheic" + struct.pack(">I", 0) + b"mif1heic" + bytes(64)


UNREADABLE = {
    "huge.png": (huge_png, "expected at most 128 million pixels, found 13000 x 13000; save it smaller"),
    "cut.gif": (cut_gif, "save it again as PNG or JPEG"),
    "second.tif": (tiff_without_a_second_size, "Missing dimensions; save it again as PNG or JPEG"),
    "IMG_0001.HEIC": (heic, "its format, HEIC, is not read; save it as PNG or JPEG"),
    "renamed.jpg": (heic, "its format, HEIC, is not read; save it as PNG or JPEG"),
    "drawing.png": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "its format, SVG, is not read"),
    "nothing.png": (lambda: b"", "it is no picture that Pillow knows; save it again"),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("workflow", ["image_variation", "reconstruction"])
def test_what_cannot_be_read_is_one_sentence_before_anything_runs(
    new_program: Path, name: str, workflow: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, expected = UNREADABLE[name]
    (new_program / "input").mkdir()
    (new_program / "input" / name).write_bytes(make())
    assert main(["run", str(FOLDER / f"{workflow}.json"), "--set", f"Picture.image={name}"]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and f"{name} cannot be read as a picture: " in said[0] and expected in said[0], said
    assert not list((new_program / "output").glob("*.png"))


@pytest.mark.parametrize(("node", "more"), [("LoadImage", {}), ("LoadImageMask", {"channel": "red"})])
def test_comfyui_s_own_nodes_say_it_before_anything_runs_too(
    new_program: Path, node: str, more: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (new_program / "input").mkdir()
    (new_program / "input" / "nothing.png").touch()
    plain = {"width": 16, "height": 16, "batch_size": 1, "color": 0}
    shown = ["3", 0]
    prompt: dict[str, Any] = {
        "1": {"class_type": "EmptyImage", "inputs": plain},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}},
        "3": {"class_type": node, "inputs": {"image": "nothing.png", **more}},
        "5": {"class_type": "SaveImage", "inputs": {"images": shown, "filename_prefix": "read"}},
    }
    if node == "LoadImageMask":
        prompt["4"] = {"class_type": "MaskToImage", "inputs": {"mask": shown}}
        prompt["5"]["inputs"]["images"] = ["4", 0]
    (new_program / "own.json").write_text(json.dumps(prompt))
    assert main(["run", "own.json"]) == 1
    assert "nothing.png cannot be read as a picture: " in capsys.readouterr().err
    assert not (new_program / "output").exists()
