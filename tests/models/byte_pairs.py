"""CLIP's byte pairs written plainly, from the paper's rule: join the pair that was learned first, again and again.

What the tokenizers of transformers should give, without them; `ids` of any text whose words are letters and marks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+", re.IGNORECASE)


def letters() -> dict[int, str]:
    """A visible character for each byte: its own where it has one, else the next after the first 256."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in own]
    return {byte: chr(byte) for byte in own} | {byte: chr(256 + index) for index, byte in enumerate(rest)}


def vocabulary(merges: Sequence[str]) -> dict[str, int]:
    """Token -> id: the letters, the letters that end a word, the merges, start and end."""
    single = list(letters().values())
    names = [*single, *(f"{letter}</w>" for letter in single), *("".join(merge.split()) for merge in merges)]
    return {name: index for index, name in enumerate([*names, "<|startoftext|>", "<|endoftext|>"])}


def ids(text: str, merges: Sequence[str], names: dict[str, int]) -> list[int]:
    """Token ids of a text, without start and end."""
    ranks = {tuple(merge.split()): rank for rank, merge in enumerate(merges)}
    found: list[int] = []
    for piece in PIECES.findall(" ".join(unicodedata.normalize("NFC", text).split()).lower()):
        word = [letters()[byte] for byte in piece.encode()]
        word[-1] += "</w>"
        while pairs := [pair for pair in pairwise(word) if pair in ranks]:
            first, second = min(pairs, key=ranks.__getitem__)
            joined: list[str] = []
            for part in word:
                if joined and (joined[-1], part) == (first, second):
                    joined[-1] = first + second
                else:
                    joined.append(part)
            word = joined
        found += [names[part] for part in word]
    return found
