"""The distance of outlines, on drawn pictures that are moved, grown, torn and empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stable_cascade_nodes.cascade_core.builtin import world
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.world import Scene
from stable_cascade_nodes.recipes.tiny.outlines import FARTHEST, outline_error

PIXEL = 1 / 256
SQUARE = world.one_shape("red", "square", "large", "center", "white")
CIRCLE = world.one_shape("blue", "circle", "large", "center", "mint")
PAIR = world.related_shapes(("small", "blue", "star"), "left of", ("large", "yellow", "heart"), "mint")
FACE = world.face_scene("brown", "black", True, True, "smile", "sky")


def drawn(scene: Scene) -> np.ndarray:
    return np.asarray(draw(scene))


def changed(scene: Scene, x: float = 0, y: float = 0, r: float = 0) -> np.ndarray:
    """The picture with its first shape moved and grown by pixels."""
    shape = scene.shapes[0]
    moved = replace(shape, x=shape.x + x * PIXEL, y=shape.y + y * PIXEL, r=shape.r + r * PIXEL)
    return drawn(replace(scene, shapes=(moved, *scene.shapes[1:])))


@pytest.mark.parametrize("scene", [SQUARE, CIRCLE, PAIR, FACE])
def test_equal_pictures_are_at_no_distance(scene: Scene) -> None:
    assert outline_error(drawn(scene), drawn(scene), scene) == 0


@pytest.mark.parametrize("pixels", [1, 3, 5])
def test_it_counts_pixels(pixels: int) -> None:
    moved = changed(SQUARE, x=pixels, y=pixels)
    assert outline_error(moved, drawn(SQUARE), SQUARE) == pytest.approx(pixels, rel=0.1)
    grown = changed(CIRCLE, r=pixels)
    assert outline_error(grown, drawn(CIRCLE), CIRCLE) == pytest.approx(pixels, rel=0.15)


def test_both_directions_count_alike() -> None:
    moved, still = changed(CIRCLE, x=4), drawn(CIRCLE)
    assert outline_error(moved, still, CIRCLE) == pytest.approx(outline_error(still, moved, CIRCLE))


def test_one_of_two_shapes_counts_in_part() -> None:
    assert 0.5 < outline_error(changed(PAIR, x=3, y=3), drawn(PAIR), PAIR) < 2


def test_specks_and_missing_mouths_count() -> None:
    speckled = drawn(SQUARE).copy()
    speckled[10:14, 10:14] = SQUARE.shapes[0].rgb
    assert outline_error(speckled, drawn(SQUARE), SQUARE) > 0.1
    assert FACE.face is not None
    other = drawn(replace(FACE, face=replace(FACE.face, mouth="frown")))
    assert outline_error(other, drawn(FACE), FACE) > 0.1


def test_noise_draws_no_outline() -> None:
    """Black hair beside dark glasses, white hair on white: a little noise finds no lines in them."""
    for face in (("brown", "black", True, True, "smile", "sky"), ("brown", "white", True, False, "frown", "white")):
        scene = world.face_scene(*face)
        noise = np.random.default_rng(0).normal(0, 3, (256, 256, 3))
        noisy = np.clip(drawn(scene) + noise, 0, 255).astype(np.uint8)
        assert outline_error(noisy, drawn(scene), scene) < 0.1


def test_an_empty_picture_is_as_far_as_can_be() -> None:
    empty = np.full((256, 256, 3), 250, np.uint8)
    assert outline_error(empty, drawn(SQUARE), SQUARE) == FARTHEST
