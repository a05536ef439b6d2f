"""The reader of pictures: what it reads, what it refuses, and captions read back as scenes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stable_cascade_nodes.cascade_core.builtin import world
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.pictures import BUILT_IN_PICTURES
from stable_cascade_nodes.cascade_core.builtin.world import Scene
from stable_cascade_nodes.recipes.tiny.captions import captions, sample_caption
from stable_cascade_nodes.recipes.tiny.components import components
from stable_cascade_nodes.recipes.tiny.reader import RIGHT, is_right, matches, read

from .caption_parser import scene_of

KINDS = tuple(world.KIND_WEIGHTS)
ONE = world.one_shape("red", "circle", "large", "top left", "white")
PAIR = world.related_shapes(("small", "blue", "star"), "left of", ("large", "yellow", "heart"), "mint")
COUNT = world.counted_shapes("three", "green", "square", "gray")
FACE = world.face_scene("brown", "black", True, True, "smile", "sky")


def _picture(scene: Scene, size: int = 256) -> np.ndarray:
    return np.asarray(draw(scene, size))


def _spoiled(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    blurred = np.asarray(draw(scene).filter(ImageFilter.GaussianBlur(2)), np.float32)
    return np.clip(blurred + rng.normal(0, 8, blurred.shape), 0, 255).astype(np.uint8)


def _wrong(scene: Scene, picture: np.ndarray) -> set[str]:
    return {attribute for attribute, holds in matches(read(picture), scene).items() if not holds}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [128, 200, 256])
def test_drawn_pictures_are_read_wholly(kind: str, size: int) -> None:
    rng = np.random.default_rng(size)
    for number in range(40):
        scene = world.sample_scene(rng, kind, held_out=number % 4 == 0)
        assert _wrong(scene, _picture(scene, size)) == set(), captions(scene)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_blurred_and_noisy_pictures_are_read_too(kind: str) -> None:
    rng = np.random.default_rng(3)
    scenes = [world.sample_scene(rng, kind) for _ in range(60)]
    wholly = sum(not _wrong(scene, _spoiled(scene, rng)) for scene in scenes)
    assert wholly >= 58


ONE_CHANGE = {
    "color": [
        (ONE, world.one_shape("orange", "circle", "large", "top left", "white")),
        (PAIR, world.related_shapes(("small", "blue", "star"), "left of", ("large", "pink", "heart"), "mint")),
        (COUNT, world.counted_shapes("three", "blue", "square", "gray")),
    ],
    "shape": [
        (ONE, world.one_shape("red", "square", "large", "top left", "white")),
        (PAIR, world.related_shapes(("small", "blue", "triangle"), "left of", ("large", "yellow", "heart"), "mint")),
        (COUNT, world.counted_shapes("three", "green", "diamond", "gray")),
    ],
    "size": [
        (ONE, world.one_shape("red", "circle", "small", "top left", "white")),
        (PAIR, world.related_shapes(("small", "blue", "star"), "left of", ("small", "yellow", "heart"), "mint")),
    ],
    "place": [(ONE, world.one_shape("red", "circle", "large", "center", "white"))],
    "background": [
        (ONE, world.one_shape("red", "circle", "large", "top left", "cream")),
        (COUNT, world.counted_shapes("three", "green", "square", "white")),
    ],
    "relation": [
        (PAIR, world.related_shapes(("small", "blue", "star"), "right of", ("large", "yellow", "heart"), "mint")),
        (PAIR, world.related_shapes(("small", "blue", "star"), "above", ("large", "yellow", "heart"), "mint")),
    ],
    "count": [(COUNT, world.counted_shapes("four", "green", "square", "gray"))],
    "skin": [(FACE, world.face_scene("dark", "black", True, True, "smile", "sky"))],
    "hair": [(FACE, world.face_scene("brown", "brown", True, True, "smile", "sky"))],
    "length": [(FACE, world.face_scene("brown", "black", False, True, "smile", "sky"))],
    "glasses": [(FACE, world.face_scene("brown", "black", True, False, "smile", "sky"))],
    "mouth": [(FACE, world.face_scene("brown", "black", True, True, "frown", "sky"))],
}


def score(picture: Image.Image, scene: Scene) -> float:
    """The share of the scene's attributes that the picture shows, from 0 to 1."""
    verdicts = matches(read(picture), scene)
    return sum(verdicts.values()) / len(verdicts)


@pytest.mark.parametrize("attribute", ONE_CHANGE)
def test_one_wrong_attribute_is_found_alone(attribute: str) -> None:
    for wanted, drawn in ONE_CHANGE[attribute]:
        picture = _picture(drawn)
        assert _wrong(wanted, picture) == {attribute}
        assert is_right(picture, wanted) == (attribute not in RIGHT[wanted.kind])
        assert 0.7 < score(picture, wanted) < 1 == score(picture, drawn)


def test_swapped_colours_are_wrong() -> None:
    drawn = world.related_shapes(("small", "yellow", "star"), "left of", ("large", "blue", "heart"), "mint")
    assert not is_right(_picture(drawn), PAIR)


def test_a_second_shape_makes_one_shape_wrong() -> None:
    drawn = world.related_shapes(("small", "red", "circle"), "left of", ("small", "red", "square"), "white")
    assert not is_right(_picture(drawn), ONE)


@pytest.mark.parametrize("wanted", [ONE, PAIR, COUNT, FACE], ids=KINDS)
def test_pictures_of_something_else_are_wrong(wanted: Scene) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((6, 6)).resize((256, 256), Image.Resampling.BICUBIC))
    others = [_picture(scene) for scene in (ONE, PAIR, COUNT, FACE) if scene.kind != wanted.kind]
    empty = np.full((256, 256, 3), wanted.background_rgb, np.uint8)
    for picture in (noise, smooth, empty, np.zeros_like(empty), *others):
        assert not is_right(picture, wanted)


def test_a_face_without_features_is_no_such_face() -> None:
    picture = _picture(FACE).copy()
    picture[40:200] = FACE.background_rgb
    assert not is_right(picture, FACE)


def test_specks_are_ignored() -> None:
    picture = _picture(ONE).copy()
    picture[200:212, 150:162] = (0, 0, 0)
    assert is_right(picture, ONE)


def test_floats_and_pillow_images_are_read_like_bytes() -> None:
    picture = _picture(PAIR)
    assert read(picture.astype(np.float32) / 255) == read(picture) == read(draw(PAIR))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), r"shape \(height, width, 3\).*this one is uint8 of shape \(1, 8, 8, 3\)"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.zeros((0, 8, 3), np.uint8), "uint8 of shape"),
        (np.full((8, 8, 3), np.nan), "no finite numbers"),
    ],
)
def test_other_input_is_refused(picture: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(picture)


def test_reading_measures_places_and_radii() -> None:
    for scene in (ONE, PAIR):
        seen = sorted(read(_picture(scene)).shapes, key=lambda shape: shape.x)
        for shape, wanted in zip(seen, scene.shapes, strict=True):
            assert (shape.x, shape.y, shape.r) == pytest.approx((wanted.x, wanted.y, wanted.r), abs=0.01)


def test_built_in_pictures_are_right() -> None:
    assert all(score(draw(scene), scene) == 1 for scene in (picture.scene for picture in BUILT_IN_PICTURES.values()))


def test_components_part_at_bridges_and_drop_small_parts() -> None:
    mask = np.zeros((30, 40), bool)
    mask[5:15, 2:12] = mask[5:15, 14:34] = mask[9, 12:14] = mask[25:27, 30:33] = True
    assert [int(part.sum()) for part in components(mask, 20)] == [200 + 1, 100 + 1]
    assert components(np.zeros((5, 5), bool), 1) == []
    assert int(components(np.ones((5, 5), bool), 1)[0].sum()) == 25
    ring = np.ones((20, 20), bool)
    ring[5:15, 5:15] = False
    assert [int(part.sum()) for part in components(ring, 1)] == [300]


def _told(scene: Scene) -> tuple[object, ...]:
    if scene.face is not None:
        face = scene.face
        return scene.background, face.skin, face.hair, face.long, face.glasses, face.mouth
    shapes = tuple((shape.size, shape.color, shape.shape) for shape in scene.shapes)
    return scene.background, scene.place, scene.relation, shapes


@pytest.mark.parametrize("kind", KINDS)
def test_canonical_captions_are_read_back(kind: str) -> None:
    rng = np.random.default_rng(4)
    for number in range(100):
        scene = world.sample_scene(rng, kind, held_out=number % 2 == 0)
        assert _told(scene_of(captions(scene)[0])) == _told(scene)


@pytest.mark.parametrize("kind", KINDS)
def test_every_training_caption_tells_a_scene_that_its_picture_shows(kind: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        scene = world.sample_scene(rng, kind)
        caption = sample_caption(scene, rng)
        assert is_right(_picture(scene, 128), scene_of(caption)), caption


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("a red circle", "must end with 'on a ... background'"),
        ("a red circle on a blue background", "'blue' is not a background"),
        ("a huge red circle on a sky background", "'a huge red circle' is no shape like"),
        ("a red dog on a sky background", "'dog' is not a shape"),
        ("three red circle on a sky background", "'three red circle' is no number of shapes"),
        ("a red circle at the left on a sky background", "'left' is not a place"),
        ("a face with pale skin on a sky background", "hair and mouth"),
        ("a face with pale skin, a hat and a smile on a sky background", "'a hat' is no part of a face"),
    ],
)
def test_unreadable_captions_say_what_is_wrong(caption: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scene_of(caption)
