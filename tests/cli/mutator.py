"""Workflow files as bad luck makes them: a good document, changed at random places, the same for the same seed."""

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

LARGEST = 1_000_000  # bytes of a file

JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 4, -10, -20, 0.5, 1e308, 10**30, -(10**400), float("nan"), float("inf"),
    "", " ", "0", "-10", "1:2", "*", "INT", "MODEL", "Reroute", "PrimitiveNode", "Note", "KSampler", "workflow>x",
    "../../etc/passwd", "C:\\nul", "a\0b", "\ud800", "\u202e", "{a|{b", "%date:yyyy%", "%Prompt.text%", "x" * 5000,
    [], {}, [None], [[]], ["1", 0], [1, 0], ["1", -1], ["1", 10**9], [1, 1, 0, 2, 0, "INT"], {"link": 1},
    {"__value__": ["1", 0]}, {"class_type": "SaveImage", "inputs": {}}, {"0": 1, "1": 2},
    {"id": 1, "type": "Reroute", "inputs": [{"link": 1}]},
)  # fmt: skip


def mutate(document: Any, others: list[Any], chance: random.Random) -> bytes:
    """A file of at most `LARGEST` bytes: up to 5 changes of the document, sometimes one of its text."""
    document = deepcopy(document)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        changed = chance.choice(_CHANGES)(document, others, chance)
        if len(json.dumps(changed)) <= LARGEST:
            document = changed
    data = json.dumps(document).encode()
    return chance.choice(_SPOILINGS)(data, chance) if chance.random() < 0.1 else data


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a document, without recursion."""
    waiting = [value]
    while waiting:
        container = waiting.pop()
        keys: Any = container if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], dict | list):
                waiting.append(container[key])


def _place(document: Any, chance: random.Random) -> tuple[Any, Any] | None:
    places = list(_places(document)) if isinstance(document, dict | list) else []
    return chance.choice(places) if places else None


def _at_a_place(change: Callable[[Any, Any, random.Random], None]) -> Callable[..., Any]:
    def changed(document: Any, _others: list[Any], chance: random.Random) -> Any:
        if place := _place(document, chance):
            change(*place, chance)
        return document

    return changed


@_at_a_place
def _replace(container: Any, key: Any, chance: random.Random) -> None:
    container[key] = deepcopy(chance.choice(JUNK))


@_at_a_place
def _remove(container: Any, key: Any, _chance: random.Random) -> None:
    del container[key]


@_at_a_place
def _rename(container: Any, key: Any, chance: random.Random) -> None:
    if isinstance(container, dict):
        container[chance.choice(("id", "type", "inputs", "links", "nodes", "", "class_type", str(key) + "x"))] = (
            container.pop(key)
        )


@_at_a_place
def _retype(container: Any, key: Any, _chance: random.Random) -> None:
    value = container[key]
    if isinstance(value, list):
        container[key] = {str(index): entry for index, entry in enumerate(value)}
    elif isinstance(value, dict):
        container[key] = list(value.values())
    else:
        container[key] = [value] if isinstance(value, str) else str(value)


@_at_a_place
def _shift(container: Any, key: Any, chance: random.Random) -> None:
    if isinstance(container[key], int):
        container[key] += chance.choice((-1, 1, 2, 1000, 2**40))


@_at_a_place
def _shuffle(container: Any, key: Any, chance: random.Random) -> None:
    if isinstance(container[key], list):
        chance.shuffle(container[key])


@_at_a_place
def _repeat(container: Any, key: Any, chance: random.Random) -> None:
    if isinstance(container[key], list):
        size = len(json.dumps(container[key])) + 1
        container[key] *= min(chance.choice((2, 3, 100, 10_000)), max(2, LARGEST // 2 // size))


@_at_a_place
def _deepen(container: Any, key: Any, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 5, 200))):
        container[key] = [container[key]] if chance.random() < 0.5 else {"nodes": container[key]}


def _exchange(document: Any, _others: list[Any], chance: random.Random) -> Any:
    one, other = _place(document, chance), _place(document, chance)
    if one and other:
        copies = deepcopy(one[0][one[1]]), deepcopy(other[0][other[1]])
        one[0][one[1]] = copies[1]
        if other[0] is not one[0] or not isinstance(one[0], list) or other[1] < len(one[0]):
            other[0][other[1]] = copies[0]
    return document


def _graft(document: Any, others: list[Any], chance: random.Random) -> Any:
    place, source = _place(document, chance), _place(chance.choice(others), chance)
    if place and source:
        place[0][place[1]] = deepcopy(source[0][source[1]])
    return document


_CHANGES = (_replace, _replace, _remove, _rename, _retype, _shift, _shuffle, _repeat, _deepen, _exchange, _graft)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _overwrite(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.choice((1, 4, 64))) + data[at + 1 :]


def _leave_out(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.choice((1, 2, 50)) :]


_SPOILINGS = (_cut, _overwrite, _leave_out)
