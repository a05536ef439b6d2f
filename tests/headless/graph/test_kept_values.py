"""What is computed once, what again, and how long a value is kept."""

import weakref
from typing import Any

import pytest

from stable_cascade_nodes.headless import graph

from .fake_nodes import Calls
from .prompts import SUM, names, node, run


def test_identical_nodes_run_once(classes: graph.Classes, calls: Calls) -> None:
    prompt = {
        "1": node("Number", value=3),
        "2": node("Number", value=3),
        "3": node("Add", a=["1", 0], b=["2", 0]),
        "4": node("Add", a=["2", 0], b=["1", 0]),
        "5": node("Show", value=["3", 0]),
        "6": node("Show", value=["4", 0]),
    }
    found = run(prompt, classes)
    assert names(calls) == ["Number", "Add", "Show"]
    assert {key: done.ui for key, done in found.items() if key in "56"} == {"5": {"value": [6]}, "6": {"value": [6]}}
    assert sum(done.cached for done in found.values()) == 3


def test_constants_of_different_types_are_different(classes: graph.Classes, calls: Calls) -> None:
    prompt = {str(i): node("Anything", value=value) for i, value in enumerate([1, 1.0, True, "1"])}
    prompt |= {f"s{i}": node("Strict", value=[str(i), 0]) for i in range(4)}
    graph.execute(graph.Plan(prompt, classes))
    assert names(calls) == ["Anything"] * 4


def test_a_diamond_of_a_thousand_is_quick(classes: graph.Classes, calls: Calls) -> None:
    prompt = {"0": node("Number", value=0), "end": node("Show", value=["1000", 0])}
    prompt |= {str(i): node("Add", a=[str(i - 1), 0], b=[str(i - 1), 0]) for i in range(1, 1001)}
    run(prompt, classes)
    assert len(calls) == 1002


def test_a_cache_computes_only_what_changed(classes: graph.Classes, calls: Calls) -> None:
    cache = graph.Cache()
    run(SUM, classes, cache=cache)
    calls.clear()
    assert all(done.cached for done in run(SUM, classes, cache=cache).values())
    assert not calls
    found = run(SUM | {"2": node("Number", value=5)}, classes, cache=cache)
    assert names(calls) == ["Number", "Add", "Show"]
    assert found["1"].cached
    assert found["9"].ui == {"value": [8]}
    calls.clear()
    run(SUM, classes, cache=cache)  # the 4 was not needed by the latest prompt
    assert names(calls) == ["Number", "Add", "Show"]


def test_a_cache_does_not_mind_other_ids(classes: graph.Classes, calls: Calls) -> None:
    cache = graph.Cache()
    run(SUM, classes, cache=cache)
    renamed = {"b": node("Number", value=4), "a": node("Number", value=3), "c": node("Add", b=["b", 0], a=["a", 0])}
    calls.clear()
    assert run(renamed | {"d": node("Show", value=["c", 0])}, classes, cache=cache)["d"].ui == {"value": [7]}
    assert not calls


def test_what_changes_by_itself_runs_again(classes: graph.Classes, calls: Calls) -> None:
    cache = graph.Cache()
    prompt = {"1": node("Changing"), "2": node("Number", value=3), "3": node("Add", a=["1", 0], b=["2", 0])}
    prompt["4"] = node("Show", value=["3", 0])
    run(prompt, classes, cache=cache)
    calls.clear()
    run(prompt, classes, cache=cache)
    assert names(calls) == ["Changing", "Add", "Show"]


def add_changing(classes: dict[str, type[Any]], is_changed: Any) -> None:
    members = {"IS_CHANGED": classmethod(is_changed)}
    classes["Number"] = type("Number", (classes["Number"],), members)


@pytest.mark.parametrize(
    ("answers", "again"),
    [([True, True], False), (["a", "a"], False), (["a", "b"], True), ([b"a", b"a"], False), ([object()] * 2, True)],
)
def test_is_changed(classes: dict[str, type[Any]], calls: Calls, answers: list[Any], again: bool) -> None:
    given = iter(answers)
    seen: list[Any] = []
    add_changing(classes, lambda cls, value: (seen.append(value), next(given))[1])
    cache = graph.Cache()
    prompt = {"1": node("Number", value=5), "2": node("Show", value=["1", 0])}
    run(prompt, classes, cache=cache)
    calls.clear()
    run(prompt, classes, cache=cache)
    assert bool(calls) == again
    assert seen == [5, 5]


def test_is_changed_gets_none_for_a_link_and_may_fail(classes: dict[str, type[Any]], calls: Calls) -> None:
    seen: list[Any] = []
    add_changing(classes, lambda cls, value: (seen.append(value), 1 // 0)[1])
    prompt = {"0": node("Two"), "1": node("Number", value=["0", 0]), "2": node("Show", value=["1", 0])}
    cache = graph.Cache()
    run(prompt, classes, cache=cache)
    run(prompt, classes, cache=cache)
    assert names(calls) == ["Two", "Number", "Show", "Number", "Show"]
    assert seen == [None, None]


class Value:
    """Something whose end can be noticed."""


def test_values_go_when_their_last_reader_is_done(classes: dict[str, type[Any]]) -> None:
    alive: list[list[bool]] = []
    made: list[weakref.ref[Value]] = []

    def make(self: Any, **_: Any) -> tuple[Value]:
        alive.append([reference() is not None for reference in made])
        value = Value()
        made.append(weakref.ref(value))
        return (value,)

    classes["Make"] = type("Make", (classes["Anything"],), {"call": make})
    prompt = {"0": node("Make", value="start")} | {str(i): node("Make", value=[str(i - 1), 0]) for i in range(1, 4)}
    prompt["4"] = node("Strict", value=["3", 0])
    classes["Strict"].strict = lambda self, value: {}
    graph.execute(graph.Plan(prompt, classes))
    assert alive == [[], [True], [False, True], [False, False, True]]
    assert all(reference() is None for reference in made)
    made.clear()
    cache = graph.Cache()
    graph.execute(graph.Plan(prompt, classes, cache=cache))
    assert all(reference() is not None for reference in made)


def test_each_output_of_a_node_goes_by_itself(classes: dict[str, type[Any]]) -> None:
    """As the text encoder beside the Stage C of a LoRA: read early, while the other output is still wanted."""
    made: list[weakref.ref[Value]] = []
    alive: list[list[bool]] = []

    def make(self: Any, **_: Any) -> tuple[Value, Value, Value]:
        values = Value(), Value(), Value()
        made.extend(map(weakref.ref, values))
        return values

    def look(self: Any, **_: Any) -> tuple[int]:
        alive.append([reference() is not None for reference in made])
        return (1,)

    any_class = classes["Anything"]
    classes["Three"] = type("Three", (any_class,), {"call": make, "RETURN_TYPES": ("*", "*", "*")})
    classes["Look"] = type("Look", (any_class,), {"call": look})
    prompt = {
        "1": node("Three"),
        "2": node("Look", value=["1", 0]),
        "3": node("Look", value=["2", 0]),
        "4": node("Look", value=["1", 1], after=["3", 0]),
        "5": node("Strict", value=["4", 0]),
    }
    classes["Strict"].strict = lambda self, value: {}
    graph.execute(graph.Plan(prompt, classes))
    assert alive == [[True, True, False], [False, True, False], [False, True, False]]


def test_one_instance_per_node(classes: dict[str, type[Any]]) -> None:
    seen: list[Any] = []
    classes["Changing"].call = lambda self: (seen.append(self), (1,))[1]
    prompt = {"1": node("Changing"), "2": node("Changing"), "3": node("Add", a=["1", 0], b=["2", 0])}
    prompt["4"] = node("Show", value=["3", 0])
    cache = graph.Cache()
    for _ in range(2):
        graph.execute(graph.Plan(prompt, classes, cache=cache))
    assert len(seen) == 4
    assert len({id(instance) for instance in seen}) == 2


def test_after_a_failure_a_cache_keeps_what_was_done(classes: dict[str, type[Any]], calls: Calls) -> None:
    cache = graph.Cache()
    prompt = {"1": node("Two"), "2": node("Fails"), "3": node("Add", a=["1", 0], b=["2", 0])}
    prompt["4"] = node("Show", value=["3", 0])
    with pytest.raises(graph.NodeFailure):
        run(prompt, classes, cache=cache)
    classes["Fails"].call = lambda self: (5,)
    calls.clear()
    assert run(prompt, classes, cache=cache)["4"].ui == {"value": [12]}
    assert "Two" not in names(calls)
