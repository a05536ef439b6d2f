"""Pickles looked through before anybody opens them: which names they import, and whether they unfold without end.

A pickle is a program for a machine with a stack. Here it is followed without being run: a value is its weight, which is
how many values it holds, each counted as often as it is named, its depth, and its text where it is one.
"""

from __future__ import annotations

import pickletools
import re
from io import BytesIO
from typing import NamedTuple

from ..reading import DEEPEST

LONGEST = 16 * 2**20  # bytes of a pickle that is followed; the largest models' have a few hundred thousand
MOST_OPERATIONS = 300_000  # a tensor takes some twenty
HEAVIEST = 1_000_000  # values in one value
PROTO, EXTENSION = b"\x80", "extension "  # the first byte of pickles since protocol 2; how a number is called
FILLING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
"""Operations of which the first of what they take holds the rest."""
MOST_PICKLES = 5  # one after the other in a file, as torch wrote them before version 1.6
TENSORS = re.compile(
    r"(collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.(set|complex)|_codecs\.encode"
    r"|torch\.(cuda\.)?[A-Z]\w*(Storage|Tensor)|torch\.(Size|Tensor|device|per_\w+)"
    r"|torch\.(b?float|q?u?int|short|long|half|double|bool|complex|bits|cfloat|cdouble|chalf)\w*"
    r"|torch\.storage\.(Typed|Untyped)Storage|torch\.nn\.parameter\.Parameter"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.serialization\._get_layout)"
)
"""What pickles of tensors import; torch itself looks closer at it."""


class _Value(NamedTuple):
    weight: int
    depth: int = 0
    text: str = ""


_MARK = _Value(0)


class TooMuch(ValueError):
    """A pickle that nobody should open, and why."""


def foreign_name(data: bytes) -> str | None:
    """The first name, or number of an extension, that a file's first pickles import and tensors do not need.

    None where there is none, and for what is no pickle: one without its first byte, as protocols 0 and 1 have it, and a
    number count only if it comes to an end. Raises TooMuch for what is too long to be followed or unfolds without end.
    """
    file = BytesIO(data[:LONGEST])
    for _ in range(MOST_PICKLES):
        names, ends = _follow(file)
        found = [name for name in names if ends or (data[:1] == PROTO and not name.startswith(EXTENSION))]
        if found:
            return found[0]
        if not ends:
            return None
    return None


def _follow(file: BytesIO) -> tuple[list[str], bool]:
    """Up to three foreign names of one pickle, and whether it comes to an end."""
    stack: list[_Value] = []
    memo: dict[int, _Value] = {}
    foreign: list[str] = []
    operations = pickletools.genops(file)
    for _ in range(MOST_OPERATIONS):
        try:
            operation, argument, _ = next(operations)
            taken = _step(operation, argument, stack, memo)
        except StopIteration:
            return foreign, True
        except (ValueError, LookupError):
            return foreign, False
        imported = _imported(operation.name, argument, taken)
        if imported is not None and not TENSORS.fullmatch(imported):
            foreign = [*foreign, imported][:3]
        if stack and (stack[-1].weight > HEAVIEST or stack[-1].depth > DEEPEST) and not foreign:
            raise TooMuch("it is nested too deeply, or holds the same values over and over")
    if foreign:
        return foreign, False
    raise TooMuch(f"it has more than {MOST_OPERATIONS:,} operations")


def _step(
    operation: pickletools.OpcodeInfo, argument: object, stack: list[_Value], memo: dict[int, _Value]
) -> list[_Value]:
    """Change the stack and the memo as an operation does; returns what it takes from the stack."""
    name, number = operation.name, argument if isinstance(argument, int) else 0
    if name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[number])
        return []
    if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
        memo[len(memo) if name == "MEMOIZE" else number] = stack[-1]
        return []
    taken = _take(stack, operation) if operation.stack_before else []
    if not operation.stack_after:
        return taken
    outer, inner = (taken[:1], taken[1:]) if name in FILLING else ([], taken)
    depth = max([0, *(value.depth for value in outer), *(1 + value.depth for value in inner)])
    made = _Value(1 + sum(value.weight for value in taken), depth, argument if isinstance(argument, str) else "")
    stack += [_MARK if kind is pickletools.markobject else made for kind in operation.stack_after]
    return taken


def _take(stack: list[_Value], operation: pickletools.OpcodeInfo) -> list[_Value]:
    """What an operation takes from the stack: so many values, or all down to the last mark and those before it."""
    before = operation.stack_before
    taken: list[_Value] = []
    count = len(before)
    if pickletools.markobject in before:
        while (value := stack.pop()) is not _MARK:
            taken.append(value)
        count = before.index(pickletools.markobject)
    taken.extend(stack.pop() for _ in range(count))
    return taken[::-1]


def _imported(name: str, argument: object, taken: list[_Value]) -> str | None:
    """The dotted name that an operation imports; None for one that imports nothing."""
    if name in ("GLOBAL", "INST"):
        return str(argument).replace(" ", ".", 1)
    if name == "STACK_GLOBAL":
        return ".".join(value.text for value in taken)
    return f"{EXTENSION}{argument}" if name.startswith("EXT") else None
