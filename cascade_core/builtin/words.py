"""What a prompt may say to the built-in text encoder, and what it says that the picture world does not have."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from ..models.prompt import parse_weights
from ..models.tokenizer import split_words
from ..wording import all_of
from .world import BACKGROUNDS, COLORS, HAIRS, PLURALS, SKINS

_COLOURED = {"background": BACKGROUNDS, "skin": SKINS, "hair": HAIRS} | dict.fromkeys(
    (*PLURALS, *PLURALS.values()), COLORS
)
"""Words for what has a colour, each with the colours that it may have."""
_ALL_COLOURS = {colour for colours in _COLOURED.values() for colour in colours}


def summary(words: Collection[str]) -> str:
    """What an encoder of these words knows; of the built-in one's, which are listed elsewhere, what they are about."""
    if not {*COLORS, *BACKGROUNDS, *PLURALS} <= {*words}:
        return ", ".join(word for word in words if word.isalnum())  # without its punctuation marks
    return (
        "shapes (circle, square, ...), their colours (red, green, ...), sizes, places and number, backgrounds (white,"
        " gray, ...) and faces; `cascade nodes CascadeTextEncode` and the help page of Text Encode list all words"
    )


def unseen_colours(text: str) -> list[str]:
    """A sentence for each colour of a prompt that is known, but of something else: `a green background`."""
    words = split_words(" ".join(piece for piece, _ in parse_weights(text)))
    found = [
        f"there is no {colour} {thing} in its world; choose {all_of(list(_COLOURED[thing]), 'or')}"
        for colour, thing in pairwise(words)
        if thing in _COLOURED and colour in _ALL_COLOURS and colour not in _COLOURED[thing]
    ]
    return list(dict.fromkeys(found))
