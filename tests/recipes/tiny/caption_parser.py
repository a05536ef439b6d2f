"""Reading captions: the scene that a caption tells, so that a picture made from it can be judged."""

from __future__ import annotations

import re

from stable_cascade_nodes.cascade_core.builtin.world import (
    COUNTS,
    MOUTHS,
    PLURALS,
    RADII,
    RELATIONS,
    Scene,
    counted_shapes,
    face_scene,
    one_shape,
    related_shapes,
)
from stable_cascade_nodes.cascade_core.models.tokenizer import split_words

ANY_SIZE = "large"
"""The size assumed for a shape whose caption tells none."""


def scene_of(caption: str) -> Scene:
    """The scene, without jitter, that a caption tells in any of the forms that ``sample_caption`` makes.

    A place left out becomes None, a size left out "large", glasses left out no glasses.
    Raises ValueError that says what could not be read.
    """
    text = " ".join(split_words(caption))
    ended = re.fullmatch(r"(.+) on a (\w+) background", text)
    if ended is None:
        raise ValueError(f"the caption must end with 'on a ... background': {caption!r}")
    subject, background = ended.groups()
    if subject.startswith("a face with "):
        return _face(subject.removeprefix("a face with "), background)
    if subject.split()[0] in COUNTS:
        return _counted(subject, background)
    for relation in RELATIONS:
        first, told, second = subject.partition(f" {relation} ")
        if told:
            return related_shapes(_named(first), relation, _named(second), background)
    named, _, place = subject.partition(" at the ")
    size, color, shape = _named(named)
    return one_shape(color, shape, size, place or None, background)


def _named(phrase: str) -> tuple[str, str, str]:
    """Size, colour and shape of a phrase like 'a small red circle'."""
    found = re.fullmatch(rf"an? (?:({'|'.join(RADII)}) )?(\w+) (\w+)", phrase)
    if found is None:
        raise ValueError(f"{phrase!r} is no shape like 'a small red circle'")
    return found[1] or ANY_SIZE, found[2], found[3]


def _counted(subject: str, background: str) -> Scene:
    singulars = {plural: shape for shape, plural in PLURALS.items()}
    found = re.fullmatch(r"(\w+) (\w+) (\w+)", subject)
    if found is None or found[3] not in singulars:
        raise ValueError(f"{subject!r} is no number of shapes like 'two red circles'")
    return counted_shapes(found[1], found[2], singulars[found[3]], background)


def _face(told: str, background: str) -> Scene:
    parts = {"glasses": "no"}
    for part in re.split(r" , | and ", told):
        for name, pattern in _FACE_PATTERNS.items():
            found = re.fullmatch(pattern, part)
            if found is not None:
                parts[name] = found[1]
                break
        else:
            raise ValueError(f"{part!r} is no part of a face")
    missing = [name for name in _FACE_PATTERNS if name not in parts]
    if missing:
        raise ValueError(f"the caption does not tell the face's {' and '.join(missing)}: {told!r}")
    length, hair = parts["hair"].split()
    return face_scene(parts["skin"], hair, length == "long", parts["glasses"] != "no", parts["mouth"], background)


_FACE_PATTERNS: dict[str, str] = {
    "skin": r"(\w+) skin",
    "hair": r"((?:long|short) \w+) hair",
    "glasses": r"(no|) ?glasses",
    "mouth": rf"an? ({'|'.join(MOUTHS)})",
}
