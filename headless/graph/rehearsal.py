"""Ask every node of a plan, before anything is computed, whether its inputs fit together.

A node class takes part by `REHEARSE`, the name of a method. It is called as FUNCTION will be, but with what the
sources returned in their own rehearsals; it raises ValueError where FUNCTION would refuse, and returns placeholders:
whatever the rehearsals of the next nodes need. A node that costs next to nothing names FUNCTION itself: its result is
kept for the performance.
"""

import time
from contextlib import nullcontext

from .calls import Values
from .plan import Around, NodeFailure, Plan
from .prompt import Problem, locate


def rehearse(plan: Plan, *, around: Around = nullcontext) -> list[Problem]:
    """Why the plan cannot be performed; nodes without REHEARSE, and all behind them, are not asked.

    Raises NodeFailure where a node failed that was run for good, and where a rehearsal breaks by anything but a
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
        for_good = method == node_class.FUNCTION and results.keys() >= set(used)
        started = time.perf_counter()
        try:
            result = plan.call(key, method, known, around)
        except NodeFailure as failure:
            if for_good or not isinstance(failure.error, ValueError):
                raise
            expected, found = "inputs that fit together", "others"
            place = locate(plan.prompt, key)
            problems.append(Problem("custom_validation_failed", expected, found, detail=str(failure.error), **place))
            continue
        known[number] = result.values
        if for_good:
            results[number] = result
            plan.rehearsed[number] = time.perf_counter() - started
    return problems
