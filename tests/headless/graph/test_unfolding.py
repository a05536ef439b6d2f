"""Inputs that unfold, of classes that are installed here: what runs, and what is refused."""

from typing import Any

import pytest

from stable_cascade_nodes.headless import graph

COMBO = "COMFY_DYNAMICCOMBO_V3"
GROUP = "COMFY_AUTOGROW_V3"


class Resize:
    """A node as V3 ones declare themselves, in the form of V1."""

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        sizes = [
            {"key": "by", "inputs": {"required": {"factor": ["FLOAT", {"default": 2.0, "min": 0.0}]}}},
            {"key": "like", "inputs": {"required": {"other": ["INT", {"forceInput": True}]}}},
        ]
        template = {"input": {"required": {"number": ["INT", {"forceInput": True}]}}, "prefix": "n", "min": 1, "max": 3}
        return {"required": {"size": [COMBO, {"options": sizes}], "numbers": [GROUP, {"template": template}]}}

    def run(self, **given: Any) -> dict[str, Any]:
        return {"ui": {"given": [given]}, "result": (1,)}


class Number:
    RETURN_TYPES = ("INT",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ["INT", {}]}}

    def run(self, value: int) -> tuple[int]:
        return (value,)


CLASSES = {"Resize": Resize, "Number": Number}


def prompt(**inputs: Any) -> dict[str, Any]:
    return {
        "1": {"class_type": "Number", "inputs": {"value": 5}},
        "2": {"class_type": "Resize", "inputs": inputs},
    }


def test_what_a_choice_brings_is_given() -> None:
    checked = graph.validate(prompt(size="by", **{"size.factor": 3, "numbers.n0": ["1", 0]}), CLASSES)
    assert checked.problems == ()
    given: list[Any] = []
    plan = graph.Plan(checked.prompt, CLASSES, outputs=checked.outputs)
    graph.execute(plan, finished=given.append)
    assert given[-1].ui == {"given": [{"size": "by", "size.factor": 3.0, "numbers.n0": 5}]}


@pytest.mark.parametrize(
    ("inputs", "kind", "name"),
    [
        ({"size": "by", "numbers.n0": ["1", 0]}, "required_input_missing", "size.factor"),
        ({"size": "like", "numbers.n0": ["1", 0]}, "required_input_missing", "size.other"),
        ({"size": "none", "numbers.n0": ["1", 0]}, "value_not_in_list", "size"),
        ({"size": "by", "size.factor": -1, "numbers.n0": ["1", 0]}, "value_smaller_than_min", "size.factor"),
        ({"size": "by", "size.factor": 1}, "required_input_missing", "numbers.n0"),
    ],
)
def test_refusals(inputs: dict[str, Any], kind: str, name: str) -> None:
    (problem,) = graph.validate(prompt(**inputs), CLASSES).problems
    assert (problem.kind, problem.input) == (kind, name)


def test_a_group_ends_somewhere() -> None:
    definition = graph.define(Resize)
    names = [name for name in graph.inputs_of(definition, {"numbers.n2": 1, "numbers.n77": 1}) if "." in name]
    assert names == ["size.factor", "numbers.n0", "numbers.n1", "numbers.n2"]
