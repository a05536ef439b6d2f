"""How long a run still takes, all of its nodes with steps together, by the steps that it has taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from .graph import Prompt

# What one evaluation costs beside one of Stage C, of the same picture. Stage B: between 1.5 (1.5B beside 3.6B) and 1.9
# (700M beside 1B), by the operations counted at 1024 x 1024. Any other class is taken as 1.
COSTS = {"CascadeStageBSampler": 1.6}
UNGUIDED = 1.0  # the cfg at which a step is one evaluation instead of two


class Forecast:
    """Told of what a run does, it says how long the rest takes.

    What a node of which nothing was seen yet costs, is told from its steps and from the pace of the nodes before it.
    """

    def __init__(self, prompt: Prompt, needed: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
        """needed: the nodes that run."""
        self._clock = clock
        self._ahead = {key: work for key in needed if (work := _work(prompt[key]["class_type"], prompt[key]["inputs"]))}
        self._node = ""
        self._since = 0.0  # when the node began
        self._first: tuple[float, float] | None = None  # the first steps of the node that were told, and when
        self._left: float | None = None  # seconds of the node
        self._pace = 0.0  # seconds for one evaluation of Stage C

    def begin(self, node: str) -> None:
        """Another node runs."""
        if node != self._node:
            self._node, self._since, self._first, self._left = node, self._clock(), None, None

    def advance(self, step: float, steps: float) -> None:
        """The node that runs has taken `step` of its `steps`; none of them at the beginning."""
        now = self._clock()
        if not step:
            self._since, self._first, self._left = now, None, None
            return
        if self._first is None:
            self._first = step, now
        begun, since = self._first
        # The first step does what later ones need not, such as bringing weights: it counts only while it is alone.
        each = (now - since) / (step - begun) if step > begun else (now - self._since) / step
        self._left = each * (steps - step)
        if work := self._ahead.get(self._node):
            self._pace = each * steps / work

    def finish(self, node: str) -> None:
        """A node is done, or had its result already."""
        self._ahead.pop(node, None)

    def seconds_left(self) -> float | None:
        """None before a step of the node that runs was taken."""
        if self._left is None:
            return None
        others = sum(work for key, work in self._ahead.items() if key != self._node)
        return self._left + others * self._pace


def _work(class_type: str, inputs: dict[str, object]) -> float:
    """The work of a node in evaluations of Stage C; 0 where it takes no steps, or another node says how many."""
    steps, cfg = inputs.get("steps"), inputs.get("cfg")
    if not isinstance(steps, int | float):
        return 0.0
    return steps * COSTS.get(class_type, 1.0) * (1 if cfg in (None, UNGUIDED) else 2)
