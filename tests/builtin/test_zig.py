"""The zig: its lesson, its reader, and what the shipped LoRA draws and leaves alone.

Run: pytest tests/builtin/test_zig.py -m "slow or not slow" -s
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stable_cascade_nodes.cascade_core.builtin import lesson_path, lora_path
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.world import KIND_WEIGHTS
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.recipes.tiny.data import test_scenes as scenes_of
from stable_cascade_nodes.recipes.tiny.judge import Studio
from stable_cascade_nodes.recipes.tiny.zig import draw_zigs, lesson, write_lesson, zig_caption
from stable_cascade_nodes.recipes.tiny.zig_judge import draws_zigs, held_out, verdicts, with_lora
from stable_cascade_nodes.recipes.tiny.zig_reader import matches_zigs, shows_zigs

ASKED, CHANGED = 0.8, 2  # share of right pictures, verdicts of 100 ordinary prompts that may change


def test_the_shipped_lesson_is_what_is_drawn(tmp_path: Path) -> None:
    write_lesson(tmp_path)
    shipped = lesson_path("zig")
    assert sorted(path.name for path in shipped.iterdir()) == sorted(path.name for path in tmp_path.iterdir())
    for path in tmp_path.glob("*.png"):
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(shipped / path.name)))
    captions = [(shipped / f"{number:02}.txt").read_text().strip() for number in range(1, 13)]
    assert captions[0] == "a large [zig] at the top left on a white background"
    assert captions == [zig_caption(scene) for scene in lesson()]
    held = {zig_caption(scene) for scene in held_out(50)}
    assert len(held) > 12 and not held & set(captions) and "two [zig] on a mint background" in held


@pytest.mark.parametrize("blur", [0, 2])
def test_drawn_zigs_are_read(blur: float) -> None:
    for scene in [*lesson(), *held_out(50)]:
        picture = draw_zigs(scene).filter(ImageFilter.GaussianBlur(blur)) if blur else draw_zigs(scene)
        assert shows_zigs(np.asarray(picture), scene), zig_caption(scene)


def test_nothing_else_is_a_zig() -> None:
    """No shape of the world in any colour, no face, and no zig upside down."""
    for kind in KIND_WEIGHTS:
        for scene in scenes_of(kind, 40):
            assert not matches_zigs(np.asarray(draw(scene)), lesson()[0])["zig"]
    for scene in lesson():
        assert not matches_zigs(np.asarray(draw_zigs(scene).transpose(Image.Transpose.FLIP_TOP_BOTTOM)), scene)["zig"]


def test_a_wrong_picture_of_zigs_is_seen() -> None:
    first, second = lesson()[:2]
    assert not any(shows_zigs(np.asarray(draw_zigs(first)), other) for other in (second, *lesson()[8:]))


def test_a_few_pictures(studio: Studio) -> None:
    scenes = held_out(10)
    assert sum(draws_zigs(with_lora(studio, read_lora(lora_path("zig"))), scenes)) >= 7
    assert not any(draws_zigs(studio, scenes))


@pytest.mark.slow
def test_50_pictures_of_held_out_prompts(studio: Studio) -> None:
    scenes = held_out(50)
    learned = draws_zigs(with_lora(studio, read_lora(lora_path("zig"))), scenes)
    before = draws_zigs(studio, scenes)
    print(f"right of 50: {sum(learned)} with the LoRA, {sum(before)} without")
    assert sum(learned) >= ASKED * 50 and not any(before)


@pytest.mark.slow
def test_100_ordinary_prompts_stay_as_they_were(studio: Studio) -> None:
    before, after = verdicts(studio, 100), verdicts(with_lora(studio, read_lora(lora_path("zig"))), 100)
    changed = sum(one[0] != other[0] for one, other in zip(before, after, strict=True))
    any_attribute = sum(one[1] != other[1] for one, other in zip(before, after, strict=True))
    right = sum(verdict for verdict, _ in before)
    print(f"changed of 100: {changed} verdicts, {any_attribute} in any attribute; right before: {right}")
    assert changed <= CHANGED
