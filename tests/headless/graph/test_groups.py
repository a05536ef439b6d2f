"""Group nodes of old editors: shapes of files beside those that the probes have, and what cannot be taken apart."""

from copy import deepcopy
from typing import Any

import pytest

from stable_cascade_nodes.headless import comfyui_nodes, graph

from . import probes
from .drawing import document, node, slots


def converted(written: dict[str, Any]) -> graph.Workflow:
    return graph.convert(written, comfyui_nodes.DEFINITIONS, comfyui_nodes.NAMES)


def inputs_of(written: dict[str, Any]) -> dict[str, Any]:
    return {key: entry["inputs"] for key, entry in converted(written).prompt.items()}


def masked() -> dict[str, Any]:
    """As the oldest files have it: links from outside without a source, external uses by the node itself, settings."""
    nodes = [
        node(0, "EmptyImage", [512, 512, 1, 5], inputs=None),
        node(1, "ThresholdMask", [0.5], inputs=slots("mask: MASK")),
        node(2, "ImageCompositeMasked", [0, 0, True], inputs=slots("destination: IMAGE, source: IMAGE, mask: MASK")),
        node(3, "Reroute", inputs=slots(": *")),
    ]
    group = {
        "nodes": [{key: value for key, value in entry.items() if key != "id"} for entry in nodes],
        "links": [
            [None, 1, 3, 0, 50, "MASK"],
            [3, 0, 1, 0, 66, "MASK"],
            [None, 0, 2, 0, 50, "IMAGE"],
            [0, 0, 2, 1, 62, "IMAGE"],
            [1, 0, 2, 2, 64, "MASK"],
        ],
        "external": [[nodes[2], 0, "IMAGE"]],
        "config": {
            "0": {"input": {"width": {"visible": False}}},
            "2": {"input": {"destination": {"name": "image"}}},
            "3": {"input": {"MASK": {"name": "mask"}}, "output": {"0": {"name": ""}}},
        },
    }
    return document(
        [
            node(50, "LoadImage", ["a.png", "image"]),
            node(68, "workflow/Masked", [64, 32, 1, 9, 0.25, 3, 4, False]),
            node(9, "SaveImage", ["x"]),
        ],
        ["50.0 > 68.image: IMAGE", "50.1 > 68.mask: MASK", "68.0 > 9.images: IMAGE"],
        extra={"groupNodes": {"Masked": group}},
    )


def test_the_oldest_form() -> None:
    assert inputs_of(masked()) == {
        "50": {"image": "a.png"},
        "9": {"filename_prefix": "x", "images": ["68:2", 0]},
        "68:0": {"width": 64, "height": 32, "batch_size": 1, "color": 9},
        "68:1": {"value": 0.25, "mask": ["50", 1]},
        "68:2": {
            "x": 3,
            "y": 4,
            "resize_source": False,
            "destination": ["50", 0],
            "source": ["68:0", 0],
            "mask": ["68:1", 0],
        },
    }


def test_the_workflow_that_is_kept_has_subgraphs() -> None:
    written = masked()
    before = deepcopy(written)
    workflow = converted(written)
    assert written == before and workflow.editor is not None
    assert "groupNodes" not in workflow.editor["extra"]
    (made,) = workflow.editor["definitions"]["subgraphs"]
    assert {entry["type"] for entry in workflow.editor["nodes"]} == {"LoadImage", "SaveImage", made["id"]}
    assert converted(workflow.editor).prompt == workflow.prompt
    graph.set_widget(workflow.editor, comfyui_nodes.DEFINITIONS, "68:1", "value", 0.75)
    assert inputs_of(workflow.editor)["68:1"]["value"] == 0.75


@pytest.mark.parametrize("mode", [2, 4])
def test_one_that_is_off_gives_no_nodes(mode: int) -> None:
    written = masked()
    written["nodes"][1]["mode"] = mode
    found = inputs_of(written)
    assert found.keys() == {"50", "9"}
    assert found["9"].get("images") == (None if mode == 2 else ["50", 0])


def test_a_primitive_inside_has_its_own_places() -> None:
    number = {"name": "INT", "type": "INT", "widget": {"name": "width"}, "links": []}
    nodes = [
        node(0, "PrimitiveNode", [1, "fixed"], outputs=[number], title="Both"),
        node(1, "EmptyImage", [512, 512, 1, 5], inputs=slots("*width: INT, *height: INT")),
    ]
    links = [[0, 0, 1, 0, 1, "INT"], [0, 0, 1, 1, 1, "INT"]]
    written = document(
        [node(4, "workflow>Square", [48, "randomize", 2, 7]), node(9, "SaveImage", ["x"])],
        ["4.0 > 9.images: IMAGE"],
        extra={"groupNodes": {"Square": {"nodes": nodes, "links": links, "external": []}}},
    )
    assert inputs_of(written)["4:1"] == {"width": 48, "height": 48, "batch_size": 2, "color": 7}


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ({"nodes": None}, "a group without nodes and links"),
        ({"nodes": [{"type": "Foreign"}], "links": []}, 'a node of the unknown class "Foreign" inside'),
        ({"links": [[0, 0, 9, 0, 1, "IMAGE"]]}, "a link between nodes that the group does not have"),
        ({"links": [[0, 0, 2, 7, 1, "IMAGE"]]}, 'a link to input 7 of "ImageCompositeMasked" inside, which has 3'),
        ({"links": [[0, 5, 2, 0, 1, "IMAGE"]]}, 'output 5 of "EmptyImage" inside, which has 1'),
        ({"links": ["a"]}, "a link that cannot be read"),
        ({"config": {}}, 'the input "image", where the group has'),
        ({"config": {"2": {"output": {"0": {"visible": False}}}}}, "the input"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(damage: dict[str, Any], found: str) -> None:
    written = masked()
    written["extra"]["groupNodes"]["Masked"] |= damage
    with pytest.raises(graph.WorkflowError) as caught:
        converted(written)
    assert caught.value.messages[0].startswith("node 68 ")
    assert f"expected a group node whose parts are known, found {found}" in caught.value.messages[0]


def test_a_hidden_output_that_is_used() -> None:
    written = masked()
    written["extra"]["groupNodes"]["Masked"]["config"]["2"]["output"] = {"0": {"visible": False}}
    written["links"][-1][2] = 1
    with pytest.raises(graph.WorkflowError, match="a link from output 1, where the group has"):
        converted(written)


def test_a_picture_falls_back_on_its_prompt() -> None:
    prompt = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
    written = masked()
    written["extra"]["groupNodes"]["Masked"]["nodes"][0]["type"] = "Foreign"
    workflow = converted(graph.Picture(written, prompt))
    assert workflow.editor is None
    assert workflow.prompt == {"1": prompt["1"] | {"_meta": {"title": "Empty Image"}}}
    assert "found a node of the unknown class" in workflow.note
    assert workflow.note.endswith("; the prompt in the same picture is used instead")
    assert converted(graph.Picture(masked(), prompt)).note == ""
    assert converted(graph.Picture({}, prompt, "it is broken")).note.startswith("it is broken; ")


def test_a_group_that_is_nowhere_described() -> None:
    written = masked()
    written["extra"] = {}
    with pytest.raises(graph.WorkflowError, match="found a group node of an old editor"):
        converted(written)


def test_probes_stay_as_they_are() -> None:
    written = probes.PROBES["group_node"]()
    converted(written)
    assert written == probes.PROBES["group_node"]()
