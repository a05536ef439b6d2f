"""Every rule of the editor's conversion against what the editor itself made of it."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.headless import graph

from . import drawing, probes

HERE = Path(__file__).parent
EXPECTED: dict[str, Any] = json.loads((HERE / "probes.json").read_text())
INFO: dict[str, Any] = json.loads((HERE / "object_info.json").read_text())


def ours(document: dict[str, Any]) -> dict[str, Any]:
    prompt = graph.convert(document, *graph.read_object_info(INFO)).prompt
    return {key: entry for key, entry in probes.plain(prompt).items() if entry["class_type"] in INFO}


@pytest.mark.parametrize("name", probes.PROBES)
def test_as_the_editor(name: str) -> None:
    expected = deepcopy(EXPECTED[name])
    for key, inputs in probes.OURS.get(name, {}).items():
        assert all(expected[key]["inputs"].get(input_name) != value for input_name, value in inputs.items())
        expected[key]["inputs"] |= inputs
    document = probes.PROBES[name]()
    assert ours(document) == expected
    assert document == probes.PROBES[name]()


@pytest.mark.parametrize(
    ("name", "node_id", "input_name", "value", "others"),
    [
        ("widgets_in_order", "1", "cfg", 3.5, {}),
        ("modes", "2", "width", 640, {}),
        ("primitives", "2", "width", 640, {}),
        ("version_one", "1", "width", 8, {}),
        ("subgraph_twice", "4:3", "scale_by", 3.5, {}),  # shown by the node of the subgraph
        ("subgraph_twice", "5:3", "upscale_method", "lanczos", {}),  # not shown, and two nodes share it
        ("subgraph_linked_widget", "4:3", "scale_by", 3.5, {}),
        ("nested", "4:5:3", "scale_by", 3.5, {}),
        ("nested", "4:5:3", "upscale_method", "lanczos", {}),
        ("nested", "4:7", "scale_by", 3.5, {}),
        # An input of the subgraph that feeds two widgets changes both, as it does in the editor.
        ("subgraph_shown_order", "4:2", "width", 128, {("4:2", "height"): 128}),
    ],
)
def test_a_value_is_written_where_a_person_would(
    name: str, node_id: str, input_name: str, value: Any, others: dict[tuple[str, str], Any]
) -> None:
    document = probes.PROBES[name]()
    expected = ours(document)
    for (key, other), changed in {(node_id, input_name): value, **others}.items():
        expected[key]["inputs"][other] = changed
    definitions, _ = graph.read_object_info(INFO)
    graph.set_widget(document, definitions, node_id, input_name, value)
    assert without_replacements(ours(document)) == without_replacements(expected)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("subgraph_twice", [("5:3", "upscale_method", "lanczos"), ("4:3", "scale_by", 3.5), ("5:3", "scale_by", 2.5)]),
        ("nested", [("4:5:3", "upscale_method", "lanczos"), ("4:5:3", "scale_by", 3.5), ("4:7", "scale_by", 2.5)]),
        ("primitives", [("2", "width", 640), ("2", "height", 320), ("2", "width", 80)]),
    ],
)
def test_several_values_are_what_one_after_another_makes(name: str, changes: list[tuple[str, str, Any]]) -> None:
    definitions, _ = graph.read_object_info(INFO)
    together, singly = probes.PROBES[name](), probes.PROBES[name]()
    graph.set_widgets(together, definitions, changes)
    for change in changes:
        graph.set_widget(singly, definitions, *change)
    assert together == singly != probes.PROBES[name]()


def without_replacements(prompt: dict[str, Any]) -> dict[str, Any]:
    """Names of files may repeat the value that was changed."""
    return {key: entry for key, entry in prompt.items() if "filename_prefix" not in entry["inputs"]}


def test_only_a_shared_subgraph_is_copied() -> None:
    definitions, _ = graph.read_object_info(INFO)
    document = probes.PROBES["subgraph_twice"]()
    graph.set_widget(document, definitions, "4:3", "upscale_method", "lanczos")
    first, second = (entry["type"] for entry in document["nodes"] if entry["id"] in (4, 5))
    assert first != second == drawing.kind("a")
    assert [entry["id"] for entry in document["definitions"]["subgraphs"]] == [second, first]
    graph.set_widget(document, definitions, "4:3", "upscale_method", "area")
    assert len(document["definitions"]["subgraphs"]) == 2


def test_messages_name_the_node_inside() -> None:
    document = probes.PROBES["subgraph_twice"]()
    document["definitions"]["subgraphs"][0]["links"].pop(0)
    with pytest.raises(graph.WorkflowError) as caught:
        ours(document)
    assert caught.value.messages[0].startswith(
        'node 4:3 "Scale" (ImageScaleBy), input "image": expected link 1 to come'
    )


def test_what_no_server_says_is_refused() -> None:
    for info in ({"A": 3}, {"A": {"input": {}}}, {"A": {"input": {"required": 3}, "output": []}}):
        with pytest.raises(graph.WorkflowError, match=r'object_info: expected .* the node "A"'):
            graph.read_object_info(info)
    with pytest.raises(graph.WorkflowError, match='the type of input "b" of the node "A"'):
        graph.read_object_info({"A": {"input": {"required": {"b": []}}, "output": []}})


def test_order_and_names_of_a_server() -> None:
    entry = {
        "input": {"required": {"b": ["INT"], "a": [["x", "y"], {"tooltip": "?"}]}, "hidden": {"id": "UNIQUE_ID"}},
        "input_order": {"required": ["a", "b"]},
        "output": ["IMAGE", ["x", "y"]],
        "output_node": True,
        "display_name": "An A",
    }
    definitions, names = graph.read_object_info({"A": entry, "B": {"input": {}, "output": [], "display_name": None}})
    assert list(definitions["A"].inputs) == ["a", "b"]
    assert definitions["A"].inputs["a"].choices == ["x", "y"]
    assert definitions["A"].is_output and definitions["A"].hidden == {"id": "UNIQUE_ID"}
    assert definitions["A"].node_class is None
    assert names == {"A": "An A", "B": "B"}
