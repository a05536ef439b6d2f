"""App forms: a workflow that the editor (1.41.13 and later) opens as a page with a few inputs and its picture.

`workflows/NAME.app.json` is the workflow itself, with what the form has in `extra`.
"""

from __future__ import annotations

from typing import Any

from .arrange import name_of

Document = dict[str, Any]
Node = dict[str, Any]
Input = tuple[Node, str]  # a node of the workflow, and the name of a widget

WITHOUT = {"lora_training"}  # makes a file: a picture is only its trial
PROMPT_HEIGHT = 120  # pixels of the form's box for it
MORE = {  # what a workflow is about, besides the prompt, the pictures, the size and the seed
    "economical": [("Pick", "picks")],
    "few_steps": [("Stage C", "steps")],
    "image_to_image": [("Stage C", "denoise")],
    "image_mixing": [("Mix picture", "strength"), ("Mix second picture", "strength")],
    "outpainting": [("OutpaintPad", side) for side in ("left", "top", "right", "bottom")],
}
LABELS = {("Prompt", "text"): "Prompt", ("Picture", "image"): "Picture", ("Second picture", "image"): "Second picture"}
LABELS |= {("Mix picture", "strength"): "Strength of the picture", ("Stage C", "seed"): "Seed"}
LABELS |= {("Mix second picture", "strength"): "Strength of the second picture", ("Stage B", "seed"): "Seed"}
SHOWN = ("Pick", "Picture out")  # what is on the form besides the inputs
KINDS = {
    "text": "STRING",
    "picks": "STRING",
    "image": "COMBO",
    "strength": "FLOAT",
    "denoise": "FLOAT",
}  # of widgets; others are INT
_BUDGET = "Size"  # one number for it: a square of this side has as many pixels


def form(name: str, workflow: Document) -> Document:
    """The app form of a workflow; the workflow stays as it is."""
    chosen = inputs(name, workflow)
    entries = [
        [node["id"], widget, {"height": PROMPT_HEIGHT}] if widget == "text" else [node["id"], widget]
        for node, widget in chosen
    ]
    data = {"inputs": entries, "outputs": [node["id"] for node in workflow["nodes"] if name_of(node) in SHOWN]}
    nodes = [_labelled(node, [widget for other, widget in chosen if other is node]) for node in workflow["nodes"]]
    return {**workflow, "nodes": nodes, "extra": {**workflow["extra"], "linearMode": True, "linearData": data}}


def widget_slot(node: Node, widget: str) -> dict[str, Any]:
    """A widget as an input of its node, as files have one that is linked or has a name of its own."""
    kind = KINDS.get(widget, "INT")
    return {"name": widget, "label": label(node, widget), "type": kind, "widget": {"name": widget}, "link": None}


def _labelled(node: Node, widgets: list[str]) -> Node:
    return {**node, "inputs": [*node.get("inputs", ()), *(widget_slot(node, widget) for widget in widgets)]}


def inputs(name: str, workflow: Document) -> list[Input]:
    """What a person sets: the prompt, the pictures, what the workflow is about, the size and the seed."""
    names = {name_of(node) for node in workflow["nodes"]}
    chosen = [("Prompt", "text"), ("Picture", "image"), ("Second picture", "image"), *MORE.get(name, ())]
    found = [(find(workflow, node), widget) for node, widget in chosen if node in names]
    seed = find(workflow, "Stage C" if "Stage C" in names else "Stage B")
    return [*found, *_size(workflow), (seed, "seed")]


def label(node: Node, widget: str) -> str:
    """An input's name for people."""
    return LABELS.get((name_of(node), widget), _BUDGET if widget == "budget" else widget.capitalize())


def find(workflow: Document, name: str) -> Node:
    """The node of a title, or of a class where it has no title."""
    return {name_of(node): node for node in workflow["nodes"]}[name]


def _size(workflow: Document) -> list[Input]:
    """Width and height; of a picture's workflow the budget of the node that they follow."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    fitting = [node for node in nodes.values() if node["type"] == "CascadeFitPicture"]
    if not fitting:
        return [(find(workflow, "Size"), "width"), (find(workflow, "Size"), "height")]
    followed = [
        nodes[source]
        for _, source, _, target, _, kind in workflow["links"]
        if kind == "INT" and nodes[target].get("title") == "Size"
    ]
    return [((followed or fitting)[0], "budget")]
