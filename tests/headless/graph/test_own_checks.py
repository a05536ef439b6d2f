"""What a node checks by itself, its VALIDATE_INPUTS: of which inputs, with which values, and instead of which rules."""

from typing import Any

from stable_cascade_nodes.headless import graph

from .fake_nodes import node
from .prompts import only_problem


class AnyType(str):
    def __ne__(self, other: object) -> bool:
        return False


def add_checker(classes: dict[str, type[Any]], check: Any, declared: Any = "INT", **attributes: Any) -> None:
    members = {"VALIDATE_INPUTS": classmethod(check), **attributes}
    spec = {"required": {"value": (declared, {"max": 5}), "other": ("STRING", {})}}
    classes["Own"] = type("Own", (classes["Number"],), {"INPUT_TYPES": classmethod(lambda cls: spec), **members})


def own(**inputs: Any) -> graph.Prompt:
    return {"1": node("Own", **inputs), "2": node("Show", value=["1", 0]), "3": node("Text", text="x")}


def test_own_checks_replace_the_range_of_what_they_name(classes: dict[str, type[Any]]) -> None:
    add_checker(classes, lambda cls, value: True)
    assert not graph.validate(own(value=99, other="x"), classes).problems
    add_checker(classes, lambda cls, other: True)
    assert [p.kind for p in graph.validate(own(value=99, other="x"), classes).problems] == ["value_bigger_than_max"]
    add_checker(classes, lambda cls, **all_of_them: True)
    assert not graph.validate(own(value=99, other="x"), classes).problems


def test_own_checks_get_what_they_name_and_none_for_a_link(classes: dict[str, type[Any]]) -> None:
    seen: list[Any] = []
    add_checker(classes, lambda cls, other, value=3: seen.append((other, value)) or True)
    graph.validate(own(value=["9", 0], other="x") | {"9": node("Number", value=1)}, classes)
    assert seen == [("x", None)]
    add_checker(classes, lambda cls, **given: seen.append(given) or True, INPUT_IS_LIST=True)
    graph.validate(own(value=4, other={"__value__": "x"}), classes)
    assert seen[1] == {"value": [4], "other": ["x"]}


def test_own_checks_are_not_asked_about_wrong_values(classes: dict[str, type[Any]]) -> None:
    add_checker(classes, lambda cls, value: value > 3)
    problem = only_problem(own(value="many", other="x"), classes)
    assert problem.kind == "invalid_input_type"


def test_own_checks_that_fail(classes: dict[str, type[Any]]) -> None:
    add_checker(classes, lambda cls, value: 1 / value)
    problem = only_problem(own(value=0, other="x"), classes)
    assert problem.kind == "exception_during_validation"
    assert "ZeroDivisionError" in problem.message
    problem = only_problem(own(value=2, other="x"), classes)
    assert problem.kind == "custom_validation_failed"


def test_own_type_checks_turn_ours_off(classes: dict[str, type[Any]]) -> None:
    seen: list[Any] = []
    add_checker(classes, lambda cls, input_types: seen.append(input_types) or True)
    assert not graph.validate(own(value=["3", 0], other="x"), classes).problems
    assert seen == [{"value": "STRING"}]


def test_a_type_that_means_anything(classes: dict[str, type[Any]]) -> None:
    add_checker(classes, lambda cls, other: True, declared=AnyType("*"))
    assert not graph.validate(own(value=["3", 0], other="x"), classes).problems
