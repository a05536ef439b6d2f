"""The picture world of the built-in tiny cascade: what its scenes contain and how they are sampled.

Coordinates are fractions of the picture's side with y downwards; ``r`` is a radius in the same unit;
colours are RGB from 0 to 255. All chance is spent while a scene is sampled: the scene keeps its jittered
places, radii and colours, so drawing it and describing it are deterministic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # the names of the built-in pictures are listed without it
    import numpy as np

Rgb = tuple[int, int, int]
Value = TypeVar("Value")

COLORS: dict[str, Rgb] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (45, 80, 215),
    "yellow": (245, 205, 30),
    "orange": (245, 130, 25),
    "purple": (130, 50, 170),
    "pink": (240, 110, 175),
    "black": (30, 30, 30),
}
BACKGROUNDS: dict[str, Rgb] = {
    "white": (250, 250, 250),
    "gray": (190, 190, 190),
    "cream": (255, 240, 190),
    "sky": (178, 214, 250),
    "mint": (190, 232, 190),
    "rose": (252, 208, 224),
}
SKINS: dict[str, Rgb] = {"pale": (255, 224, 196), "tan": (224, 172, 120), "brown": (160, 104, 64), "dark": (96, 60, 40)}
HAIRS: dict[str, Rgb] = {
    "black": (35, 30, 35),
    "brown": (110, 65, 30),
    "blonde": (240, 205, 90),
    "red": (200, 70, 30),
    "white": (235, 235, 235),
}
PLURALS: dict[str, str] = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "diamond": "diamonds",
    "heart": "hearts",
    "cross": "crosses",
}
SHAPES: tuple[str, ...] = tuple(PLURALS)
RADII: dict[str, float] = {"small": 0.17, "large": 0.24}
PLACES: dict[str, tuple[float, float]] = {
    "top left": (0.27, 0.27),
    "top right": (0.73, 0.27),
    "bottom left": (0.27, 0.73),
    "bottom right": (0.73, 0.73),
    "center": (0.5, 0.5),
}
RELATIONS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "left of": ((0.27, 0.5), (0.73, 0.5)),
    "right of": ((0.73, 0.5), (0.27, 0.5)),
    "above": ((0.5, 0.27), (0.5, 0.73)),
    "below": ((0.5, 0.73), (0.5, 0.27)),
}
OPPOSITES: dict[str, str] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
COUNTS: dict[str, tuple[tuple[float, float], ...]] = {
    "two": ((0.29, 0.5), (0.71, 0.5)),
    "three": ((0.5, 0.27), (0.27, 0.71), (0.73, 0.71)),
    "four": ((0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)),
}
MOUTHS: tuple[str, ...] = ("smile", "frown", "open mouth")
KIND_WEIGHTS: dict[str, float] = {"one": 0.30, "relation": 0.34, "count": 0.16, "face": 0.20}

HELD_OUT_SHAPES: frozenset[tuple[str, str]] = frozenset(
    {("red", "star"), ("green", "heart"), ("purple", "diamond"), ("yellow", "cross"), ("blue", "triangle")}
)
"""Pairs (colour, shape) that training never shows."""
HELD_OUT_FACES: frozenset[tuple[str, str]] = frozenset({("dark", "blonde"), ("pale", "white"), ("tan", "red")})
"""Pairs (skin, hair) that training never shows."""

PAIR_RADIUS_LIMIT = 0.215
COUNT_RADII = (0.155, 0.185)
FACE_CENTER = (0.5, 0.53)
FACE_RADII = (0.27, 0.30)
PLACE_JITTER = 0.03
COUNT_OWN_JITTER = 0.01
SIZE_JITTER = 0.07
COLOR_JITTER = 6
BACKGROUND_JITTER = 3


@dataclass(frozen=True)
class Shape:
    """One coloured shape: its words, and where and how it is drawn."""

    color: str
    shape: str
    size: str
    x: float
    y: float
    r: float
    rgb: Rgb


@dataclass(frozen=True)
class Face:
    """A cartoon face: its words, and where and how it is drawn."""

    skin: str
    hair: str
    long: bool
    glasses: bool
    mouth: str
    x: float
    y: float
    r: float
    skin_rgb: Rgb
    hair_rgb: Rgb


@dataclass(frozen=True)
class Scene:
    """One picture's content.

    ``kind`` is "one" (one shape at ``place``, or anywhere when that is None), "relation" (the first shape is
    ``relation`` the second), "count" (two to four alike shapes) or "face" (``face`` is set and there are no shapes).
    """

    kind: str
    background: str
    background_rgb: Rgb
    shapes: tuple[Shape, ...] = ()
    place: str | None = None
    relation: str | None = None
    face: Face | None = None


class Jitter:
    """The small deviations of one scene; without a generator there are none."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self._rng = rng

    def shift(self, limit: float) -> float:
        """A number between -limit and limit, 0 without a generator."""
        return 0.0 if self._rng is None else float(self._rng.uniform(-limit, limit))

    def between(self, low: float, high: float) -> float:
        """A number between low and high, their middle without a generator."""
        return (low + high) / 2 + self.shift((high - low) / 2)

    def rgb(self, base: Rgb, limit: int) -> Rgb:
        """The colour with every channel moved by at most ``limit``."""
        if self._rng is None:
            return base
        steps = self._rng.integers(-limit, limit + 1, 3)
        red, green, blue = (min(max(channel + int(step), 0), 255) for channel, step in zip(base, steps, strict=True))
        return red, green, blue


def one_shape(
    color: str, shape: str, size: str, place: str | None, background: str, rng: np.random.Generator | None = None
) -> Scene:
    """One shape at a named place; without ``rng`` exactly there, with it slightly off.

    ``place`` None means that any place would do; the shape is then at the center. ValueError on unknown words.
    """
    jitter = Jitter(rng)
    x, y = _known("center" if place is None else place, PLACES, "place")
    radius = _known(size, RADII, "size") * (1 + jitter.shift(SIZE_JITTER))
    rgb = _shape_rgb(color, shape, jitter)
    placed = Shape(color, shape, size, x + jitter.shift(PLACE_JITTER), y + jitter.shift(PLACE_JITTER), radius, rgb)
    return Scene("one", background, _background(background, jitter), (placed,), place=place)


def related_shapes(
    first: tuple[str, str, str],
    relation: str,
    second: tuple[str, str, str],
    background: str,
    rng: np.random.Generator | None = None,
) -> Scene:
    """Two shapes, each (size, colour, shape), the first ``relation`` the second.

    Raises ValueError for unknown words and for two shapes alike in colour and shape.
    """
    if first[1:] == second[1:]:
        raise ValueError(f"two shapes in a relation must differ in colour or shape, both are {' '.join(first[1:])}")
    jitter = Jitter(rng)
    centers = _known(relation, RELATIONS, "relation")
    along = jitter.shift(PLACE_JITTER)  # both shapes move together: apart they may touch, and are then hard to tell
    sideways = relation in ("left of", "right of")
    shapes: list[Shape] = []
    for (size, color, shape), center in zip((first, second), centers, strict=True):
        across = jitter.shift(PLACE_JITTER)  # each by itself
        right, down = (along, across) if sideways else (across, along)
        radius = min(_known(size, RADII, "size") * (1 + jitter.shift(SIZE_JITTER)), PAIR_RADIUS_LIMIT)
        shapes.append(
            Shape(color, shape, size, center[0] + right, center[1] + down, radius, _shape_rgb(color, shape, jitter))
        )
    return Scene("relation", background, _background(background, jitter), tuple(shapes), relation=relation)


def counted_shapes(
    number: str, color: str, shape: str, background: str, rng: np.random.Generator | None = None
) -> Scene:
    """Two, three or four alike shapes (``number`` is the word). ValueError on unknown words."""
    jitter = Jitter(rng)
    radius = jitter.between(*COUNT_RADII)
    centers = _known(number, COUNTS, "number")
    rgb = _shape_rgb(color, shape, jitter)
    # Mostly they move together: on their own the widest ones could move into each other.
    right, down = jitter.shift(PLACE_JITTER - COUNT_OWN_JITTER), jitter.shift(PLACE_JITTER - COUNT_OWN_JITTER)
    shapes: list[Shape] = []
    for center in centers:
        x, y = center[0] + right + jitter.shift(COUNT_OWN_JITTER), center[1] + down + jitter.shift(COUNT_OWN_JITTER)
        shapes.append(Shape(color, shape, "small", x, y, radius, rgb))
    return Scene("count", background, _background(background, jitter), tuple(shapes))


def face_scene(
    skin: str, hair: str, long: bool, glasses: bool, mouth: str, background: str, rng: np.random.Generator | None = None
) -> Scene:
    """A face; ``long`` is its hair's length, ``mouth`` one of MOUTHS. ValueError on unknown words."""
    if mouth not in MOUTHS:
        raise ValueError(f"{mouth!r} is not a mouth; choose from {', '.join(MOUTHS)}")
    jitter = Jitter(rng)
    face = Face(
        skin,
        hair,
        long,
        glasses,
        mouth,
        FACE_CENTER[0] + jitter.shift(PLACE_JITTER),
        FACE_CENTER[1] + jitter.shift(PLACE_JITTER),
        jitter.between(*FACE_RADII),
        jitter.rgb(_known(skin, SKINS, "skin"), COLOR_JITTER),
        jitter.rgb(_known(hair, HAIRS, "hair colour"), COLOR_JITTER),
    )
    return Scene("face", background, _background(background, jitter), face=face)


def sample_scene(rng: np.random.Generator, kind: str | None = None, held_out: bool = False) -> Scene:
    """A random scene, of a random kind unless one is given.

    Without ``held_out`` no combination held out of training occurs; with it at least one shape, or the face, is one.
    Raises ValueError for an unknown kind.
    """
    if kind is None:
        kind = str(rng.choice(list(KIND_WEIGHTS), p=list(KIND_WEIGHTS.values())))
    _known(kind, KIND_WEIGHTS, "kind of scene")
    background = _pick(rng, BACKGROUNDS)
    if kind == "face":
        skin, hair = _sample_pair(rng, SKINS, HAIRS, HELD_OUT_FACES, held_out)
        long, glasses = bool(rng.integers(2)), bool(rng.integers(2))
        return face_scene(skin, hair, long, glasses, _pick(rng, MOUTHS), background, rng)
    color, shape = _sample_pair(rng, COLORS, SHAPES, HELD_OUT_SHAPES, held_out)
    if kind == "one":
        return one_shape(color, shape, _pick(rng, RADII), _pick(rng, PLACES), background, rng)
    if kind == "count":
        return counted_shapes(_pick(rng, COUNTS), color, shape, background, rng)
    other = (color, shape)
    while other == (color, shape):
        other = _sample_pair(rng, COLORS, SHAPES, HELD_OUT_SHAPES, held_out and bool(rng.integers(2)))
    pair = [(_pick(rng, RADII), color, shape), (_pick(rng, RADII), *other)]
    if rng.integers(2):
        pair.reverse()
    return related_shapes(pair[0], _pick(rng, RELATIONS), pair[1], background, rng)


def _known(word: str, table: Mapping[str, Value], what: str) -> Value:
    if word not in table:
        raise ValueError(f"{word!r} is not a {what}; choose from {', '.join(table)}")
    return table[word]


def _background(word: str, jitter: Jitter) -> Rgb:
    return jitter.rgb(_known(word, BACKGROUNDS, "background"), BACKGROUND_JITTER)


def _shape_rgb(color: str, shape: str, jitter: Jitter) -> Rgb:
    _known(shape, PLURALS, "shape")
    return jitter.rgb(_known(color, COLORS, "colour"), COLOR_JITTER)


def _pick(rng: np.random.Generator, choices: Collection[str]) -> str:
    return list(choices)[int(rng.integers(len(choices)))]


def _sample_pair(
    rng: np.random.Generator,
    first: Collection[str],
    second: Collection[str],
    held: frozenset[tuple[str, str]],
    held_out: bool,
) -> tuple[str, str]:
    """A pair of words that is held out of training, or one that is not."""
    if held_out:
        return sorted(held)[int(rng.integers(len(held)))]
    pair = (_pick(rng, first), _pick(rng, second))
    while pair in held:
        pair = (_pick(rng, first), _pick(rng, second))
    return pair
