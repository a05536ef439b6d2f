"""Validation: every rule of the host, and where we are stricter."""

import math
from typing import Any

import pytest

from stable_cascade_nodes.headless import graph
from stable_cascade_nodes.headless.graph import validation

from .fake_nodes import node
from .prompts import only_problem


def shown(kind: str, title: str = "Mine", **inputs: Any) -> graph.Prompt:
    """One node whose first output is shown."""
    viewer = {"Many": "ShowRatio", "Text": "ShowText", "Upload": "ShowText", "Forced": "ShowText"}.get(kind, "Show")
    name, slot = {"ShowRatio": ("ratio", 1), "ShowText": ("text", 0), "Show": ("value", 0)}[viewer]
    return {"1": node(kind, title, **inputs), "2": node(viewer, **{name: ["1", slot]})}


MANY = {"colour": "red", "size": "small", "ratio": 0.5, "fast": False, "name": "x"}


def many(**inputs: Any) -> graph.Prompt:
    return shown("Many", **(MANY | inputs))


def test_a_sound_prompt(classes: graph.Classes) -> None:
    found = graph.validate(shown("Number", value=3), classes)
    assert (found.outputs, found.problems) == (("2",), ())


@pytest.mark.parametrize(
    ("kind", "name", "value", "read"),
    [
        ("Number", "value", "12", 12),
        ("Number", "value", 3.7, 3),
        ("Number", "value", True, 1),
        ("Many", "ratio", 1, 1.0),
        ("Many", "ratio", "0.25", 0.25),
        ("Many", "name", 5, "5"),
        ("Many", "fast", 1, True),
        ("Text", "text", "grün 星", "grün 星"),
    ],
)
def test_values_are_read_as_their_type(classes: graph.Classes, kind: str, name: str, value: Any, read: Any) -> None:
    inputs = MANY | {name: value} if kind == "Many" else {name: value}
    found = graph.validate(shown(kind, **inputs), classes)
    result = found.prompt["1"]["inputs"][name]
    assert not found.problems
    assert (result, type(result)) == (read, type(read))


@pytest.mark.parametrize(
    ("prompt", "kind", "name", "expected", "found"),
    [
        (shown("Number"), "required_input_missing", "value", "a value of type INT", "nothing"),
        ({"1": node("Show", "Mine")}, "required_input_missing", "value", "a value of type INT", "nothing"),
        ({"1": node("ShowRatio", "Mine")}, "required_input_missing", "ratio", "a link to RATIO", "nothing"),
        (shown("Number", value="many"), "invalid_input_type", "value", "a whole number", '"many"'),
        (shown("Number", value=None), "invalid_input_type", "value", "a whole number", "null"),
        (shown("Number", value={"a": 1}), "invalid_input_type", "value", "a whole number", '{"a": 1}'),
        (shown("Number", value=math.nan), "invalid_input_type", "value", "a whole number", "NaN"),
        (shown("Number", value=math.inf), "invalid_input_type", "value", "a whole number", "Infinity"),
        (shown("Number", value=-1), "value_smaller_than_min", "value", "from 0 to 100", "-1"),
        (shown("Number", value=101), "value_bigger_than_max", "value", "from 0 to 100", "101"),
        (shown("Number", value={"__value__": [1]}), "invalid_input_type", "value", "a whole number", "[1]"),
        (many(ratio=math.nan), "invalid_input_type", "ratio", "a number", "NaN"),
        (many(ratio=-math.inf), "invalid_input_type", "ratio", "a number", "-Infinity"),
        (many(ratio=10**400), "invalid_input_type", "ratio", "a number", "characters"),
        (many(ratio=1.5), "value_bigger_than_max", "ratio", "from 0.0 to 1.0", "1.5"),
        (many(fast="false"), "invalid_input_type", "fast", "true or false", '"false"'),
        (many(fast=None), "invalid_input_type", "fast", "true or false", "null"),
        (many(name=None), "invalid_input_type", "name", "a text", "null"),
        (many(name={"a": 1}), "invalid_input_type", "name", "a text", '{"a": 1}'),
        (many(name="x" * 1_000_001), "invalid_input_type", "name", "at most 1,000,000", "1,000,003 characters"),
        (many(name="half \ud800"), "invalid_input_type", "name", "halves", "half"),
        (many(colour="gren"), "value_not_in_list", "colour", 'one of "green", "red"', '"gren"'),
        (many(size="huge"), "value_not_in_list", "size", '"small", "large"', '"huge"'),
        (many(colour=3), "value_not_in_list", "colour", '"red", "green"', "3"),
        (shown("Upload", image="../c.png"), "value_not_in_list", "image", "one of ", '"../c.png"'),
        (shown("Number", value=["1"]), "bad_linked_input", "value", "a link", '["1"]'),
        (shown("Number", value=[2, 0]), "bad_linked_input", "value", "node id as a text", "[2, 0]"),
        (shown("Number", value=["2", "0"]), "bad_linked_input", "value", "a link", '["2", "0"]'),
        (shown("Number", value=["2", True]), "bad_linked_input", "value", "a link", '["2", true]'),
        (shown("Number", value=["9", 0]), "bad_linked_input", "value", 'a node of the workflow ("1", "2")', '"9"'),
        (
            {"1": node("Show", "Mine", value=["2", 2]), "2": node("Two")},
            "bad_linked_input",
            "value",
            "0 to 1",
            "slot 2",
        ),
        (
            {"1": node("Show", "Mine", value=["2", -1]), "2": node("Two")},
            "bad_linked_input",
            "value",
            "0 to 1",
            "slot -1",
        ),
        (
            {"1": node("Show", "Mine", value=["2", 0]), "2": node("Hidden")},
            "bad_linked_input",
            "value",
            "a node with outputs",
            'slot 0 of node 2 "Hidden"',
        ),
        (
            {"1": node("Show", "Mine", value=["2", 1]), "2": node("Two", "Pair")},
            "return_type_mismatch",
            "value",
            "INT",
            'STRING from node 2 "Pair" (Two)',
        ),
        (many(colour=["3", 0]) | {"3": node("Text", text="red")}, "return_type_mismatch", "colour", '"red"', "STRING"),
        (
            {"1": node("ShowRatio", "Mine", ratio="constant")},
            "invalid_input_type",
            "ratio",
            "a link to RATIO",
            "constant",
        ),
        (
            {"1": node("Strict", "Mine", value=1, valeu=["2", 0]), "2": node("Two")},
            "bad_linked_input",
            "valeu",
            '"value"',
            "a link",
        ),
        (shown("Checked", value=13, text=""), "custom_validation_failed", "value", "the node accepts", "13"),
    ],
)
def test_one_problem(
    classes: graph.Classes, prompt: graph.Prompt, kind: str, name: str, expected: str, found: str
) -> None:
    problem = only_problem(prompt, classes)
    assert (problem.kind, problem.node, problem.title, problem.input) == (kind, "1", "Mine", name)
    assert expected in problem.expected
    assert found in problem.found
    assert problem.message.startswith(f'node 1 "Mine" ({prompt["1"]["class_type"]}), input "{name}": ')
    assert len(problem.message) < 400


def test_messages(classes: graph.Classes) -> None:
    message = only_problem(shown("Number", value=101), classes).message
    assert message == 'node 1 "Mine" (Number), input "value": expected a number from 0 to 100, found 101'
    message = only_problem(shown("Checked", value=13, text=""), classes).message
    assert message == 'node 1 "Mine" (Checked), input "value": 13 brings bad luck'


def test_ten_choices_are_shown_whole_and_of_more_the_nearest() -> None:
    few = [f"choice {number}" for number in range(10)]
    assert sorted(graph.list_choices(few, "choice 9").split(", ")) == [graph.show(name) for name in few]
    assert graph.list_choices([*few, "other"], "othr").startswith('"other", ')
    assert graph.list_choices([*few, "other"]).endswith(" and 5 more")


def test_unknown_classes_are_named_wherever_they_are(classes: graph.Classes) -> None:
    prompt = shown("Number", value=1) | {"3": node("Numbr", "Lost"), "4": node("Else")}
    found = graph.validate(prompt, classes)
    assert [problem.node for problem in found.problems] == ["3", "4"]
    assert found.problems[0].message == 'node 3 "Lost" (Numbr): no node "Numbr" here; did you mean "Number"?'
    assert found.problems[1].message == (
        'node 4 "Else" (Else): no node "Else" here; it is of another pack or a newer ComfyUI: `cascade run --server'
        " URL` has a ComfyUI run it"
    )
    assert found.outputs == ("2",)


def test_many_unknown_classes_are_one_sentence(classes: graph.Classes) -> None:
    others = {str(number): node(f"Other{number % 3}") for number in range(3, 10)}
    found = graph.validate(shown("Number", value=1) | others, classes)
    (problem,) = found.problems
    assert problem.message == (
        'workflow: 7 nodes are not here (of another pack or a newer ComfyUI: "Other0", "Other1", "Other2"):'
        " `cascade run --server URL` has a ComfyUI run them"
    )
    assert found.outputs == ("2",)
    needed = shown("Number", value=["3", 0]) | others
    assert graph.validate(needed, classes).outputs == ()


def test_whose_a_class_is_comes_before_what_it_resembles(classes: graph.Classes) -> None:
    prompt = shown("Number", value=1) | {"3": node("Numbers")}
    (problem,) = graph.validate(prompt, classes, lambda name: f"of {name}'s pack").problems
    assert "it is of Numbers's pack: `cascade run" in problem.message and "did you mean" not in problem.message
    many = {f"{name}{number}": node(f"{name}{number}") for name in ("Own", "Numbe") for number in range(3, 6)}
    (problem,) = graph.validate(prompt | many, classes, lambda name: ("Own" in name and "its own") or None).problems
    assert problem.message.startswith('workflow: 7 nodes are not here (perhaps "Number": "Numbers", "Numbe3", ')
    assert 'its own: "Own3", "Own4", "Own5"): `cascade' in problem.message


def test_a_value_under_another_name_is_told(classes: graph.Classes) -> None:
    found = only_problem({"1": node("Show", "Mine", valeu=3)}, classes).found
    assert found == '"valeu", which the node does not have: did you mean "value"?'
    found = only_problem({"1": node("Show", "Mine", other=3)}, classes).found
    assert found == 'nothing; the node does not have "other"'


def test_an_empty_list_says_where_its_choices_come_from(classes: graph.Classes) -> None:
    inputs = {"INPUT_TYPES": lambda: {"required": {"image": ([], {"image_upload": True}), "name": ([],)}}}
    choosy = type("Choosy", (classes["Show"],), inputs)
    messages = [p.message for p in graph.validate({"1": node("Choosy", name="x")}, {"Choosy": choosy}).problems]
    assert messages[0].endswith(
        "expected a file of the input folder, which has none that fits: put one there, found nothing"
    )
    assert messages[1].endswith('expected a choice, but there is none here to choose, found "x"')


def test_only_what_an_output_needs_is_checked(classes: graph.Classes) -> None:
    prompt = shown("Number", value=1) | {"3": node("Number", value="wrong"), "4": node("Add", a=["99", 0])}
    assert not graph.validate(prompt, classes).problems


def test_every_problem_is_told(classes: graph.Classes) -> None:
    prompt = many(colour="blue", size="huge", ratio=7) | {"5": node("Show"), "6": node("Nothing")}
    kinds = [problem.kind for problem in graph.validate(prompt, classes).problems]
    assert kinds == [
        "invalid_prompt",
        "value_not_in_list",
        "value_not_in_list",
        "value_bigger_than_max",
        "required_input_missing",
    ]


def test_outputs_that_are_fine_are_told(classes: graph.Classes) -> None:
    prompt = shown("Number", value=1) | {"3": node("Show", value=["4", 0]), "4": node("Number", value=-5)}
    found = graph.validate(prompt, classes)
    assert found.outputs == ("2",)
    assert [problem.node for problem in found.problems] == ["4"]


@pytest.mark.parametrize(("prompt", "found"), [({"1": node("Number", value=1)}, '"Number"'), ({}, "nothing")])
def test_no_output(classes: graph.Classes, prompt: graph.Prompt, found: str) -> None:
    problem = only_problem(prompt, classes)
    assert (problem.kind, problem.found) == ("prompt_no_outputs", found)


def test_every_cycle_is_named(classes: graph.Classes) -> None:
    prompt = {
        "1": node("Add", "One", a=["2", 0], b=["3", 0]),
        "2": node("Add", "Two", a=["1", 0], b=1),
        "3": node("Add", "Three", a=["3", 0], b=1),
        "4": node("Show", value=["1", 0]),
        "5": node("Show", value=["6", 0]),
        "6": node("Number", value=1),
    }
    found = graph.validate(prompt, classes)
    assert [problem.kind for problem in found.problems] == ["dependency_cycle"] * 2
    text = " ".join(problem.message for problem in found.problems)
    assert all(title in text for title in ('1 "One"', '2 "Two"', '3 "Three" -> 3 "Three"'))
    assert found.outputs == ("5",)


def test_a_long_chain_is_no_cycle(classes: graph.Classes) -> None:
    prompt = {"0": node("Number", value=1), "end": node("Show", value=["1999", 0])}
    prompt |= {str(i): node("Add", a=[str(i - 1), 0], b=1) for i in range(1, 2000)}
    assert not graph.validate(prompt, classes).problems


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("Lazy", "the lazy input value"),
        ("Dynamic", "the hidden input DYNPROMPT"),
        ("Async", "an asynchronous node"),
        ("Third", "a V3 node class"),
    ],
)
def test_what_cannot_run_here_is_refused_by_name(classes: graph.Classes, kind: str, what: str) -> None:
    problem = only_problem(shown(kind), classes)
    assert (problem.kind, problem.node, problem.found) == ("not_supported", "1", what)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("text", "an object with class_type and inputs"),
        ({"inputs": {}}, "a class_type"),
        ({"class_type": 3, "inputs": {}}, "a class_type"),
        ({"class_type": "Number"}, '"inputs", an object'),
        ({"class_type": "Number", "inputs": []}, '"inputs", an object'),
    ],
)
def test_malformed_nodes(classes: graph.Classes, broken: Any, expected: str) -> None:
    problem = only_problem({"7": broken}, classes)
    assert (problem.kind, problem.node, problem.expected) == ("invalid_prompt", "7", problem.expected)
    assert expected in problem.expected
    assert problem.message.startswith("node 7")


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        ("Either", "Show", True),  # INT,FLOAT -> INT
        ("Number", "Either", True),
        ("Text", "Either", False),
        ("Anything", "Anything", True),
        ("Number", "Anything", False),  # as in the host, * is no wildcard
    ],
)
def test_types_connect(classes: graph.Classes, source: str, target: str, fits: bool) -> None:
    inputs = {"text": "x"} if source == "Text" else {"value": 1}
    prompt = {"1": node(source, **inputs), "2": node(target, value=["1", 0])}
    if target != "Show":
        prompt["3"] = node("Show", value=["2", 0])
    kinds = [problem.kind for problem in graph.validate(prompt, classes).problems if problem.node == "2"]
    assert kinds == ([] if fits else ["return_type_mismatch"])


def test_unknown_constants_are_ignored(classes: graph.Classes) -> None:
    assert not graph.validate(shown("Number", value=1, colour="red"), classes).problems


def test_nothing_is_changed_in_place(classes: graph.Classes) -> None:
    prompt = shown("Number", value="7")
    assert graph.validate(prompt, classes).prompt["1"]["inputs"] == {"value": 7}
    assert prompt["1"]["inputs"] == {"value": "7"}


def test_the_limit_of_texts_is_generous() -> None:
    assert validation.MAX_TEXT >= 100_000
