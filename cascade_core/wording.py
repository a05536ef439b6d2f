"""Pieces of sentences for people; what comes out of a file is shortened and made printable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

LONGEST = 80  # characters shown of a name that comes out of a file


def printable(name: object) -> str:
    """A name out of a file on one line."""
    text = str(name)
    text = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def first_of(names: Sequence[str], show: Callable[[str], str] = printable) -> str:
    """The first three names, and that there are more. show: a name as the sentence has it."""
    return ", ".join(map(show, names[:3])) + (", ..." if len(names) > 3 else "")


def all_of(names: Sequence[str], word: str = "and") -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def article(name: str) -> str:
    """The name behind its article: "an effnet"."""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def size_in_words(size: int) -> str:
    """A number of bytes as people say it: "7.2 GB"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
