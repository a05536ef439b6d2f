"""The shipped workflows on their pages: nothing lies on anything, and text is drawn where the editor fits them.

By the heights that recipes/workflows/heights.py states; tests/host/test_layouts.py asks the editors themselves.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from stable_cascade_nodes.headless import graph, shipped
from stable_cascade_nodes.headless.node_classes import load
from stable_cascade_nodes.recipes.workflows.__main__ import made, text_of
from stable_cascade_nodes.recipes.workflows.arrange import PAD
from stable_cascade_nodes.recipes.workflows.blueprints import BLUEPRINTS, OUTSIDE
from stable_cascade_nodes.recipes.workflows.forms import WITHOUT
from stable_cascade_nodes.recipes.workflows.heights import HEIGHTS, NARROWEST, TITLE, heights_of

Box = tuple[float, float, float, float]  # left, top, right, bottom

CANVAS, NODES2 = 0, 1
DRAWN = 8 / 14  # from this scale on the canvas draws text
ZOOM, MARGIN = 0.75, 10  # of the editor's "fit view": the share of the canvas, and what it adds around the nodes
# The canvas of the editors in a window of 1920 x 1080, as a headless Chromium has it; 1.27 has bars beside its own.
WINDOW_OLD, WINDOW_NEW = (1856, 859), (1920, 937)
# The same on a page of 1366 x 768.
PAGE_OLD, PAGE_NEW = (1302, 690), (1366, 768)
LARGE = {  # 19 to 23 nodes in six columns, one of them as high as Train LoRA
    "image_mixing",
    "lora_training",
    "outpainting",
    "super_resolution",
}
MIDDLE = {"canny", "face_identity", "inpainting"}  # where ControlNet Apply stands above Stage C
SCREEN = 2400, 1400

FILES = {path: text_of(document) for path, document in made()}


@pytest.fixture(params=shipped.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def document(name: str) -> dict[str, Any]:
    return json.loads(shipped.path_of(name).read_text(encoding="utf-8"))


def box(node: dict[str, Any], rendering: int) -> Box:
    """A node with its title, as a rendering of the editor draws it."""
    (left, top), (width, height) = node["pos"], node["size"]
    shown = 0 if node["flags"].get("collapsed") else height + TITLE
    return left, top - TITLE, left + max(width, NARROWEST), top - TITLE + max(shown, heights_of(node)[rendering])


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def within(a: Box, b: Box) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


def scale(document: dict[str, Any], canvas: tuple[int, int]) -> float:
    """That at which the editor fits a workflow to its canvas."""
    boxes = [box(node, CANVAS) for node in document["nodes"]]
    width = max(b[2] for b in boxes) - min(b[0] for b in boxes) + 2 * MARGIN
    height = max(b[3] for b in boxes) - min(b[1] for b in boxes) + 2 * MARGIN
    return ZOOM * min(canvas[0] / width, canvas[1] / height)


@pytest.mark.parametrize("rendering", [CANVAS, NODES2], ids=["canvas", "nodes2"])
def test_nodes_are_apart_and_inside_their_groups(document: dict[str, Any], rendering: int) -> None:
    nodes = {node.get("title", node["type"]): box(node, rendering) for node in document["nodes"]}
    assert [(a, b) for a, b in itertools.combinations(nodes, 2) if overlap(nodes[a], nodes[b])] == []
    groups = {}
    for group in document["groups"]:
        left, top, width, height = group["bounding"]
        groups[group["title"]] = left, top, left + width, top + height
    assert [(a, b) for a, b in itertools.combinations(groups, 2) if overlap(groups[a], groups[b])] == []
    notes = {node["title"] for node in document["nodes"] if node["type"] == "MarkdownNote"}
    for title, place in nodes.items():
        holders = [group for group in groups.values() if overlap(place, group)]
        assert all(within(place, group) for group in holders), title
        assert len(holders) == 1 or (title in notes and not holders), title


def test_each_group_encloses_its_nodes_with_a_margin(document: dict[str, Any]) -> None:
    for group in document["groups"]:
        left, top, width, height = group["bounding"]
        inside = [box(node, NODES2) for node in document["nodes"]]
        inside = [b for b in inside if within(b, (left, top, left + width, top + height))]
        assert min(b[0] for b in inside) - left == PAD and left + width - max(b[2] for b in inside) >= PAD
        assert min(b[1] for b in inside) - top >= 2 * 24  # the group's name, and the badge of the canvas


def test_text_is_drawn_where_the_editor_fits_it(name: str, document: dict[str, Any]) -> None:
    assert min(scale(document, WINDOW_OLD), scale(document, WINDOW_NEW)) >= DRAWN
    assert (scale(document, PAGE_NEW) >= DRAWN) == (name not in LARGE)
    assert (scale(document, PAGE_OLD) >= DRAWN) == (name not in LARGE | MIDDLE)
    assert scale(document, PAGE_OLD) >= (0.45 if name in LARGE else 0.54)
    boxes = [box(node, NODES2) for node in document["nodes"]]
    assert max(b[2] for b in boxes) - min(b[0] for b in boxes) <= SCREEN[0]
    assert max(b[3] for b in boxes) - min(b[1] for b in boxes) <= SCREEN[1]
    assert "ds" not in document["extra"]  # a view that another editor's side bar covers


def test_notes_have_no_code(document: dict[str, Any]) -> None:
    """Nodes 2.0 draws it in blue on grey, 4.2 to 1 in its dark palette and 1.8 to 1 in its light one."""
    notes = [node["widgets_values"][0] for node in document["nodes"] if node["type"] == "MarkdownNote"]
    assert notes and not any("`" in note for note in notes)


def test_a_page_that_is_too_crowded_is_seen(document: dict[str, Any]) -> None:
    """These tests can fail: with the gap of the canvas alone nodes lie on each other in Nodes 2.0."""
    nodes = [node for node in document["nodes"] if node["type"].endswith("Loader")]
    top = nodes[0]["pos"][1]
    for node in nodes:
        node["pos"][1] = top
        top += heights_of(node)[CANVAS] + 10
    for rendering, expected in ((CANVAS, False), (NODES2, True)):
        boxes = [box(node, rendering) for node in nodes]
        assert any(overlap(a, b) for a, b in itertools.combinations(boxes, 2)) == expected


def test_every_class_has_its_height(document: dict[str, Any]) -> None:
    assert all(node["type"] in HEIGHTS or node["type"].endswith("Loader") for node in document["nodes"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_made_of_the_workflows_is_what_lies_there(path: Any) -> None:
    advice = "run python -m stable_cascade_nodes.recipes.workflows"
    assert path.read_text(encoding="utf-8") == FILES[path], advice


def test_nothing_else_lies_there() -> None:
    folders = {path.parent for path in FILES}
    assert {path for folder in folders for path in folder.glob("*.json")} == set(FILES)


def test_an_app_form_is_the_same_workflow(name: str, document: dict[str, Any]) -> None:
    path = shipped.path_of(name).with_suffix(".app.json")
    assert path.exists() == (name not in WITHOUT)
    if name in WITHOUT:
        return
    form = json.loads(path.read_text(encoding="utf-8"))
    nodes = load()
    definitions = graph.definitions(nodes.classes)
    prompt = graph.convert(document, definitions, nodes.names).prompt
    assert graph.convert(form, definitions, nodes.names).prompt == prompt
    data = form["extra"]["linearData"]
    assert form["extra"]["linearMode"] is True
    for node_id, widget, *_ in data["inputs"]:
        node = prompt[str(node_id)]
        entry = graph.define(nodes.classes[node["class_type"]]).inputs[widget]
        assert entry.has_widget and not isinstance(node["inputs"][widget], list), "a form sets no linked input"
    asked = {widget for _, widget, *_ in data["inputs"]}
    pictures = {"image"} if any(node["class_type"] == "CascadePicture" for node in prompt.values()) else set()
    assert {"text", "seed", *pictures} <= asked and asked & {"width", "budget"}
    picking = [node["class_type"] for node in prompt.values() if node["class_type"] == "CascadePickLatents"]
    assert [prompt[str(node_id)]["class_type"] for node_id in data["outputs"]] == [*picking, "SaveImage"]


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_has_the_widgets_types(name: str) -> None:
    """Of the node that stands for it: those that the classes inside declare."""
    workflow = json.loads((shipped.path_of(name)).read_text(encoding="utf-8"))
    (path,) = [path for path in FILES if path.name == f"{BLUEPRINTS[name].name}.json"]
    blueprint = json.loads(path.read_text(encoding="utf-8"))
    (subgraph,) = blueprint["definitions"]["subgraphs"]
    assert [node["id"] for node in subgraph["nodes"]] == [
        node["id"] for node in workflow["nodes"] if node["type"] not in OUTSIDE
    ]
    classes = load().classes
    inner = {str(node["id"]): node for node in subgraph["nodes"]}
    (node,) = blueprint["nodes"]
    outer = [slot["type"] for slot in node["inputs"] if "widget" in slot]
    promoted = node["properties"]["proxyWidgets"]
    assert outer == [graph.define(classes[inner[i]["type"]]).inputs[widget].type for i, widget in promoted]
    assert blueprint["extra"]["BlueprintDescription"] and blueprint["extra"]["BlueprintSearchAliases"]
