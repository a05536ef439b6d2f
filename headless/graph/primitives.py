"""Primitive nodes: one value for the widgets that they are linked to.

The editor copies it into each of them before it queues, and rounds it on the way as if a person had typed it.
"""

import math
from collections.abc import Sequence
from typing import Any

from .definition import Input

PRIMITIVE = "PrimitiveNode"


def primitive_value(written: Any, targets: Sequence[Input]) -> Any:
    """What a primitive node holds: a number within the ranges of its targets; the first of them says how it rounds."""
    first = targets[0]
    if not _is_number(written) or first.type not in ("INT", "FLOAT"):
        return written
    for target in targets:
        if target is not first and target.name != first.name:  # the editor merges what could be the same input
            continue
        low, high = target.options.get("min"), target.options.get("max")
        written = written if low is None else max(written, low)
        written = written if high is None else min(written, high)
    return settle(first, written)


def settle(entry: Input, value: Any) -> Any:
    """A value as its widget rounds it when it is changed, not when it is loaded."""
    if not _is_number(value) or not math.isfinite(value):
        return value
    if entry.type == "INT":
        step = entry.options.get("step") or 1
        if step == 1:
            return math.floor(value + 0.5)
        offset = math.fmod(entry.options.get("min") or 0, step)
        return math.floor((value - offset) / step + 0.5) * step + offset
    if entry.type == "FLOAT":
        digits = max(0, -math.floor(math.log10(entry.options.get("step") or 0.5)))
        unit = entry.options.get("round") or (10.0**-digits if digits else None)
        if not unit:
            return value
        low, high = entry.options.get("min"), entry.options.get("max")
        rounded = round(math.floor(value / unit + 0.5) * unit, digits)
        return min(max(rounded, 0 if low is None else low), 2048 if high is None else high)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
