"""Prompts to learn from where no pictures are needed: the lines of a text file, with choices in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import CascadeError
from ...reading import read_text
from ..setting import lines_of

LARGEST_FILE = 2**26  # bytes
CHOICE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Prompts:
    path: Path
    lines: tuple[str, ...]

    def in_words(self) -> str:
        return f"{len(self.lines):,} prompt{'s' * (len(self.lines) > 1)}"

    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:16]


def read_prompts(path: Path) -> Prompts:
    """The lines of a text file that are not empty; CascadeError where there are none, or it cannot be read."""
    try:
        lines = lines_of(read_text(path, LARGEST_FILE))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CascadeError(f"{path}, the prompts, cannot be read as UTF-8 text ({why})") from error
    if not lines:
        raise CascadeError(f"{path} is empty: write prompts into it, one in a line")
    return Prompts(path, lines)


def draw_prompts(templates: Sequence[str], count: int) -> list[str]:
    """`count` prompts, of each template in turn; of each `{a|b}` one is drawn, the same ones every time."""

    def draw(number: int) -> str:
        random, text = np.random.default_rng(number), templates[number % len(templates)]
        while found := CHOICE.search(text):  # the innermost first
            text = text[: found.start()] + str(random.choice(found[1].split("|"))) + text[found.end() :]
        return text

    return [draw(number) for number in range(count)] if templates else []
