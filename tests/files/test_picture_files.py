"""Pictures of many frames, and of frames that are larger than the first: none takes long, or more than it may."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from PIL import Image

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.picture_files import MOST_FRAMES, count_frames, opened
from stable_cascade_nodes.nodes.images import read_picture


def tiff(path: Path, *pages: tuple[int, int]) -> Path:
    """Grey pages (width, height) of 8 bits whose pixels begin at the fourth byte; the file may end before they do."""
    parts, place = [b"II*\0", struct.pack("<I", 8)], 8
    for number, (width, height) in enumerate(pages):
        tags = (
            (256, width),
            (257, height),
            (258, 8),
            (259, 1),
            (262, 1),
            (273, 4),
            (278, height),
            (279, width * height),
        )
        place += 2 + 12 * len(tags) + 4
        after = place if number + 1 < len(pages) else 0
        parts += [struct.pack("<H", len(tags)), *(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)]
        parts.append(struct.pack("<I", after))
    path.write_bytes(b"".join(parts))
    return path


def growing_gif(path: Path, side: int) -> Path:
    """A pixel, and then a frame of another size."""
    pixel = b"\x02\x02\x44\x01\0"
    frames = [b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + pixel for size in ((1, 1), (side, side))]
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    path.write_bytes(head + b"".join(frames) + b";")
    return path


@pytest.mark.usefixtures("own_garbage")
def test_a_tiff_of_many_frames_is_refused_soon(tmp_path: Path) -> None:
    path = tiff(tmp_path / "x.tif", *[(1, 1)] * 20_000)
    started = time.process_time()
    with pytest.raises(CascadeError, match=rf"x\.tif .*expected at most {MOST_FRAMES:,} frames, found more"):
        read_picture(path)
    assert time.process_time() - started < 1.5
    assert read_picture(path, most=2)[0].shape == (2, 1, 1, 3)


@pytest.mark.parametrize(("kind", "most", "expected"), [("TIFF", 9, 3), ("TIFF", 2, 2), ("GIF", 9, 3), ("GIF", 1, 1)])
def test_frames_are_counted_to_a_bound(tmp_path: Path, kind: str, most: int, expected: int) -> None:
    frames = [Image.new("L", (4, 4), level) for level in (0, 100, 200)]
    frames[0].save(tmp_path / "x", kind, save_all=True, append_images=frames[1:])
    with opened(tmp_path / "x") as picture:
        assert (count_frames(picture, most), picture.tell()) == (expected, 0)


def test_pages_of_another_size_are_left_out_and_not_decoded(tmp_path: Path) -> None:
    path = tiff(tmp_path / "x.tif", (4, 2), (50_000, 50_000), (4, 2))
    assert read_picture(path)[0].shape == (2, 2, 4, 3)


def test_an_animation_that_outgrows_its_first_frame_is_refused(tmp_path: Path) -> None:
    path = growing_gif(tmp_path / "x.gif", 9000)
    with pytest.raises(CascadeError, match=r"^x\.gif .* frames of one size, found 9000 x 9000 after one of 1 x 1"):
        read_picture(path)
    assert read_picture(path, most=1)[0].shape == (1, 1, 1, 3)
