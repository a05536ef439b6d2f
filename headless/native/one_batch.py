"""The conditions of both sides as the host evaluates them in one batch, where that makes its results what they are.

Texts of different lengths are brought to one by repeating them, which changes what attention makes of them: in Stable
Cascade it also looks at the picture, whose share gets smaller. A host with too little memory for the batch does not do
so; here it is done always, and as if all conditions acted at all times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...cascade_core.sampling.condition import Condition

_MOST_REPEATS = 4  # more are not put into one batch

Sides = tuple[list["Condition"], list["Condition"]]


def arrange(positive: Sequence[Condition], negative: Sequence[Condition], guided: bool) -> Sides:
    """Both sides with their controls and sequences by the host's rules. guided: the negative side is evaluated, too."""
    negative = _own_controls(_steered(positive, negative))
    positive = _own_controls(positive)
    rest = [*positive, *(negative if guided else ())]
    fitted: dict[Condition, Condition] = {}
    while rest:
        group = [condition for condition in rest if _in_one_batch(rest[0], condition)]
        length = math.lcm(*(condition.sequence.shape[1] for condition in group))
        fitted |= {condition: _repeated(condition, length) for condition in group}
        rest = [condition for condition in rest if condition not in fitted]
    return [fitted[condition] for condition in positive], [fitted.get(condition, condition) for condition in negative]


def _steered(positive: Sequence[Condition], negative: Sequence[Condition]) -> list[Condition]:
    """The negative conditions with the controls of those positive ones that a node for them alone steers last.

    In full, whenever the positive ones act, each to the next condition, the last ones winning; none of it where any
    negative one has controls.
    """
    steered = list(negative)
    if any(condition.controls for condition in negative):
        return steered
    given = [one.controls for one in positive if one.controls and one.controls[-1].on_unconditional]
    for index, controls in enumerate(given if negative else ()):
        place = index % len(negative)
        steered[place] = replace(negative[place], controls=controls)
    return steered


def _own_controls(side: Sequence[Condition]) -> list[Condition]:
    """Whose controls act on nothing else: what of them the other side has, it has got."""
    return [replace(condition, shares_controls=False) for condition in side]


def _in_one_batch(first: Condition, other: Condition) -> bool:
    lengths = first.sequence.shape[1], other.sequence.shape[1]
    return (
        first.controls == other.controls
        and max(1, first.image_count) == max(1, other.image_count)
        and math.lcm(*lengths) // min(lengths) <= _MOST_REPEATS
    )


def _repeated(condition: Condition, length: int) -> Condition:
    return replace(condition, sequence=condition.sequence.repeat(1, length // condition.sequence.shape[1], 1))
