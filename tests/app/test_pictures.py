"""Pictures that a browser brings. Run: pytest tests/app/test_pictures.py"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes.app import pictures
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.nodes.images import read_picture
from stable_cascade_nodes.runtime import host

from ..files.test_picture_files import growing_gif

BUILT_IN = "heart and a hole (built-in)"


def noise(path: Path, size: tuple[int, int] = (60, 40), **options: object) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return path


def test_a_brought_picture_is_kept_as_it_is_in_one_folder(place: Path) -> None:
    path = noise(place / "outside" / "my photo (1).png")
    name = pictures.keep(path, path.name)
    assert name.startswith("app/my_photo_1-") and name.endswith(".png")
    assert (place / "input" / name).read_bytes() == path.read_bytes()
    assert pictures.keep(path, path.name) == name  # the same again is the same file
    assert [*(place / "input").rglob("*.*")] == [place / "input" / name]
    assert pictures.names() == [name]
    assert host.current().picture_path(name).is_file()


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..\\evil.png", ".png", "a\0b.png"])
def test_no_name_leads_out(place: Path, name: str) -> None:
    path = noise(place / "outside" / "x.png")
    try:
        kept = pictures.keep(path, name)
        assert (place / "input" / "app") in (place / "input" / kept).resolve().parents
    except CascadeError as error:
        assert "expected" in str(error)
    assert {found.parent for found in place.rglob("*.png")} <= {place / "outside", place / "input" / "app"}


def test_the_content_decides_and_not_the_name(place: Path) -> None:
    noise(place / "outside" / "x.gif")
    with pytest.raises(CascadeError, match=r"x\.png: expected what the name says, found a picture of the kind GIF"):
        pictures.keep(place / "outside" / "x.gif", "x.png")
    assert pictures.keep(place / "outside" / "x.gif", "x.gif").endswith(".gif")


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"<svg/>", b"\x89PNG\r\n\x1a\nnonsense", b"%PDF-1.4", b"\0" * 1000]
)
def test_what_is_no_picture_is_refused(place: Path, content: bytes) -> None:
    (place / "outside" / "x.png").write_bytes(content)
    with pytest.raises(CascadeError, match=r"x\.png: expected a picture"):
        pictures.keep(place / "outside" / "x.png", "x.png")
    assert not (place / "input" / "app").exists()


def test_half_a_picture_is_refused(place: Path) -> None:
    whole = noise(place / "outside" / "x.png", (300, 300)).read_bytes()
    (place / "outside" / "x.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CascadeError, match="cannot be read"):
        pictures.keep(place / "outside" / "x.png", "x.png")


def test_too_much_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place / "outside" / "x.png"
    Image.new("1", (9000, 9000)).save(path)
    with pytest.raises(CascadeError, match="found 9000 x 9000"):
        pictures.keep(path, "x.png")
    Image.new("1", (4, 4)).save(
        place / "outside" / "x.gif",
        save_all=True,
        append_images=[Image.new("1", (4, 4), step % 2) for step in range(80)],
    )
    with pytest.raises(CascadeError, match=r"and more than 64 frames"):
        pictures.keep(place / "outside" / "x.gif", "x.gif")
    monkeypatch.setattr(pictures, "LARGEST_FILE", 100)
    with pytest.raises(CascadeError, match="found a larger one"):
        pictures.keep(noise(path), "x.png")


def test_a_frame_that_outgrows_the_first_is_refused(place: Path) -> None:
    path = growing_gif(place / "outside" / "x.gif", 9000)
    with pytest.raises(CascadeError, match="found 9000 x 9000 and 2 frames"):
        pictures.keep(path, "x.gif")


def test_a_painted_mask_makes_the_picture_transparent_there_and_changes_nothing_else(place: Path) -> None:
    name = pictures.keep(noise(place / "outside" / "x.png"), "x.png")
    painted = Image.new("RGBA", (120, 80))  # twice the picture's size
    painted.paste((255, 0, 0, 255), (20, 10, 60, 50))
    masked = pictures.with_mask(name, [painted])
    assert masked.startswith("app/x-") and masked != name
    image, mask = read_picture(host.current().picture_path(masked))
    original, _ = read_picture(host.current().picture_path(name))
    assert (image == original).all()
    expected = np.zeros((40, 60))
    expected[5:25, 10:30] = 1
    assert (mask[0].numpy() == expected).all()


def test_paint_takes_the_place_of_a_built_in_hole_and_no_paint_leaves_it(place: Path) -> None:
    assert pictures.with_mask(BUILT_IN, [Image.new("RGBA", (256, 256))]) == BUILT_IN
    painted = Image.new("RGBA", (256, 256))
    painted.paste((255, 0, 0, 255), (0, 0, 16, 16))
    _, mask = read_picture(host.current().picture_path(pictures.with_mask(BUILT_IN, [painted])))
    assert mask.sum() == 256


def test_a_view_is_small_and_upright(place: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    name = pictures.keep(noise(place / "outside" / "x.jpg", (2000, 1000), exif=exif), "x.jpg")
    found = pictures.view(name)
    assert found is not None and found.size == (384, 768)
    assert pictures.view("../outside/x.jpg") is None and pictures.view("nothing.png") is None


def test_what_was_brought_makes_room_and_what_a_person_laid_there_stays(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_KEPT", 2)
    (place / "input" / "app").mkdir()
    (place / "input" / "app" / "my holiday.png").write_bytes(b"mine")
    for number in range(4):
        path = place / "outside" / f"{number}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        kept = place / "input" / pictures.keep(path, path.name)
        os.utime(kept, (number, number))
    assert sorted(path.name[0] for path in (place / "input" / "app").iterdir()) == ["2", "3", "m"]
