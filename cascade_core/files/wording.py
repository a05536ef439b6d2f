"""Pieces of sentences about files; what comes out of a file is shortened and made printable."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 80  # of a name out of a file
EXPECTED = "expected a .safetensors file, or a .pt, .ckpt or .bin of tensors"


def stranger(file: str, what: str, advice: str) -> str:
    """The sentence about a file that holds no weights."""
    return f"{file} is {what}, not model weights ({EXPECTED}): {advice}"


def damaged(file: str, reason: str) -> str:
    """The sentence about a file of weights that is not whole."""
    return f"{file} is damaged or its download is not complete ({reason}): download it again"


def printable(name: object) -> str:
    """A name out of a file on one line."""
    text = str(name)
    text = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def first_of(names: Sequence[str], shown: int = 3) -> str:
    """A few names, and that there are more."""
    return ", ".join(map(printable, names[:shown])) + (", ..." if len(names) > shown else "")


def all_of(names: Sequence[str], word: str = "and") -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def article(name: str) -> str:
    """The name behind its article: "an effnet"."""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
