"""A plan carried out: a rehearsal that asks every node whether its inputs fit together, then the work.

A node class takes part in the rehearsal by `REHEARSE`, the name of a method. It is called as FUNCTION will be, but
with what the sources returned in their own rehearsals; it raises ValueError where FUNCTION would refuse, and returns
placeholders: whatever the rehearsals of the next nodes need. A node that costs next to nothing names FUNCTION itself:
its result is final.

The rules of the work are ComfyUI's: every node that an output needs runs once, in the order of the links; values
travel as lists, and output nodes return what to show. No tensor is known here: what surrounds a call (inference mode,
progress) is the caller's `around`.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from .calls import Ui, Values
from .plan import Around, NodeFailure, Plan
from .prompt import Problem, links_of, locate
from .wording import names_of, title_of


@dataclass(frozen=True)
class Done:
    """One finished node: `seconds` in its own code, and what it shows (`ui`), old if it was `cached`.

    `name` is its title, with the id where others have that title too.
    """

    node: str
    title: str
    class_type: str
    seconds: float
    cached: bool
    ui: Ui
    name: str


Finished = Callable[[Done], None]


def rehearse(plan: Plan, *, around: Around = nullcontext) -> list[Problem]:
    """The reasons why a plan cannot be carried out; nodes without REHEARSE, and all behind them, are not asked.

    Raises NodeFailure where a node failed whose result is final, and where a rehearsal breaks by anything but a
    ValueError.
    """
    results, signatures = plan.cache.results, plan.signatures
    known: dict[int, Values] = {number: result.values for number, result in results.items()}
    problems: list[Problem] = []
    for key in plan.order:
        number, used = signatures[key], [signatures[source] for source in plan.sources[key]]
        node_class = plan.definition(key).node_class
        method: str | None = getattr(node_class, "REHEARSE", None)
        if method is None or number in known or not known.keys() >= set(used):
            continue
        is_final = method == node_class.FUNCTION and results.keys() >= set(used)
        started = time.perf_counter()
        try:
            result = plan.call(key, method, known, around)
        except NodeFailure as failure:
            if is_final or not isinstance(failure.error, ValueError):
                raise
            expected, found = "inputs that fit together", "others"
            place = locate(plan.prompt, key)
            problems.append(Problem("custom_validation_failed", expected, found, detail=str(failure.error), **place))
            continue
        known[number] = result.values
        if is_final:
            results[number] = result
            plan.rehearsed[number] = time.perf_counter() - started
    return problems


def execute(plan: Plan, *, around: Around = nullcontext, finished: Finished = lambda done: None) -> list[Done]:
    """Run what is planned and not there yet.

    `around(node id)` is entered around each node's own code; `finished` hears of each node that ran, which
    those behind a withheld output do not. Raises NodeFailure; KeyboardInterrupt passes through.
    """
    results, signatures = plan.cache.results, plan.signatures
    taken = {key: [(signatures[node], slot) for node, slot in links_of(plan.prompt[key])] for key in plan.order}
    readers = Counter(output for outputs in taken.values() for output in outputs)
    record: list[Done] = []
    names = names_of(plan.prompt)
    for key in plan.order:
        started = time.perf_counter()
        number = signatures[key]
        before = plan.rehearsed.pop(number, None)
        cached = before is None and number in results
        if number not in results:
            values = {source: results[source].values for source, _ in taken[key]}
            results[number] = plan.call(key, plan.definition(key).node_class.FUNCTION, values, around)
        readers.subtract(taken[key])
        if not plan.reuses_values:  # each output by itself: a LoRA's Stage C must not hold its text encoder
            for source, slot in {*taken[key], *((number, slot) for slot in range(len(results[number].values)))}:
                if not readers[source, slot]:
                    results[source].values[slot] = []
        if not results[number].calls:  # it takes what is withheld
            continue
        seconds = time.perf_counter() - started + (before or 0.0)
        node = plan.prompt[key]
        record.append(Done(key, title_of(node), node["class_type"], seconds, cached, results[number].ui, names[key]))
        finished(record[-1])
    return record
