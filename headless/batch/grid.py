"""`--grid NODE.INPUT=VALUES`: every row with each of these values."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .. import graph
from .rows import Row, check_id

MOST = 10_000_000  # values of one grid
_RANGE = re.compile(r"(-?\d{1,20})\.\.(-?\d{1,20})")
_NO_RANGE = re.compile(r"-?[\d.]*\d\.\.(?!\.)\S*|\S*(?<!\.)\.\.-?\d[\d.]*")  # meant as one
_PLAIN = re.compile(r"[\w.+-]{1,24}(?<!\.)")


@dataclass(frozen=True)
class Grid:
    target: str  # NODE.INPUT
    values: Sequence[str | int]

    def __str__(self) -> str:
        return f"--grid {self.target}"


def parse(text: str) -> Grid:
    """`Stage C.seed=1..100`, `Stage C.cfg=2,3,4`, or a JSON list of texts. Raises WorkflowError."""
    target, equals, written = text.partition("=")
    if not (equals and "." in target and written):
        raise graph.WorkflowError(f"--grid: expected NODE.INPUT=1..100, or values between commas, found {text!r:.80}")
    if found := _RANGE.fullmatch(written):
        low, high = int(found[1]), int(found[2])
        if not 0 <= high - low < MOST:
            raise graph.WorkflowError(f"--grid {text}: expected 1 to {MOST:,} numbers, from the lower to the higher")
        return Grid(target, range(low, high + 1))
    values = _listed(text, written) if written.startswith("[") else [value.strip() for value in written.split(",")]
    if not written.startswith("[") and any(map(_NO_RANGE.fullmatch, values)):
        raise graph.WorkflowError(
            f"--grid {text}: expected whole numbers before and behind .. alone, as 1..100, or a JSON list of texts"
        )
    if not all(values) or len(set(values)) < len(values):
        raise graph.WorkflowError(f"--grid {text}: expected values of which none is empty and none stands twice")
    return Grid(target, values)


def multiply(rows: Iterable[Row], grids: Sequence[Grid]) -> Iterator[Row]:
    """Each row with every combination of the grids' values, the last grid's in turn first.

    A row's id gets the values behind it (`castle-7-seed-1`); a row without one of its own has an id made of all values.
    """
    for row in rows:
        if row.problem is not None:
            yield row
            continue
        if twice := [str(grid) for grid in grids if grid.target in row.values]:
            yield replace(row, problem=f"it sets what {twice[0]} sets too: leave one of them out")
            continue
        named = row.id != row.digest
        for chosen in itertools.product(*(grid.values for grid in grids)):
            added = {grid.target: str(value) for grid, value in zip(grids, chosen, strict=True)}
            yield _named(replace(row, values={**row.values, **added}), row.id if named else "", added)


def _named(row: Row, base: str, added: dict[str, str]) -> Row:
    words = [f"{target.rpartition('.')[2]}-{_word(value)}" for target, value in added.items()]
    if row.values.keys() != added.keys() and not base:
        return replace(row, id=row.digest)
    name = "-".join([base, *words] if base else words)
    try:
        return replace(row, id=check_id(name))
    except ValueError as error:
        return replace(row, id=row.digest, problem=str(error))


def _word(value: str) -> str:
    """A value as a part of an id: itself where that is short and plain, else cut, with a digest of all of it."""
    if _PLAIN.fullmatch(value):
        return value
    plain = re.sub(r"\W+", "-", value).strip("-")[:16]
    return f"{plain}-{hashlib.sha256(value.encode()).hexdigest()[:8]}".lstrip("-")


def _listed(text: str, written: str) -> list[str]:
    try:
        found = json.loads(written)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(value, str | int | float) for value in found):
        raise graph.WorkflowError(f"--grid {text}: expected a JSON list of texts and numbers behind the =")
    return [value if isinstance(value, str) else json.dumps(value) for value in found]
