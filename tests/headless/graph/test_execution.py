"""Execution: order, what arrives, lists, what is withheld, and failures."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stable_cascade_nodes.cascade_core.errors import Withheld
from stable_cascade_nodes.headless import graph

from .fake_nodes import Calls
from .prompts import SUM, names, node, run


def test_runs_from_the_outputs(classes: graph.Classes, calls: Calls) -> None:
    found = run(SUM | {"7": node("Fails")}, classes)
    assert found["9"].ui == {"value": [7]}
    assert names(calls) == ["Number", "Number", "Add", "Show"]
    assert list(found) == ["1", "2", "3", "9"]
    assert all(not done.cached and done.seconds >= 0 for done in found.values())
    assert (found["3"].title, found["3"].class_type) == ("My Add", "Add")


def test_slots_and_missing_optionals(classes: graph.Classes, calls: Calls) -> None:
    found = run({"1": node("Two"), "2": node("ShowText", text=["1", 1]), "3": node("Show", value=["1", 0])}, classes)
    assert (found["2"].ui, found["3"].ui) == ({"text": ["seven"]}, {"value": [7]})
    run(SUM, classes)
    assert calls[-2][1] == {"a": 3, "b": 4}


def test_a_chosen_output_alone(classes: graph.Classes, calls: Calls) -> None:
    prompt = SUM | {"8": node("ShowText", text=["6", 0]), "6": node("Text", text="x")}
    graph.execute(graph.Plan(prompt, classes, outputs=["8"]))
    assert names(calls) == ["Text", "ShowText"]


def test_an_output_comes_as_soon_as_it_can(classes: graph.Classes, calls: Calls) -> None:
    prompt = {str(i): node("Number", value=i) for i in range(5)}
    prompt |= {f"s{i}": node("Show", value=[str(i), 0]) for i in range(5)}
    run(prompt, classes)
    assert names(calls) == ["Number", "Show"] * 5


def test_lists(classes: graph.Classes, calls: Calls) -> None:
    prompt = {
        "1": node("Split", text="a b c"),
        "2": node("Text", text=["1", 0]),
        "3": node("Gather", text=["2", 0]),
        "4": node("ShowText", text=["3", 0]),
        "5": node("ShowText", text=["2", 0]),
    }
    found = run(prompt, classes)
    assert found["4"].ui == {"text": ["a+b+c"]}
    assert found["5"].ui == {"text": ["a", "b", "c"]}
    assert names(calls).count("Text") == 3


def test_shorter_lists_repeat_their_last_value(classes: dict[str, type[Any]], calls: Calls) -> None:
    classes["Pair"] = type(
        "Pair", (classes["Text"],), {"INPUT_TYPES": classmethod(lambda cls: {"required": dict.fromkeys("ab", ("*",))})}
    )
    classes["Pair"].call = lambda self, a, b: (a + b,)
    prompt = {
        "1": node("Split", text="a b c"),
        "2": node("Split", text="x y"),
        "3": node("Pair", a=["1", 0], b=["2", 0]),
    }
    done = graph.execute(graph.Plan(prompt | {"4": node("ShowText", text=["3", 0])}, classes))
    assert done[-1].ui == {"text": ["ax", "by", "cy"]}


def test_hidden_inputs(classes: graph.Classes, calls: Calls) -> None:
    prompt = {"5": node("Hidden"), "6": node("Hidden")}
    run(prompt, classes, extra_pnginfo={"workflow": {"nodes": []}})
    assert [given for _, given in calls] == [
        {"prompt": prompt, "extra": {"workflow": {"nodes": []}}, "node": key} for key in "56"
    ]


def test_a_list_constant_arrives_unwrapped_and_stays_wrapped_in_the_prompt(
    classes: dict[str, type[Any]], calls: Calls
) -> None:
    prompt = {"1": node("Anything", value={"__value__": ["2", 0]}), "2": node("Strict", value=["1", 0])}
    graph.execute(graph.Plan(prompt, classes))
    assert calls[0] == ("Anything", {"value": ["2", 0]})
    assert prompt["1"]["inputs"]["value"] == {"__value__": ["2", 0]}


def test_unknown_constants_do_not_arrive(classes: graph.Classes, calls: Calls) -> None:
    run({"1": node("Number", value=1, colour="red"), "2": node("Show", value=["1", 0])}, classes)
    assert calls[0] == ("Number", {"value": 1})


def test_around_and_finished(classes: graph.Classes, calls: Calls) -> None:
    log: list[str] = []

    @contextmanager
    def around(node_id: str) -> Iterator[None]:
        log.append(f"in {node_id} {len(calls)}")
        yield
        log.append(f"out {node_id} {len(calls)}")

    prompt = {"1": node("Number", value=1), "2": node("Show", value=["1", 0])}
    run(prompt, classes, around=around, finished=lambda done: log.append(f"done {done.node}"))
    assert log == ["in 1 0", "out 1 1", "done 1", "in 2 1", "out 2 2", "done 2"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (node("Fails"), "this node always fails"),
        (node("Short"), "TypeError: returned a tuple of 1, expected a tuple of 2"),
        (node("Expands"), "TypeError: expanding into other nodes is not supported"),
    ],
)
def test_failures(classes: graph.Classes, source: dict[str, Any], message: str) -> None:
    with pytest.raises(graph.NodeFailure) as caught:
        run({"1": source, "2": node("Show", value=["1", 0])}, classes)
    failure = caught.value
    kind = source["class_type"]
    assert str(failure).startswith(f'node 1 "My {kind}" ({kind}) failed: {message}')
    assert (failure.node, failure.title, failure.class_type) == ("1", f"My {kind}", kind)
    assert failure.error is failure.__cause__


@pytest.mark.parametrize("returned", [[1], 1, None, "1", {"ui": {}}, {"result": [1]}])
def test_only_a_tuple_is_a_result(classes: dict[str, type[Any]], returned: Any) -> None:
    classes["Number"].call = lambda self, value: returned
    with pytest.raises(graph.NodeFailure, match="expected a tuple of 1"):
        run({"1": node("Number", value=1), "2": node("Show", value=["1", 0])}, classes)


@pytest.mark.parametrize("returned", [None, (), {}, {"ui": {}}, {"ui": {}, "result": ()}])
def test_nodes_without_outputs_may_return_nothing(classes: dict[str, type[Any]], returned: Any) -> None:
    classes["Show"].call = lambda self, value: returned
    assert run({"1": node("Show", value=1)}, classes)["1"].ui == {}


def test_an_empty_list_is_told(classes: graph.Classes) -> None:
    with pytest.raises(graph.NodeFailure, match=r'My Text.*input "text": .*found an empty list'):
        run(
            {"1": node("Split", text=" "), "2": node("Text", text=["1", 0]), "3": node("ShowText", text=["2", 0])},
            classes,
        )


def test_an_output_list_must_be_one(classes: dict[str, type[Any]]) -> None:
    classes["Split"].call = lambda self, text: ("not a list",)
    with pytest.raises(graph.NodeFailure, match="returned str, expected a list, as OUTPUT_IS_LIST says"):
        run({"1": node("Split", text="x"), "2": node("ShowText", text=["1", 0])}, classes)


@pytest.fixture
def withholds(classes: dict[str, type[Any]], calls: Calls) -> graph.Classes:
    """`Text` passes on any text but an empty one."""

    def call(self: Any, text: str) -> Any:
        calls.append(("Text", {"text": text}))
        return {"ui": {"said": [text]}, "result": (text or Withheld(),)}

    classes["Text"].call = call
    return classes


def test_what_takes_a_withheld_output_does_not_run(withholds: graph.Classes, calls: Calls) -> None:
    prompt = {
        "1": node("Text", text=""),
        "2": node("Forced", text=["1", 0], times=2),
        "3": node("ShowText", text=["2", 0]),
        "4": node("Show", value=3),
    }
    cache = graph.Cache()
    found = run(prompt, withholds, cache=cache)
    assert found["1"].ui == {"said": [""]}  # the node itself has run, and shows what it shows
    assert sorted(found) == ["1", "4"] and sorted(names(calls)) == ["Show", "Text"]
    assert sorted(run(prompt, withholds, cache=cache)) == ["1", "4"]
    assert sorted(names(calls)) == ["Show", "Text"]
    prompt["1"]["inputs"]["text"] = "x"
    again = run(prompt, withholds, cache=cache)
    assert again["3"].ui == {"text": ["x"]} and again["4"].cached


def test_of_several_values_only_the_withheld_ones_are_left_out(withholds: graph.Classes, calls: Calls) -> None:
    withholds["Split"].call = lambda self, text: (["a", "", "b"],)  # type: ignore[attr-defined]
    prompt = {"1": node("Split", text="x"), "2": node("Text", text=["1", 0]), "3": node("ShowText", text=["2", 0])}
    assert run(prompt, withholds)["3"].ui == {"text": ["a", "b"]}


def test_ctrl_c_passes_through(classes: dict[str, type[Any]]) -> None:
    def interrupted(self: Any, value: int) -> None:
        raise KeyboardInterrupt

    classes["Number"].call = interrupted
    with pytest.raises(KeyboardInterrupt):
        run({"1": node("Number", value=1), "2": node("Show", value=["1", 0])}, classes)
