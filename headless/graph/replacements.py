"""`%date:yyyy-MM-dd%` and `%Node.widget%` in file names: what the editor replaces before it queues a workflow."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from .widgets import write_text

# The classes whose `filename_prefix` the editor goes through. Other save nodes get theirs as it is written.
SAVE_NODES = frozenset(
    [
        "SaveImage",
        "SaveAnimatedWEBP",
        "SaveWEBM",
        "SaveAudio",
        "SaveGLB",
        "SaveAnimatedPNG",
        "CLIPSave",
        "VAESave",
        "ModelSave",
        "LoraSave",
        "SaveLatent",
    ]
)

_PATTERN = re.compile(r"%([^%]+)%")
_DATE = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyy?y?")
_UNFIT = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')  # for a file name

_Find = Callable[[str, str], tuple[Any] | None]  # (node, widget) -> its value, boxed, or None


def replace_patterns(text: str, find: _Find, now: datetime) -> str:
    """The text with dates and widget values in place; a pattern that means nothing stays as it is."""

    def replacement(match: re.Match[str]) -> str:
        pattern = match[1]
        parts = pattern.split(".")
        if len(parts) == 2:
            value = find(parts[0], parts[1])
            return match[0] if value is None else _UNFIT.sub("_", write_text(value[0]))
        if parts[0].startswith("date:"):
            return _format_date(parts[0][len("date:") :], now)
        return match[0]

    return _PATTERN.sub(replacement, text)


def _format_date(form: str, now: datetime) -> str:
    numbers = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def replacement(match: re.Match[str]) -> str:
        part = match[0]
        if part in ("yy", "yyyy"):
            return str(now.year)[-len(part) :]
        return str(numbers[part[0]]).zfill(len(part)) if part[0] in numbers else part

    return _DATE.sub(replacement, form)
