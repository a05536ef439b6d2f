"""Constants: what an input takes, and a value of a prompt read as the input's declared type."""

import math
from typing import Any

from .definition import Input
from .wording import list_choices

MAX_TEXT = 1_000_000  # characters of one text; a long novel has that many


class Unfit(Exception):
    """A value that an input cannot take: ComfyUI's name for that, and what it could take."""

    def __init__(self, kind: str, expected: str) -> None:
        self.kind = kind
        self.expected = expected


def expectation(entry: Input) -> str:
    """What an input takes, for messages."""
    if not entry.takes_constant:
        return f"a link to {entry.type}"
    if entry.choices is not None:
        return f"one of {list_choices(entry.choices)}"
    return f"a value of type {entry.type}"


def read_constant(entry: Input, value: Any) -> Any:
    """A constant as the declared type; raises Unfit."""
    wrong = "invalid_input_type"
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise Unfit(wrong, f"a text of at most {MAX_TEXT:,} characters")
        if not value.isascii() and value != value.encode(errors="ignore").decode():
            raise Unfit(wrong, "a text without halves of Unicode characters")
    if not entry.takes_constant:
        if value is None and not entry.required:
            return value
        raise Unfit(wrong, f"a link to {entry.type}")
    if entry.type == "STRING":
        if not isinstance(value, str | int | float):
            raise Unfit(wrong, "a text")
        return str(value)
    if entry.type == "BOOLEAN":
        if value not in (0, 1):
            raise Unfit(wrong, "true or false")
        return bool(value)
    if entry.type in ("INT", "FLOAT"):
        try:
            return int(value) if entry.type == "INT" else _finite(float(value))
        except (TypeError, ValueError, OverflowError):
            raise Unfit(wrong, "a whole number" if entry.type == "INT" else "a number") from None
    return value


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def check_range(entry: Input, value: Any) -> None:
    """Raises Unfit for a number outside its range and for what is no choice of a combo."""
    low, high = entry.options.get("min"), entry.options.get("max")
    if entry.type in ("INT", "FLOAT"):
        span = f"a number from {'any' if low is None else low} to {'any' if high is None else high}"
        if low is not None and value < low:
            raise Unfit("value_smaller_than_min", span)
        if high is not None and value > high:
            raise Unfit("value_bigger_than_max", span)
    if entry.choices is not None and value not in entry.choices:
        raise Unfit("value_not_in_list", f"one of {list_choices(entry.choices, value)}")
