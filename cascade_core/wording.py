"""Pieces of sentences for people; what comes out of a file is shortened and made printable."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

LONGEST = 80  # characters shown of a name that comes out of a file
MOST_MESSAGES = 100  # of one answer: nobody reads more
LONGEST_NAME = 300  # characters of a name that is compared with others: no file has more


def printable(name: object) -> str:
    """A name out of a file on one line."""
    text = str(name)
    text = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def without_controls(text: str) -> str:
    """A text in which characters that a terminal might obey are escaped; ends of lines stay."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def first_of(names: Sequence[str], show: Callable[[str], str] = printable) -> str:
    """The first three names, and that there are more. show: a name as the sentence has it."""
    return ", ".join(map(show, names[:3])) + (", ..." if len(names) > 3 else "")


def enough_of(messages: Sequence[str]) -> Sequence[str]:
    """The messages of an answer; of very many the first, and how many there are besides."""
    left = len(messages) - MOST_MESSAGES
    return messages if left <= 0 else [*messages[:MOST_MESSAGES], f"and {left:,} more like these"]


def all_of(names: Sequence[str], word: str = "and") -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def nearest_file(wanted: object, names: Iterable[str]) -> str:
    """` (did you mean X?)`, where one of the names is near; else nothing, as for what is no name at all.

    The same file name in another folder is nearest. A name that differs by a letter or a number of its own, as stage_b
    and stage_c do, is of another file, and no slip.
    """
    if not isinstance(wanted, str) or len(wanted) > LONGEST_NAME:
        return ""
    known = {name.casefold(): name for name in names}
    plain = wanted.replace("\\", "/").casefold()
    near = [name for name in known if name.rpartition("/")[2] == plain.rpartition("/")[2]]
    stems = {name.rpartition(".")[0] or name: name for name in known}  # endings are alike, and say nothing
    stem = plain.rpartition(".")[0] or plain
    near += [stems[name] for name in get_close_matches(stem, stems, cutoff=0.7) if not _are_versions(name, stem)]
    return f" (did you mean {printable(known[near[0]])}?)" if near else ""


def _are_versions(name: str, other: str) -> bool:
    different = set(re.split(r"[\W_]+", name)) ^ set(re.split(r"[\W_]+", other))
    return bool(different) and all(len(word) <= 2 for word in different)


def duration(seconds: float) -> str:
    """ "3 s", "2 min", "1 h 5 min"."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def article(name: str) -> str:
    """The name behind its article: "an effnet"."""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def size_in_words(size: int) -> str:
    """A number of bytes as people say it: "7.2 GB"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
