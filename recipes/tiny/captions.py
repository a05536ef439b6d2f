"""The captions of the picture world's scenes, and the words they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...cascade_core.builtin.world import (
    BACKGROUNDS,
    COLORS,
    COUNTS,
    HAIRS,
    OPPOSITES,
    PLACES,
    PLURALS,
    RADII,
    RELATIONS,
    SKINS,
    Face,
    Scene,
    Shape,
)

SIZES_LEFT_OUT = 0.15
PLACES_LEFT_OUT = 0.15
NO_GLASSES_LEFT_OUT = 0.2
TOLD_FROM_THE_OTHER_SIDE = 0.4
SPACED_COMMAS = 0.2


def captions(scene: Scene) -> tuple[str, ...]:
    """The captions of a scene: the canonical one first, that of a relation also told from the other side."""
    told = [_caption(scene, _subject(scene))]
    if scene.kind == "relation":
        told.append(_caption(scene, _subject(scene, turned=True)))
    return tuple(told)


def sample_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A random variation of the caption, as training uses it.

    Sizes, places and "no glasses" are left out at times, a relation is told from the other side, a face's parts
    come in any order, and commas have a space before them or not.
    """

    def happens(share: float) -> bool:
        return float(rng.random()) < share

    if scene.face is not None:
        parts = [part for part in _face_parts(scene.face) if part != "no glasses" or not happens(NO_GLASSES_LEFT_OUT)]
        subject = _joined([parts[index] for index in rng.permutation(len(parts))])
    else:
        unsized = [shape for shape in scene.shapes if happens(SIZES_LEFT_OUT)]
        turned = happens(TOLD_FROM_THE_OTHER_SIDE)
        subject = _subject(scene, unsized, placed=not happens(PLACES_LEFT_OUT), turned=turned)
    caption = _caption(scene, subject)
    return caption.replace(",", " ,") if happens(SPACED_COMMAS) else caption


def leave_out_colors(caption: str, rng: np.random.Generator, share: float) -> str:
    """The caption without a `share` of its words for colours, skins and hairs: "a large star", "long hair"."""
    named = {*COLORS, *SKINS, *HAIRS} - set(BACKGROUNDS)
    return " ".join(word for word in caption.split(" ") if word not in named or float(rng.random()) >= share)


def told_apart(scene: Scene) -> str:
    """The shapes and the background, but neither sizes nor places: "a red star and a blue heart on a ..."."""
    return _caption(scene, " and ".join(_named(shape, sized=False) for shape in scene.shapes))


def bare_face_caption(background: str) -> str:
    """A face of which nothing but the background is told."""
    return f"a face on a {background} background"


def sparse_caption(scene: Scene, rng: np.random.Generator, left_out: float) -> str:
    """A caption without each of its parts with probability `left_out`; the empty one where nothing remains.

    Parts: sizes, colours, a place, a number, one of two shapes or how they lie, each part of a face, the background.
    """

    def told() -> bool:
        return float(rng.random()) >= left_out

    if scene.face is not None:
        subject = _sparse_face(scene.face, rng, told)
    elif scene.kind == "count":
        subject = _sparse_count(scene.shapes, told)
    else:
        subject = _sparse_shapes(scene, rng, told)
    if not told():
        return subject
    return f"{subject} on a {scene.background} background" if subject else f"a {scene.background} background"


def _sparse_face(face: Face, rng: np.random.Generator, told: Callable[[], bool]) -> str:
    parts = [part for part in _face_parts(face) if told()]
    rng.shuffle(parts)
    if len(parts) > 1:
        return _joined(parts)
    if parts:
        return f"a face with {parts[0]}"
    return "a face" if told() else ""


def _sparse_count(shapes: Sequence[Shape], told: Callable[[], bool]) -> str:
    number = list(COUNTS)[len(shapes) - 2] if told() else ""
    color = shapes[0].color if told() else ""
    return " ".join(filter(None, (number, color, PLURALS[shapes[0].shape]))) if told() else ""


def _sparse_shapes(scene: Scene, rng: np.random.Generator, told: Callable[[], bool]) -> str:
    """A subject of one shape or two; two keep their order or turn it."""
    named: list[str] = []
    for shape in scene.shapes:
        if told():
            words = (shape.size if told() else "", shape.color if told() else "", shape.shape)
            named.append(_with_article(" ".join(filter(None, words))))
    if len(named) == 2:
        relation = scene.relation if scene.relation and told() else "and"
        if rng.integers(2):
            return f" {OPPOSITES.get(relation, relation)} ".join(reversed(named))
        return f" {relation} ".join(named)
    placed = scene.place is not None and bool(named) and told()
    return "".join(named) + (f" at the {scene.place}" if placed else "")


def _vocabulary() -> tuple[str, ...]:
    phrases = ["a an , and with face skin hair no glasses long short mouth open smile frown at the on background"]
    for table in (COLORS, BACKGROUNDS, SKINS, HAIRS, PLURALS, PLURALS.values(), RADII, PLACES, RELATIONS, COUNTS):
        phrases.extend(table)
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


VOCABULARY: tuple[str, ...] = _vocabulary()
"""Every word a caption can contain, the comma included, sorted."""


def _caption(scene: Scene, subject: str) -> str:
    return f"{subject} on a {scene.background} background"


def _subject(scene: Scene, unsized: Sequence[Shape] = (), placed: bool = True, turned: bool = False) -> str:
    """The caption before its background; it does not tell the sizes of the ``unsized`` shapes."""
    if scene.face is not None:
        return _joined(_face_parts(scene.face))
    if scene.kind == "count":
        number = list(COUNTS)[len(scene.shapes) - 2]
        return f"{number} {scene.shapes[0].color} {PLURALS[scene.shapes[0].shape]}"
    named = [_named(shape, shape not in unsized) for shape in scene.shapes]
    if scene.relation is not None:
        if turned:
            return f"{named[1]} {OPPOSITES[scene.relation]} {named[0]}"
        return f"{named[0]} {scene.relation} {named[1]}"
    return f"{named[0]} at the {scene.place}" if placed and scene.place is not None else named[0]


def _named(shape: Shape, sized: bool) -> str:
    return _with_article(f"{shape.size} {shape.color} {shape.shape}" if sized else f"{shape.color} {shape.shape}")


def _with_article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def _face_parts(face: Face) -> list[str]:
    return [
        f"{face.skin} skin",
        f"{'long' if face.long else 'short'} {face.hair} hair",
        "glasses" if face.glasses else "no glasses",
        _with_article(face.mouth),
    ]


def _joined(parts: list[str]) -> str:
    return f"a face with {', '.join(parts[:-1])} and {parts[-1]}"
