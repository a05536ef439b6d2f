"""Things of one kind together, in bounded memory: how pictures of like size come into one pass of a network."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

WAITING = 4  # full batches' worth of things may wait for others of their kind
Item = TypeVar("Item")


def batches(
    items: Iterable[Item], kind: Callable[[Item], Hashable], weight: Callable[[Item], int], most: int, room: int
) -> Iterator[list[Item]]:
    """Lists of items of one kind: `most` of them, or fewer where they weigh `room` together.

    A rare kind does not wait for ever: where all that wait weigh too much, the heaviest kind goes as it is. The same
    items in the same order give the same lists.
    """
    waiting: dict[Hashable, list[Item]] = {}
    weights: dict[Hashable, int] = {}

    def take(key: Hashable) -> list[Item]:
        del weights[key]
        return waiting.pop(key)

    for item in items:
        key = kind(item)
        waiting.setdefault(key, []).append(item)
        weights[key] = weights.get(key, 0) + weight(item)
        if len(waiting[key]) == most or weights[key] >= room:
            yield take(key)
        elif sum(weights.values()) >= WAITING * room:
            yield take(max(weights, key=lambda known: weights[known]))
    for key in list(waiting):
        yield take(key)
