"""The stand-ins for LoadImage, SaveImage and PreviewImage."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.headless import native
from stable_cascade_nodes.headless.graph import define
from stable_cascade_nodes.headless.native import saving
from stable_cascade_nodes.runtime import host


def save(images: torch.Tensor, prefix: str = "a", **metadata: Any) -> list[Path]:
    shown = native.saving.SaveImage().save_images(images, prefix, **metadata)["ui"]["images"]
    assert all(entry["type"] == "output" for entry in shown)
    return [host.current().output_directory() / entry["subfolder"] / entry["filename"] for entry in shown]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("node", "required", "outputs"),
    [
        (native.loading.LoadImage, ["image"], ("IMAGE", "MASK")),
        (native.saving.SaveImage, ["images", "filename_prefix"], ("IMAGE",)),
        (native.saving.PreviewImage, ["images"], ("IMAGE",)),
    ],
)
def test_inputs_and_outputs_are_the_hosts(node: type[Any], required: list[str], outputs: tuple[str, ...]) -> None:
    found = define(node)
    assert [entry.name for entry in found.inputs.values() if entry.required] == required == list(found.inputs)
    assert found.outputs == outputs
    assert found.is_output == (node is not native.loading.LoadImage)


def test_values_are_cut_to_bytes_as_in_the_host(folders: Path) -> None:
    values = torch.tensor([-1.0, 0.0, 0.999 / 255, 1 / 255, 0.5, 254.999 / 255, 1.0, 7.0])
    path = save(values.view(1, 1, 8, 1).expand(-1, -1, -1, 3))[0]
    with Image.open(path) as picture:
        assert [picture.getpixel((x, 0))[0] for x in range(8)] == [0, 0, 0, 1, 127, 254, 255, 255]  # type: ignore[index]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels(folders: Path, channels: int, mode: str) -> None:
    with Image.open(save(torch.rand(1, 3, 5, channels))[0]) as picture:
        assert (picture.mode, picture.size) == (mode, (5, 3))


def test_counting(folders: Path) -> None:
    (folders / "output" / "a_00041_.png").touch()
    (folders / "output" / "ab_00099_.png").touch()
    (folders / "output" / "a_note.txt").touch()
    paths = save(torch.rand(2, 4, 4, 3))
    assert [path.name for path in paths] == ["a_00042_.png", "a_00043_.png"]
    assert save(torch.rand(1, 4, 4, 3))[0].name == "a_00044_.png"


def test_words_in_names(folders: Path) -> None:
    path = save(torch.rand(1, 4, 6, 3), "%year%/%width%x%height%-%other%-%batch_num%")[0]
    assert re.fullmatch(r"\d{4}", path.parent.name)
    assert path.name == "6x4-%other%-0_00001_.png"


def test_metadata(folders: Path) -> None:
    prompt, workflow = {"1": {"class_type": "Ä"}}, {"nodes": []}
    with Image.open(save(torch.rand(1, 4, 4, 3), prompt=prompt, extra_pnginfo={"workflow": workflow})[0]) as picture:
        assert {key: json.loads(value) for key, value in picture.text.items()} == {  # type: ignore[attr-defined]
            "prompt": prompt,
            "workflow": workflow,
        }


def test_previews_go_to_the_temporary_folder(folders: Path) -> None:
    entry = native.saving.PreviewImage().save_images(torch.rand(1, 4, 4, 3))["ui"]["images"][0]
    assert entry["type"] == "temp"
    assert (host.current().temporary_directory() / entry["subfolder"] / entry["filename"]).is_file()
    assert not names(folders / "output")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(4, 4, 3), r"expected the shape \(batch, height, width, 3\), found \(4, 4, 3\)"),
        (torch.full((1, 4, 4, 3), torch.nan), "not finite"),
    ],
)
def test_what_is_no_picture(folders: Path, images: torch.Tensor, message: str) -> None:
    with pytest.raises(CascadeError, match=message):
        save(images)
    assert not names(folders / "output")


@pytest.mark.parametrize("prefix", ["", ".", "..", "../a", "deep/../../a", "/a", "\\..\\..\\a", "a\0b", "deep/.."])
def test_names_stay_in_the_output_folder(folders: Path, prefix: str) -> None:
    assert native.saving.SaveImage.VALIDATE_INPUTS(filename_prefix=prefix) is not True
    with pytest.raises(CascadeError, match="inside the output folder"):
        save(torch.rand(1, 4, 4, 3), prefix)
    assert sorted(path.name for path in folders.rglob("*")) == ["input", "output", "outside"]


@pytest.mark.parametrize("prefix", ["a", "deep/a", "deep\\a", "a/../b", "ünï.côdé", "a b"])
def test_names_inside_are_fine(folders: Path, prefix: str) -> None:
    assert native.saving.SaveImage.VALIDATE_INPUTS(filename_prefix=prefix) is True
    assert save(torch.rand(1, 4, 4, 3), prefix)[0].is_file()


def test_a_folder_that_cannot_be_written_is_told_before_the_work(folders: Path) -> None:
    (folders / "output" / "taken").write_bytes(b"")
    answer = native.saving.SaveImage.VALIDATE_INPUTS(filename_prefix="taken/deep/star")
    place = folders / "output" / "taken" / "deep"
    assert answer == f"{place} cannot be written (not a directory): choose another folder by --output"
    assert names(folders / "output") == ["taken"]


def test_a_failed_write_leaves_nothing(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Image.Image, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(OSError, match="full"):
        save(torch.rand(1, 4, 4, 3))
    assert not names(folders / "output")


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_nothing_is_ever_replaced(folders: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(saving, "_next_counter", lambda folder, name: 1)  # another run took the names since
    paths = [save(torch.full((1, 4, 4, 3), value))[0] for value in (0.0, 1.0)]
    assert names(folders / "output") == ["a_00001_.png", "a_00002_.png"]
    with Image.open(paths[0]) as first, Image.open(paths[1]) as second:
        assert (first.getpixel((0, 0)), second.getpixel((0, 0))) == ((0, 0, 0), (255, 255, 255))


def test_many_runs_at_once(folders: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: save(torch.rand(2, 8, 8, 3)), range(12)))
    assert len({path for paths in found for path in paths}) == 24
    assert len(names(folders / "output")) == 24


def test_the_files_may_be_read_by_others_as_usual(folders: Path) -> None:
    plain = folders / "plain"
    plain.touch()
    assert save(torch.rand(1, 4, 4, 3))[0].stat().st_mode == plain.stat().st_mode


def test_loading(folders: Path) -> None:
    picture = Image.new("RGBA", (5, 3), (255, 51, 0, 255))
    picture.putpixel((0, 0), (255, 51, 0, 0))
    picture.save(folders / "input" / "a.png")
    image, mask = native.loading.LoadImage().load_image("a.png")
    assert (image.shape, image.dtype, mask.shape) == ((1, 3, 5, 3), torch.float32, (1, 3, 5))
    torch.testing.assert_close(image[0, 1, 1], torch.tensor([1.0, 0.2, 0.0]))
    assert mask.sum() == mask[0, 0, 0] == 1


def test_annotated_names(folders: Path) -> None:
    Image.new("RGB", (5, 3)).save(folders / "output" / "a.png")
    assert native.loading.LoadImage.VALIDATE_INPUTS("a.png") is not True
    assert native.loading.LoadImage.VALIDATE_INPUTS("a.png [output]") is True
    assert native.loading.LoadImage().load_image("a.png [output]")[0].shape == (1, 3, 5, 3)


def test_a_changed_file_is_another(folders: Path) -> None:
    path = folders / "input" / "a.png"
    changes: list[str] = []
    for colour in ("red", "blue", "red"):
        Image.new("RGB", (5, 3), colour).save(path)
        changes.append(native.loading.LoadImage.IS_CHANGED("a.png"))
    assert changes[0] == changes[2] != changes[1]


def test_a_damaged_picture_is_named(folders: Path) -> None:
    (folders / "input" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(CascadeError, match=r"a\.png"):
        native.loading.LoadImage().load_image("a.png")
