"""CascadePicture: built-in pictures, files of the input folder, and nothing else."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from stable_cascade_nodes.cascade_core.builtin.pictures import BUILT_IN_PICTURES
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.nodes.images import CascadePicture
from stable_cascade_nodes.runtime import host


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "input").mkdir()
    host.configure(input=tmp_path / "input")
    return tmp_path / "input"


@pytest.mark.parametrize("name", BUILT_IN_PICTURES)
def test_built_in_pictures_need_no_file(name: str) -> None:
    (side, _), hole = BUILT_IN_PICTURES[name].draw().size, BUILT_IN_PICTURES[name].hole
    image, mask = CascadePicture().load(image=name)
    assert image.shape == (1, side, side, 3)
    assert image.dtype == mask.dtype == torch.float32
    assert mask.shape == (1, side, side) and bool(mask.sum() > 0) == (hole is not None)
    assert 0 <= image.min() < image.max() <= 1
    assert CascadePicture.VALIDATE_INPUTS(image=name) is True
    assert CascadePicture.IS_CHANGED(image=name) == CascadePicture.IS_CHANGED(image=name)


def test_the_list_has_built_ins_then_the_pictures_of_the_folder(folder: Path) -> None:
    for name in ("b.png", "A.jpg", "notes.txt"):
        (folder / name).touch()
    names, options = CascadePicture.INPUT_TYPES()["required"]["image"]
    assert names == [*BUILT_IN_PICTURES, "A.jpg", "b.png"]
    assert options["image_upload"] is True


def test_transparency_becomes_the_mask(folder: Path) -> None:
    Image.new("RGBA", (3, 2), (255, 0, 51, 51)).save(folder / "a.png")
    image, mask = CascadePicture().load(image="a.png")
    assert image.shape == (1, 2, 3, 3) and mask.shape == (1, 2, 3)
    assert torch.allclose(image[0, 0, 0], torch.tensor([1.0, 0.0, 0.2]))
    assert torch.allclose(mask, torch.tensor(0.8))


def test_a_second_file_is_the_mask_where_it_is_white(folder: Path) -> None:
    Image.new("RGBA", (8, 4), (255, 0, 51, 51)).save(folder / "a.png")
    mask = Image.new("L", (4, 2))
    mask.putpixel((3, 1), 255)
    mask.save(folder / "mask.png")
    found = CascadePicture().load(image="a.png", mask="mask.png")[1]
    assert found.shape == (1, 4, 8) and (found[0, 3, 7], found[0, 0].max(), found[0, :, :4].max()) == (1, 0, 0)
    assert CascadePicture.VALIDATE_INPUTS(image="a.png", mask="mask.png") is True
    assert "no picture 'b.png'" in str(CascadePicture.VALIDATE_INPUTS(image="a.png", mask="b.png"))
    before = CascadePicture.IS_CHANGED(image="a.png", mask="mask.png")
    Image.new("L", (3, 4), 255).save(folder / "mask.png")
    assert CascadePicture.IS_CHANGED(image="a.png", mask="mask.png") != before
    with pytest.raises(CascadeError, match="`mask` is 3 x 4 pixels and the picture 8 x 4"):
        CascadePicture().load(image="a.png", mask="mask.png")


def test_what_is_transparent_in_a_mask_s_file_masks_nothing(folder: Path) -> None:
    strokes = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    strokes.putpixel((1, 1), (255, 255, 255, 255))
    strokes.save(folder / "strokes.png")
    assert CascadePicture().load(image="circle (built-in)", mask="strokes.png")[1].mean() == pytest.approx(1 / 16, 0.5)


def test_pictures_stand_upright(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (4, 2)).save(folder / "a.jpg", exif=exif)
    assert CascadePicture().load(image="a.jpg")[0].shape == (1, 4, 2, 3)


def test_sixteen_bits_are_scaled_and_not_cut(folder: Path) -> None:
    Image.new("I;16", (2, 2), 32768).save(folder / "a.png")
    assert CascadePicture().load(image="a.png")[0].mean() == pytest.approx(0.5, abs=1e-4)


def test_frames_are_a_batch(folder: Path) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "lime")]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:])
    image, _ = CascadePicture().load(image="a.gif")
    assert image.shape[0] == 2
    assert image[0, 0, 0].tolist() == [1, 0, 0] and image[1, 0, 0].tolist() == [0, 1, 0]


def test_other_views_in_a_photograph_are_left_out(folder: Path) -> None:
    views = [Image.new("RGB", (2, 2), colour) for colour in ("red", "lime")]
    views[0].save(folder / "a.jpg", "MPO", save_all=True, append_images=views[1:])
    assert CascadePicture().load(image="a.jpg")[0].shape[0] == 1


def test_sub_folders_and_annotations(folder: Path, tmp_path: Path) -> None:
    host.configure(output=tmp_path / "output")
    for place in (folder / "sub", tmp_path / "output"):
        place.mkdir()
        Image.new("RGB", (2, 2)).save(place / "a.png")
    for name in ("sub/a.png", "a.png [output]"):
        assert CascadePicture.VALIDATE_INPUTS(image=name) is True
        assert CascadePicture().load(image=name)[0].shape == (1, 2, 2, 3)


def test_what_is_not_there_or_not_inside(folder: Path) -> None:
    Image.new("RGB", (2, 2)).save(folder.parent / "secret.png")
    assert "There is no picture 'none.png'" in str(CascadePicture.VALIDATE_INPUTS(image="none.png"))
    assert "leads out of" in str(CascadePicture.VALIDATE_INPUTS(image="../secret.png"))
    with pytest.raises(CascadeError, match="leads out of"):
        CascadePicture().load(image="../secret.png")


@pytest.mark.parametrize("value", [1.5, True, {"a": 1}, [["b"]]])
def test_what_is_no_name(value: object) -> None:
    assert CascadePicture.VALIDATE_INPUTS(image=value) == f"expected the name of a picture, found {value!r}"
    assert CascadePicture.VALIDATE_INPUTS(image=None) is True  # a link, whose value comes later


def test_what_is_no_picture(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"no picture at all")
    with pytest.raises(CascadeError, match=r"a\.png cannot be read as a picture"):
        CascadePicture().load(image="a.png")


def test_a_changed_file_is_read_again(folder: Path) -> None:
    Image.new("RGB", (2, 2)).save(folder / "a.png")
    before = CascadePicture.IS_CHANGED(image="a.png")
    Image.new("RGB", (200, 200), "red").save(folder / "a.png")
    assert CascadePicture.IS_CHANGED(image="a.png") != before
