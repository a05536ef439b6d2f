"""Which input a bypassed node passes on in place of an output."""

from collections.abc import Iterable

from .layout import Node

_ANY = frozenset({"*", "", "0"})


class Passage:
    """One output of a bypassed node; `input_for` is asked once for each type that the link may end at."""

    def __init__(self, node: Node, slot: int) -> None:
        self._slot = slot
        self._count = len(node.inputs)
        kinds = [entry.type for entry in node.inputs]
        self._exact = _first_of((kind, index) for index, kind in enumerate(kinds))
        output = _parts(node.outputs[slot]) if slot < len(node.outputs) else _ANY
        fitting = [(_parts(kind), index) for index, kind in enumerate(kinds) if _fit(_parts(kind), output)]
        self._beside = next((parts for parts, index in fitting if index == slot), None)
        self._first = fitting[0][1] if fitting else None
        self._by_part = _first_of((part, index) for parts, index in fitting for part in parts)

    def input_for(self, kind: str) -> int | None:
        """The one beside the output where it fits, else the first of exactly this type, else the first that fits."""
        if kind in ("*", ""):
            return (self._slot if self._slot < self._count else 0) if self._count else None
        wanted = _parts(kind)
        if self._beside is not None and _fit(self._beside, wanted):
            return self._slot
        if kind in self._exact:
            return self._exact[kind]
        if wanted & _ANY:
            return self._first
        found = [self._by_part[part] for part in wanted | _ANY if part in self._by_part]
        return min(found, default=None)


def _parts(kind: str) -> frozenset[str]:
    """`INT,FLOAT` means either; the editor compares without case."""
    return frozenset(kind.lower().split(","))


def _fit(one: frozenset[str], other: frozenset[str]) -> bool:
    return bool(one & other or one & _ANY or other & _ANY)


def _first_of(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    first: dict[str, int] = {}
    for key, index in pairs:
        first.setdefault(key, index)
    return first
