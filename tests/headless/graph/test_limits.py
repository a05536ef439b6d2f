"""Documents that are made to take long, or for ever, end at once: in a result or in one message."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from stable_cascade_nodes.headless import graph

BOX = ("STRING", {"multiline": True, "dynamicPrompts": True})


class Text:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"text": BOX}}

    def run(self, text: str) -> tuple[str]:
        return (text,)


class SaveImage(Text):
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"filename_prefix": ("STRING", {})}}


def document(nodes: list[Any], links: list[Any] | None = None, subgraphs: Mapping[str, Any] | None = None) -> Any:
    definitions = [{"id": name, "name": name, "nodes": inner} for name, inner in (subgraphs or {}).items()]
    return {"version": 0.4, "nodes": nodes, "links": links or [], "definitions": {"subgraphs": definitions}}


def shell(kind: str, *ids: int) -> list[Any]:
    return [{"id": number, "type": kind} for number in ids]


def reroutes(count: int, first: int) -> Any:
    """A chain that `first` feeds, to a node with as many inputs."""
    chain = [{"id": i, "type": "Reroute", "inputs": [{"link": i}]} for i in range(1, count)]
    ends = [{"name": str(i), "type": f"T{i % 50}", "link": count} for i in range(count)]
    links = [[i, i - 1 or first, 0, i, 0, "*"] for i in range(1, count + 1)]
    return document([*chain, {"id": count, "type": "End", "inputs": ends}, {"id": 99999, "type": "Source"}], links)


def bypassed(count: int) -> Any:
    passed = {"id": 1, "type": "Passed", "mode": 4, "inputs": [{"type": f"a{i}", "link": 9} for i in range(count)]}
    ends = [{"name": str(i), "type": f"b{i}", "link": 1} for i in range(count)]
    return document([passed, {"id": 2, "type": "End", "inputs": ends}], [[1, 1, 0, 2, 0, "*"]])


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


CASES: dict[str, tuple[Any, str]] = {
    "a bomb of subgraphs": (
        document(shell("s0", 1), subgraphs={f"s{i}": shell(f"s{i + 1}", 1, 2) for i in range(60)} | {"s60": []}),
        "at most 10,000 nodes",
    ),
    "a wide subgraph": (
        document(shell("s", *range(5000)), subgraphs={"s": [{"id": 1, "type": "W", "inputs": [{"link": 1}] * 30000}]}),
        "at most 10,000 nodes with 100,000 slots",
    ),
    "a circle of subgraphs": (
        document(shell("a", 1), subgraphs={"a": shell("b", 2), "b": shell("a", 3)}),
        "node 1:2:3 .* found itself",
    ),
    "deep subgraphs": (
        document(shell("s0", 1), subgraphs={f"s{i}": shell(f"s{i + 1}", 1) for i in range(3000)}),
        "more than 100 inside each other",
    ),
    "many nodes": (document(shell("Text", *range(20000))), "at most 10,000 nodes"),
    "a prompt of many nodes": (
        {str(number): {"class_type": "Text", "inputs": {}} for number in range(200_000)},
        "at most 10,000 nodes",
    ),
    "a long chain": (reroutes(5000, 99999), ""),
    "a long circle": (reroutes(5000, 4999), "found a circle"),
    "a wide bypass": (bypassed(9000), ""),
    "open braces": (document([{"id": 1, "type": "Text", "widgets_values": ["{" * 900000 + "x" * 90000]}]), ""),
    "open comments": (document([{"id": 1, "type": "Text", "widgets_values": ["/*" * 400000]}]), ""),
    "many patterns": (
        document(
            [{"id": 1, "type": "SaveImage", "widgets_values": ["%a.b%" * 50000]}, *shell("Note", *range(2, 9000))]
        ),
        "",
    ),
    "deep values": (document([{"id": 1, "type": "Text", "widgets_values": [nested(50000)]}]), "nested too deeply"),
}


@pytest.mark.usefixtures("own_garbage")
@pytest.mark.parametrize("name", CASES)
def test_ends_soon(name: str) -> None:
    written, expected = CASES[name]
    started = time.process_time()
    if expected:
        with pytest.raises(graph.WorkflowError, match=expected):
            graph.convert(written, graph.definitions({"Text": Text, "SaveImage": SaveImage}))
    else:
        graph.convert(written, graph.definitions({"Text": Text, "SaveImage": SaveImage}))
    assert time.process_time() - started < 1


class Through(Text):
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"text": ("STRING", {"forceInput": True})}}


class Show(Through):
    OUTPUT_NODE = True
    RETURN_TYPES = ()


def linked(kind: str, source: str) -> dict[str, Any]:
    return {"class_type": kind, "inputs": {"text": [source, 0]}}


PROMPTS: dict[str, tuple[dict[str, Any], str]] = {
    "outputs behind a long chain": (
        {f"{i}": linked("Through", f"{i - 1}") for i in range(1, 5000)}
        | {f"s{i}": linked("Show", "4999") for i in range(4999)},
        "expected outputs that need at most 1,000,000 nodes",
    ),
    "circles": (
        {f"{end}{i}": linked("Through", f"{other}{i}") for i in range(3000) for end, other in ("ab", "ba")}
        | {f"s{i}": linked("Show", f"a{i}") for i in range(3000)},
        "found a circle: ",
    ),
    "links to nothing": ({f"{i}": linked("Show", f"x{i}") for i in range(9999)}, "expected a link to a node"),
}


@pytest.mark.usefixtures("own_garbage")
@pytest.mark.parametrize("name", PROMPTS)
def test_a_check_ends_soon(name: str) -> None:
    prompt, expected = PROMPTS[name]
    started = time.process_time()
    checked = graph.validate(prompt, {"Text": Text, "Through": Through, "Show": Show})
    assert time.process_time() - started < 1
    assert expected in checked.problems[0].message and checked.outputs == ()


def test_what_can_run_is_told_beside_many_problems() -> None:
    good = {"0": {"class_type": "Text", "inputs": {"text": "x"}}, "s": linked("Show", "0")}
    bad = {f"s{i}": linked("Show", f"x{i}") for i in range(100)}
    assert graph.validate(good | bad, {"Text": Text, "Show": Show}).outputs == ("s",)
