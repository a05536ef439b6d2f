"""The picture world: what is sampled, said and drawn."""

from __future__ import annotations

import numpy as np
import pytest

from stable_cascade_nodes.cascade_core.builtin import world
from stable_cascade_nodes.cascade_core.builtin.draw import CLOTHES, LIPS, draw
from stable_cascade_nodes.cascade_core.builtin.pictures import BUILT_IN_PICTURES
from stable_cascade_nodes.cascade_core.builtin.world import Scene
from stable_cascade_nodes.cascade_core.models.tokenizer import split_words
from stable_cascade_nodes.recipes.tiny.attributes import ATTRIBUTE_SIZES, attributes
from stable_cascade_nodes.recipes.tiny.captions import VOCABULARY, captions, sample_caption

KINDS = tuple(world.KIND_WEIGHTS)


def _scenes(number: int, kind: str | None = None, held_out: bool = False) -> list[Scene]:
    rng = np.random.default_rng(11)
    return [world.sample_scene(rng, kind, held_out) for _ in range(number)]


def _is_held_out(scene: Scene) -> bool:
    if scene.face is not None:
        return (scene.face.skin, scene.face.hair) in world.HELD_OUT_FACES
    return any((shape.color, shape.shape) in world.HELD_OUT_SHAPES for shape in scene.shapes)


def _pixel(scene: Scene, x: float, y: float, size: int = 256) -> tuple[int, ...]:
    return draw(scene, size).getpixel((int(x * size), int(y * size)))


def test_a_seed_gives_the_same_scenes_and_pixels() -> None:
    assert _scenes(50) == _scenes(50)
    for scene in _scenes(10):
        assert draw(scene).tobytes() == draw(scene).tobytes()


def test_held_out_combinations_never_occur_in_training() -> None:
    assert not any(_is_held_out(scene) for scene in _scenes(5000))


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_scenes_hold_a_held_out_combination(kind: str) -> None:
    scenes = _scenes(300, kind, held_out=True)
    assert all(_is_held_out(scene) for scene in scenes)
    assert {scene.kind for scene in scenes} == {kind}


def test_kinds_come_in_the_stated_shares() -> None:
    kinds = [scene.kind for scene in _scenes(5000)]
    for kind, share in world.KIND_WEIGHTS.items():
        assert kinds.count(kind) / len(kinds) == pytest.approx(share, abs=0.03)


def test_jitter_stays_within_its_limits() -> None:
    for scene in _scenes(2000):
        assert np.abs(np.subtract(scene.background_rgb, world.BACKGROUNDS[scene.background])).max() <= 3
        if scene.kind == "one":
            centers = (world.PLACES[scene.place],)
        elif scene.kind == "relation":
            centers = world.RELATIONS[scene.relation]
        else:
            centers = list(world.COUNTS.values())[len(scene.shapes) - 2] if scene.shapes else ()
        for shape, center in zip(scene.shapes, centers, strict=True):
            assert np.abs(np.subtract(shape.rgb, world.COLORS[shape.color])).max() <= 6
            assert np.abs(np.subtract((shape.x, shape.y), center)).max() <= 0.03 + 1e-9
            if scene.kind == "count":
                assert 0.155 <= shape.r <= 0.185
            else:
                assert shape.r == pytest.approx(world.RADII[shape.size], rel=0.105)
        if scene.face is not None:
            assert 0.27 <= scene.face.r <= 0.30
            assert np.abs(np.subtract((scene.face.x, scene.face.y), world.FACE_CENTER)).max() <= 0.03


def test_shapes_of_a_relation_differ_and_counted_ones_are_alike() -> None:
    for scene in _scenes(500, "relation"):
        first, second = scene.shapes
        assert (first.color, first.shape) != (second.color, second.shape)
        assert max(first.r, second.r) <= 0.215
    for scene in _scenes(200, "count"):
        assert len({(shape.color, shape.shape, shape.r, shape.rgb) for shape in scene.shapes}) == 1


def test_unknown_words_are_named() -> None:
    with pytest.raises(ValueError, match="'teal' is not a colour; choose from red, green"):
        world.one_shape("teal", "circle", "small", "center", "white")
    with pytest.raises(ValueError, match="'pair' is not a kind of scene"):
        world.sample_scene(np.random.default_rng(0), "pair")
    with pytest.raises(ValueError, match="'grin' is not a mouth"):
        world.face_scene("pale", "red", True, True, "grin", "sky")
    with pytest.raises(ValueError, match="must differ"):
        world.related_shapes(("small", "red", "heart"), "above", ("large", "red", "heart"), "sky")


def test_canonical_captions() -> None:
    one = world.one_shape("red", "circle", "large", "top left", "white")
    assert captions(one) == ("a large red circle at the top left on a white background",)
    pair = world.related_shapes(("small", "blue", "star"), "left of", ("large", "yellow", "heart"), "mint")
    assert captions(pair) == (
        "a small blue star left of a large yellow heart on a mint background",
        "a large yellow heart right of a small blue star on a mint background",
    )
    assert captions(world.counted_shapes("two", "black", "cross", "rose")) == (
        "two black crosses on a rose background",
    )
    bespectacled = world.face_scene("brown", "black", True, True, "smile", "sky")
    assert captions(bespectacled) == (
        "a face with brown skin, long black hair, glasses and a smile on a sky background",
    )
    plain = world.face_scene("pale", "red", False, False, "open mouth", "white")
    assert captions(plain) == (
        "a face with pale skin, short red hair, no glasses and an open mouth on a white background",
    )


def test_training_captions_vary_and_use_only_the_vocabulary() -> None:
    rng = np.random.default_rng(2)
    told = [sample_caption(scene, rng) for scene in _scenes(1500)]
    assert {word for caption in told for word in split_words(caption)} <= set(VOCABULARY)
    assert any(caption.startswith("an orange ") for caption in told)
    assert any(" , " in caption for caption in told)
    pair = world.related_shapes(("small", "blue", "star"), "above", ("large", "red", "heart"), "gray")
    tellings = {sample_caption(pair, rng) for _ in range(200)}
    assert "a large red heart below a small blue star on a gray background" in tellings
    assert "a blue star above a large red heart on a gray background" in tellings
    one = world.one_shape("red", "circle", "large", "top left", "white")
    assert "a large red circle on a white background" in {sample_caption(one, rng) for _ in range(100)}


def test_words() -> None:
    assert split_words("A face , with tan skin,a smile.") == [
        "a",
        "face",
        ",",
        "with",
        "tan",
        "skin",
        ",",
        "a",
        "smile",
    ]
    assert split_words(" ; ") == []
    assert list(VOCABULARY) == sorted(set(VOCABULARY))


@pytest.mark.parametrize("shape", world.SHAPES)
def test_shapes_are_drawn_in_their_colour_where_they_belong(shape: str) -> None:
    scene = world.one_shape("blue", shape, "small", "bottom left", "cream")
    assert _pixel(scene, 0.27, 0.73) == world.COLORS["blue"]
    for x, y in ((0.27, 0.27), (0.73, 0.73), (0.5, 0.5), (0.27, 0.5), (0.27, 0.95)):
        assert _pixel(scene, x, y) == world.BACKGROUNDS["cream"]


def test_outlines_follow_the_specification() -> None:
    def covered(shape: str, x: float, y: float) -> bool:
        scene = world.one_shape("black", shape, "large", "center", "white")
        return _pixel(scene, 0.5 + 0.24 * x, 0.5 + 0.24 * y)[0] < 128

    assert covered("circle", 0.68, 0.68) and not covered("circle", 0.74, 0.74)
    assert covered("square", 0.83, -0.83) and not covered("square", 0.9, 0)
    assert covered("triangle", 0.8, 0.75) and not covered("triangle", 0.5, -0.4) and not covered("triangle", 0, 0.85)
    assert covered("star", 0, -1.0) and not covered("star", 0, 0.6) and not covered("star", 0.5, -0.6)
    assert covered("diamond", 0.7, 0) and not covered("diamond", 0.8, 0) and covered("diamond", 0, 1.0)
    assert covered("heart", 0.5, -0.5) and not covered("heart", 0, -0.8) and not covered("heart", 0.6, 0.6)
    assert covered("cross", 0.95, 0.3) and covered("cross", 0.3, 0.95) and not covered("cross", 0.4, 0.4)


def test_faces_are_drawn_as_described() -> None:
    plain = world.face_scene("tan", "blonde", False, False, "smile", "mint")
    rich = world.face_scene("tan", "blonde", True, True, "open mouth", "mint")
    r = sum(world.FACE_RADII) / 2

    def pixel(scene: Scene, x: float, y: float) -> tuple[int, ...]:
        return _pixel(scene, 0.5 + r * x, 0.53 + r * y)

    for scene in (plain, rich):
        assert pixel(scene, 0, 0.3) == world.SKINS["tan"]
        assert pixel(scene, 0, -0.7) == world.HAIRS["blonde"]
        assert pixel(scene, 0, 1.6) == CLOTHES
        assert _pixel(scene, 0.03, 0.5) == world.BACKGROUNDS["mint"]
    assert pixel(plain, 1.1, 1.0) == world.BACKGROUNDS["mint"]
    assert pixel(rich, 1.1, 1.0) == world.HAIRS["blonde"]
    assert pixel(plain, 0.38, 0.32) == world.SKINS["tan"]
    assert max(pixel(rich, 0.38, 0.32)) < 60
    assert pixel(rich, 0, 0.62) == LIPS
    assert pixel(plain, 0, 0.73) == LIPS and pixel(plain, 0, 0.5) == world.SKINS["tan"]


def test_pictures_have_the_size_asked_for() -> None:
    scene = world.one_shape("red", "star", "small", "center", "sky")
    assert draw(scene, 64).size == (64, 64) and draw(scene).mode == "RGB"
    with pytest.raises(ValueError, match="at least 16"):
        draw(scene, 8)


def test_attributes_name_every_shape_in_its_cell() -> None:
    assert len(ATTRIBUTE_SIZES) == 9 * 3 + 1 + 5
    scene = world.related_shapes(("small", "red", "circle"), "right of", ("large", "black", "cross"), "rose")
    values = attributes(scene)
    assert values[:9].tolist() == [0, 0, 0, 8, 0, 1, 0, 0, 0]
    assert values[9:18].tolist() == [0, 0, 0, 7, 0, 1, 0, 0, 0]
    assert values[18:27].tolist() == [0, 0, 0, 2, 0, 1, 0, 0, 0]
    assert values[27:].tolist() == [5, 0, 0, 0, 0, 0]
    face = world.face_scene("dark", "white", True, False, "frown", "white")
    assert attributes(face).tolist() == [0] * 27 + [0, 4, 5, 2, 1, 2]


def test_attributes_stay_in_range_and_count_the_shapes() -> None:
    for scene in _scenes(1000):
        values = attributes(scene)
        assert (values >= 0).all() and (values < ATTRIBUTE_SIZES).all()
        assert np.count_nonzero(values[:9]) == len(scene.shapes)


def test_built_in_pictures_keep_to_what_training_shows() -> None:
    assert {picture.scene.kind for picture in BUILT_IN_PICTURES.values()} == set(KINDS)
    for name, picture in BUILT_IN_PICTURES.items():
        assert name.endswith("(built-in)")
        assert not _is_held_out(picture.scene)


def test_a_built_in_picture_may_be_small_or_cut_or_have_a_hole() -> None:
    names = ("small heart and star", "close-up of a face", "heart and a hole")
    small, cut, holed = (BUILT_IN_PICTURES[f"{name} (built-in)"] for name in names)
    assert small.draw().size == (16, 16) and small.draw().mode == "RGB"
    assert cut.draw().tobytes() == draw(cut.scene).crop((32, 32, 224, 224)).tobytes()
    picture = holed.draw()
    assert picture.mode == "RGBA" and picture.convert("RGB").tobytes() == draw(holed.scene).tobytes()
    star, heart = holed.scene.shapes[1], holed.scene.shapes[0]
    alpha = [picture.getchannel("A").getpixel((int(shape.x * 256), int(shape.y * 256))) for shape in (star, heart)]
    assert alpha == [0, 255]
