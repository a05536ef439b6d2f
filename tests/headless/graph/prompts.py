"""Prompts of fake nodes: made, checked and run."""

from __future__ import annotations

from typing import Any

from stable_cascade_nodes.headless import graph

from . import fake_nodes
from .fake_nodes import Calls


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return fake_nodes.node(class_type, f"My {class_type}", **inputs)


def only_problem(prompt: graph.Prompt, classes: graph.Classes) -> graph.Problem:
    found = graph.validate(prompt, classes).problems
    assert len(found) == 1, [problem.message for problem in found]
    return found[0]


def run(
    prompt: graph.Prompt,
    classes: graph.Classes,
    cache: graph.Cache | None = None,
    extra_pnginfo: Any = None,
    **options: Any,
) -> dict[str, graph.Done]:
    checked = graph.validate(prompt, classes)
    assert not checked.problems, [problem.message for problem in checked.problems]
    plan = graph.Plan(checked.prompt, classes, outputs=checked.outputs, extra_pnginfo=extra_pnginfo, cache=cache)
    return {done.node: done for done in graph.execute(plan, **options)}


def names(calls: Calls) -> list[str]:
    return [name for name, _ in calls]


SUM = {
    "9": node("Show", value=["3", 0]),
    "3": node("Add", a=["1", 0], b=["2", 0]),
    "1": node("Number", value=3),
    "2": node("Number", value=4),
}
