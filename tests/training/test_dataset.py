"""Folders of pictures: captions, control pictures, and one clear sentence for what is amiss.

Run: pytest tests/training
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.training.data.buckets import draw_batch, fit, nearest, sizes
from stable_cascade_nodes.cascade_core.training.data.dataset import differences, read_dataset, read_pixels


def put(folder: Path, name: str, caption: str | None = "a star", size: tuple[int, int] = (64, 48)) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 30, 60)).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def test_pictures_of_all_sub_folders_with_their_captions(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a star,\n on red \n")
    put(tmp_path, "sub/a.jpg", "ein Stern für dich")
    put(tmp_path, ".hidden/c.png")
    put(tmp_path, "control/b.png", None)
    (tmp_path / "readme.md").write_text("not a picture")
    examples = read_dataset(tmp_path).examples
    assert [(each.name, each.caption, each.size) for each in examples] == [
        ("b.png", "a star, on red", (48, 64)),
        ("sub/a.jpg", "ein Stern für dich", (48, 64)),
    ]


def test_one_caption_for_all(tmp_path: Path) -> None:
    put(tmp_path, "rex.png", None)
    assert read_dataset(tmp_path, "a photo of [zig]").examples[0].caption == "a photo of [zig]"
    assert read_dataset(tmp_path, "a photo of {name}").examples[0].caption == "a photo of rex"
    put(tmp_path, "rex.png", "a dog {name}")
    assert read_dataset(tmp_path, "{caption}, [zig]").examples[0].caption.startswith("a dog")


def test_turned_pictures_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 10)).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "a.txt").write_text("a")
    (example,) = read_dataset(tmp_path).examples
    assert example.size == (30, 10)
    assert read_pixels(example.picture).shape == (3, 30, 10)


def test_sixteen_bits_are_read_as_0_to_1(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 65535 // 2, np.uint16)).save(tmp_path / "a.png")
    assert read_pixels(tmp_path / "a.png").mean() == pytest.approx(0.5, abs=1e-3)


def test_what_is_amiss_is_named(tmp_path: Path) -> None:
    with pytest.raises(CascadeError, match="nowhere is no folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(CascadeError, match="There are no pictures in"):
        read_dataset(tmp_path)
    picture = put(tmp_path, "a.png", None)
    with pytest.raises(CascadeError, match=r"1 picture has no caption, .*a\.png first: write one into a\.txt"):
        read_dataset(tmp_path)
    picture.with_suffix(".txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CascadeError, match=r"a\.txt, the caption of a\.png, cannot be read as UTF-8"):
        read_dataset(tmp_path)
    picture.with_suffix(".txt").write_text("a")
    picture.write_bytes(b"no picture")
    with pytest.raises(CascadeError, match=r"a\.png cannot be read: it is no picture"):
        read_dataset(tmp_path)


def test_an_empty_caption_is_none(tmp_path: Path) -> None:
    for name, caption in (("a.png", "a star"), ("b.png", " \n"), ("c.png", None), ("10_red dog/d.png", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        put(tmp_path, name, caption)
    first = (
        r"2 of 4 pictures have no caption, .*b\.png first: fill b\.txt, which is empty, or give one for all by --cap"
    )
    for caption in ("", "{caption}, old"):
        with pytest.raises(CascadeError, match=first):
            read_dataset(tmp_path, caption)
    assert (
        read_dataset(tmp_path, "a star").in_words() == "pictures found: 4, all used; counted 13 times by their folders"
    )
    for name in ("b", "c"):
        (tmp_path / f"{name}.txt").write_text("a")
    dataset = read_dataset(tmp_path)
    assert [example.caption for example in dataset.examples] == ["red dog", "a star", "a", "a"]
    assert "; 1 with an empty caption: 10_red dog/d.png; " in dataset.in_words()


def test_pictures_of_formats_that_are_not_read_are_counted(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.HEIC").write_bytes(b"")
    with pytest.raises(
        CascadeError, match=r"no picture in .* that can be read; pictures found: 1; used: 0; skipped: 1"
    ):
        read_dataset(tmp_path)
    put(tmp_path, "a.png")
    assert read_dataset(tmp_path).unread == {"HEIC": 1}
    (tmp_path / "IMG_1.HEIC").unlink()
    assert read_dataset(tmp_path).in_words() == "pictures found: 1, all used"
    for name in ("sub/x.heic", "y.heif", "z.SVG", "control/w.heic", ".hidden/v.heic", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert read_dataset(tmp_path).in_words() == (
        "pictures found: 4; used: 1; skipped: 3 (2 HEIC, 1 SVG), whose formats are not read: save them as PNG or JPEG"
    )


def test_a_picture_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")  # nor has it a caption
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("a star")
    dataset = read_dataset(tmp_path)
    assert [example.name for example in dataset.examples] == ["a.png", "b.png"]
    assert dataset.leaves_out
    assert dataset.in_words() == "pictures found: 2, all used; left out, as 1 more cannot be read: bad.png"
    (tmp_path / "bad.png").unlink()
    assert not read_dataset(tmp_path).leaves_out
    assert read_dataset(tmp_path).fingerprints() == dataset.fingerprints()  # so that a training goes on


def test_a_picture_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(255, size=(64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CascadeError, match=r"a\.png cannot be read: .*; repair it"):
        read_pixels(path)


def test_control_pictures_lie_under_the_same_names(tmp_path: Path) -> None:
    put(tmp_path, "sub/a.png")
    with pytest.raises(
        CascadeError, match=r"a\.png has no control picture: put it under the same name into .*control/sub"
    ):
        read_dataset(tmp_path).with_controls()
    put(tmp_path, "control/sub/a.jpg", None, (32, 48))
    with pytest.raises(CascadeError, match=r"a\.jpg is 32 x 48 pixels, but its picture 64 x 48"):
        read_dataset(tmp_path).with_controls()
    control = put(tmp_path, "control/sub/a.jpg", None, (128, 96))
    (example,) = read_dataset(tmp_path).with_controls().examples
    assert example.control == control


def test_marks_tell_what_changed(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    put(tmp_path, "b.png")
    before = read_dataset(tmp_path).fingerprints()
    assert differences(before, read_dataset(tmp_path).fingerprints()) == []
    put(tmp_path, "b.png", "another caption")
    put(tmp_path, "c.png")
    (tmp_path / "a.png").unlink()
    assert differences(before, read_dataset(tmp_path).fingerprints()) == [
        "pictures were added (c.png)",
        "pictures were taken away (a.png)",
        "pictures were changed, or their captions were (b.png)",
    ]


def test_buckets_have_the_area_and_whole_cells() -> None:
    found = sizes(768)
    assert (768, 768) in found and (864, 640) in found and (640, 864) in found
    assert all(height % 32 == 0 and width % 32 == 0 for height, width in found)
    assert all(0.88 < height * width / 768**2 <= 1 for height, width in found)
    assert nearest((1000, 1000), found) == (768, 768)
    assert nearest((600, 1100), found)[1] > nearest((600, 1100), found)[0]
    with pytest.raises(CascadeError, match="expected at least 32 pixels, found 16"):
        sizes(16)


def test_a_picture_covers_its_bucket_and_loses_both_sides_alike() -> None:
    ramp = torch.linspace(0, 1, 400).expand(3, 100, 400)
    fitted = fit(ramp, (64, 128))
    assert fitted.shape == (3, 64, 128)
    assert float(fitted[0, 0, 0]) == pytest.approx(1 - float(fitted[0, 0, -1]), abs=0.01)
    assert float(fitted[0, 0, 0]) == pytest.approx(0.25, abs=0.01)  # 64 x 256, of which 64 each are cut off


def test_batches_never_mix_buckets_and_all_pictures_come_alike() -> None:
    groups = [[0, 1, 2, 3, 4, 5], [6, 7]]
    random = np.random.default_rng(0)
    counts = np.zeros(8)
    for _ in range(3000):
        batch = draw_batch(groups, 3, random)
        assert set(batch) <= {0, 1, 2, 3, 4, 5} or set(batch) <= {6, 7}
        if batch[0] < 6:
            assert len(set(batch)) == 3
        np.add.at(counts, batch, 1)
    assert counts.min() > 0.85 * counts.max()
