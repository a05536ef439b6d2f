"""Run a validated prompt: every node that an output needs, once, in the order of the links.

The rules are ComfyUI's: values travel as lists, output nodes return what to show. It knows no tensors: what
surrounds a call (inference mode, progress) is the caller's `around`.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from .calls import Ui
from .definition import Registry
from .plan import Around, Cache, Plan
from .wording import title_of
from .workflow import Prompt


@dataclass(frozen=True)
class Done:
    """One finished node: `seconds` in its own code, and what it shows (`ui`), old if it was `cached`."""

    node: str
    title: str
    class_type: str
    seconds: float
    cached: bool
    ui: Ui


Finished = Callable[[Done], None]


def run(
    prompt: Prompt,
    registry: Registry,
    *,
    outputs: Sequence[str] | None = None,
    extra_pnginfo: Mapping[str, Any] | None = None,
    cache: Cache | None = None,
    around: Around = nullcontext,
    finished: Finished = lambda done: None,
) -> list[Done]:
    """Perform a prompt without a rehearsal; the arguments are those of `Plan` and `perform`."""
    plan = Plan(prompt, registry, outputs=outputs, extra_pnginfo=extra_pnginfo, cache=cache)
    return perform(plan, around=around, finished=finished)


def perform(plan: Plan, *, around: Around = nullcontext, finished: Finished = lambda done: None) -> list[Done]:
    """Run what is planned and not there yet.

    `around(node id)` is entered around each node's own code; `finished` hears of each node. Raises NodeFailure;
    KeyboardInterrupt passes through.
    """
    results, signatures = plan.cache.results, plan.signatures
    readers = Counter(signatures[source] for key in plan.order for source in plan.sources[key])
    record: list[Done] = []
    for key in plan.order:
        started = time.perf_counter()
        number, used = signatures[key], [signatures[source] for source in plan.sources[key]]
        before = plan.rehearsed.pop(number, None)
        cached = before is None and number in results
        if number not in results:
            values = {source: results[source].values for source in used}
            results[number] = plan.call(key, plan.definition(key).node_class.FUNCTION, values, around)
        readers.subtract(used)
        if not plan.keeps_values:
            for done_with in (source for source in {number, *used} if not readers[source]):
                results[done_with].values = []
        seconds = time.perf_counter() - started + (before or 0.0)
        node = plan.prompt[key]
        record.append(Done(key, title_of(node), node["class_type"], seconds, cached, results[number].ui))
        finished(record[-1])
    return record
