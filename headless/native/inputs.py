"""Entries of INPUT_TYPES of the stand-ins: types, defaults and ranges are the host's."""

from typing import Any

Entry = tuple[Any, ...]

LARGEST = 16384  # pixels of a side, as in the host


def wires(**types: str) -> dict[str, Entry]:
    """Sockets by their names."""
    return {name: (socket,) for name, socket in types.items()}


def integer(default: int, least: int, most: int, step: int | None = 1) -> Entry:
    """A whole number; without a step where the host says none."""
    steps = {} if step is None else {"step": step}
    return "INT", {"default": default, "min": least, "max": most, **steps}


def decimal(default: float, least: float, most: float, step: float = 0.01) -> Entry:
    return "FLOAT", {"default": default, "min": least, "max": most, "step": step}


def switch(default: bool) -> Entry:
    return "BOOLEAN", {"default": default}


def pixels(default: int, least: int = 0, step: int = 1) -> Entry:
    """A length in a picture."""
    return integer(default, least, LARGEST, step)
