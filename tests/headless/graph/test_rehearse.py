"""Rehearsals: who is asked and with what, what is kept for the performance, and what becomes of refusals."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stable_cascade_nodes.headless import graph

from .fake_nodes import Calls
from .prompts import names, node


class Placeholder:
    """Stands for a number of a family that is not known yet."""

    def __init__(self, family: str) -> None:
        self.family = family


@pytest.fixture
def classes(classes: dict[str, type[Any]], calls: Calls) -> dict[str, type[Any]]:
    """Load (a family, for good) -> Sample (slow; asked beforehand) -> Show (not asked)."""

    class Load(classes["Text"]):
        REHEARSE = "call"

    class Sample:
        RETURN_TYPES, FUNCTION, REHEARSE = ("INT",), "sample", "rehearse"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"model": ("STRING", {"forceInput": True})}, "optional": {"start": ("INT", {})}}

        def sample(self, model: str, start: int = 0) -> tuple[int]:
            calls.append(("Sample", {"model": model, "start": start}))
            return (start + 1,)

        def rehearse(self, model: str, start: Any = 0) -> tuple[Placeholder]:
            calls.append(("rehearse", {"model": model, "start": start}))
            if isinstance(start, Placeholder) and start.family != model:
                raise ValueError(f"the model is {model}, but `start` comes from {start.family}")
            return (Placeholder(model),)

    return {**classes, "Load": Load, "Sample": Sample}


def chain(first: str = "red", second: str = "red") -> graph.Prompt:
    return {
        "1": node("Load", text=first),
        "2": node("Load", text=second),
        "3": node("Sample", model=["1", 0]),
        "4": node("Sample", model=["2", 0], start=["3", 0]),
        "5": node("Show", value=["4", 0]),
    }


def test_nothing_is_computed_on_a_refusal(classes: graph.Classes, calls: Calls) -> None:
    (problem,) = graph.rehearse(graph.Plan(chain(second="blue"), classes))
    assert sorted(names(calls)) == ["Text", "Text", "rehearse", "rehearse"]
    assert problem.message == 'node 4 "My Sample" (Sample): the model is blue, but `start` comes from red'
    assert (problem.node, problem.title, problem.class_type) == ("4", "My Sample", "Sample")


def test_what_runs_for_good_runs_once(classes: graph.Classes, calls: Calls) -> None:
    plan = graph.Plan(chain(), classes)
    assert not graph.rehearse(plan)
    assert names(calls) == ["Text", "rehearse", "rehearse"]  # both loaders have one signature
    done = {entry.node: entry for entry in graph.execute(plan)}
    assert names(calls)[3:] == ["Sample", "Sample", "Show"]
    assert done["5"].ui == {"value": [2]}
    assert [done[key].cached for key in "12345"] == [False, True, False, False, False]


def test_the_seconds_of_the_rehearsal_count(classes: dict[str, type[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    prompt = {"1": node("Load", text="red"), "2": node("ShowText", text=["1", 0])}
    plan = graph.Plan(prompt, classes)
    graph.rehearse(plan)
    assert [done.seconds for done in graph.execute(plan)] == [2.0, 1.0]  # loaded, and looked up


def test_who_is_not_asked_hides_what_comes_behind(classes: graph.Classes, calls: Calls) -> None:
    prompt = chain(second="blue") | {"4": node("Sample", model=["2", 0], start=["6", 0])}
    prompt["6"] = node("Add", a=["3", 0], b=1)
    plan = graph.Plan(prompt, classes)
    assert not graph.rehearse(plan)
    assert "Add" not in names(calls) and names(calls).count("rehearse") == 1
    assert graph.execute(plan)[-1].ui == {"value": [3]}


def test_function_as_rehearsal_of_a_placeholder_is_not_for_good(classes: dict[str, type[Any]], calls: Calls) -> None:
    seen: list[Any] = []

    class Keep(classes["Anything"]):
        REHEARSE = "call"

        def call(self, value: Any) -> tuple[Any]:
            seen.append(value)
            if isinstance(value, Placeholder) and value.family == "blue":
                raise ValueError("not blue")
            return (value,)

    classes["Keep"] = Keep
    prompt = {"1": node("Load", text="red"), "3": node("Sample", model=["1", 0]), "4": node("Keep", value=["3", 0])}
    prompt["5"] = node("Strict", value=["4", 0])
    plan = graph.Plan(prompt, classes)
    assert not graph.rehearse(plan)
    graph.execute(plan)
    assert isinstance(seen[0], Placeholder) and seen[1:] == [1]
    prompt["1"] = node("Load", text="blue")
    (problem,) = graph.rehearse(graph.Plan(prompt, classes))
    assert problem.node == "4"


def test_all_refusals_are_told_and_drop_their_outputs(classes: graph.Classes, calls: Calls) -> None:
    prompt = chain(second="blue")
    prompt |= {"7": node("Sample", model=["2", 0], start=["3", 0]), "8": node("Show", value=["7", 0])}
    prompt |= {"9": node("Show", value=["3", 0])}
    plan = graph.Plan(prompt, classes)
    problems = graph.rehearse(plan)
    assert {problem.node for problem in problems} == {"4", "7"}
    plan.drop({"4"})
    assert plan.outputs == ("8", "9")
    plan.drop({"7"})
    calls.clear()
    assert [done.node for done in graph.execute(plan)] == ["1", "3", "9"]
    assert names(calls) == ["Sample", "Show"]
    plan.drop({"1"})
    assert plan.outputs == () and graph.execute(plan) == []


def test_a_failure_for_good_is_one_of_the_run(classes: dict[str, type[Any]]) -> None:
    classes["Fails"].REHEARSE = "call"
    with pytest.raises(graph.NodeFailure, match=r'"My Fails" \(Fails\) failed: this node always fails') as caught:
        graph.rehearse(graph.Plan({"1": node("Fails"), "2": node("Show", value=["1", 0])}, classes))
    assert caught.value.node == "1"


@pytest.mark.parametrize(
    ("rehearsal", "message"),
    [
        (lambda self, model: (1, 2), "TypeError: returned a tuple of 2, expected a tuple of 1"),
        (lambda self, model: 1 // 0, "ZeroDivisionError"),
    ],
)
def test_a_broken_rehearsal_is_a_failure(classes: dict[str, type[Any]], rehearsal: Any, message: str) -> None:
    classes["Sample"].rehearse = rehearsal
    prompt = {"1": node("Load", text="red"), "3": node("Sample", model=["1", 0]), "5": node("Show", value=["3", 0])}
    with pytest.raises(graph.NodeFailure, match=rf'node 3 "My Sample" \(Sample\) failed: {message}'):
        graph.rehearse(graph.Plan(prompt, classes))


def test_one_instance_and_the_same_surroundings(classes: dict[str, type[Any]]) -> None:
    seen: list[Any] = []
    classes["Sample"].rehearse = lambda self, model: (seen.append(self), (Placeholder(model),))[1]
    classes["Sample"].sample = lambda self, model: (seen.append(self), (1,))[1]
    entered: list[str] = []

    @contextmanager
    def around(node_id: str) -> Iterator[None]:
        entered.append(node_id)
        yield

    prompt = {"1": node("Load", text="red"), "3": node("Sample", model=["1", 0]), "5": node("Show", value=["3", 0])}
    plan = graph.Plan(prompt, classes)
    graph.rehearse(plan, around=around)
    graph.execute(plan, around=around)
    assert entered == ["1", "3", "3", "5"]
    assert len(seen) == 2 and seen[0] is seen[1]


def test_with_a_cache_only_what_changed_is_asked(classes: graph.Classes, calls: Calls) -> None:
    cache = graph.Cache()
    plan = graph.Plan(chain(), classes, cache=cache)
    assert not graph.rehearse(plan)
    graph.execute(plan)
    calls.clear()
    again = graph.Plan(chain(), classes, cache=cache)
    assert not graph.rehearse(again)
    assert all(done.cached for done in graph.execute(again)) and not calls
    changed = graph.Plan(chain(second="blue"), classes, cache=cache)
    assert not graph.rehearse(changed)  # `start` is a number by now, and carries no family
    assert calls == [("Text", {"text": "blue"}), ("rehearse", {"model": "blue", "start": 1})]


def test_lists_are_rehearsed_value_by_value(classes: dict[str, type[Any]], calls: Calls) -> None:
    classes["Split"].REHEARSE = "call"
    prompt = {"1": node("Split", text="red blue"), "3": node("Sample", model=["1", 0])}
    graph.rehearse(graph.Plan(prompt | {"5": node("Show", value=["3", 0])}, classes))
    assert [given["model"] for name, given in calls if name == "rehearse"] == ["red", "blue"]


def test_ctrl_c_passes_through(classes: dict[str, type[Any]]) -> None:
    def interrupted(self: Any, model: str) -> None:
        raise KeyboardInterrupt

    classes["Sample"].rehearse = interrupted
    with pytest.raises(KeyboardInterrupt):
        graph.rehearse(graph.Plan(chain(), classes))
