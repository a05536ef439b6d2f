"""Blueprints: a workflow as one node, which the editor lists among its nodes.

A file of `subgraphs/` has one node, which stands for a subgraph: the workflow's own nodes, without those that read,
show or save pictures. Pictures come and go by its sockets; what the app form has lies on it; models are chosen inside.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from .forms import Document, Node, inputs, widget_slot

SPACE = uuid.UUID("6f0c0f5e-0b5c-5a0e-9d5c-2f1f7a0c5ca5")  # of the ids that follow from names
INPUT, OUTPUT = -10, -20  # ids of a subgraph's borders
CATEGORY = "Stable Cascade"
OUTSIDE = {"CascadePicture", "PreviewImage", "SaveImage", "MarkdownNote"}
WIDTH = 340


@dataclass(frozen=True)
class Blueprint:
    name: str  # of the file, and of the node
    description: str
    aliases: tuple[str, ...]


BLUEPRINTS = {
    "text_to_image": Blueprint(
        "Text to Image (Stable Cascade)",
        "A picture of what a prompt says, by Stable Cascade's three stages.",
        ("stable cascade", "wuerstchen", "txt2img", "text to image", "generate"),
    ),
    "image_to_image": Blueprint(
        "Image to Image (Stable Cascade)",
        "A picture drawn again as a prompt says; denoise says how much of it is made anew.",
        ("stable cascade", "img2img", "image to image", "restyle", "variation"),
    ),
    "inpainting": Blueprint(
        "Inpaint (Stable Cascade)",
        "What a mask covers made anew as a prompt says; every other pixel stays as it is.",
        ("stable cascade", "inpaint", "inpainting", "mask", "fill", "remove"),
    ),
    "super_resolution": Blueprint(
        "Upscale (Stable Cascade)",
        "A small picture made large, with new detail, by the super-resolution ControlNet.",
        ("stable cascade", "upscale", "super-resolution", "enlarge", "enhance"),
    ),
}


def blueprint(name: str, workflow: Document) -> Document:
    """The blueprint of a workflow; the workflow stays as it is."""
    about = BLUEPRINTS[name]
    subgraph = _Inside(name, workflow).subgraph(about)
    node = {
        "id": 1,
        "type": subgraph["id"],
        "title": about.name,
        "pos": [0, 0],
        "size": [WIDTH, 60 + 30 * len(subgraph["inputs"])],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [_outer(port) for port in subgraph["inputs"]],
        "outputs": [{"name": port["name"], "type": port["type"], "links": []} for port in subgraph["outputs"]],
        "properties": {"proxyWidgets": subgraph.pop("promoted")},
        "widgets_values": [],
    }
    extra = {"BlueprintDescription": about.description, "BlueprintSearchAliases": list(about.aliases)}
    return {
        "id": subgraph["id"],
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [subgraph]},
        "config": {},
        "extra": extra,
        "version": 0.4,
    }


def _outer(port: dict[str, Any]) -> dict[str, Any]:
    """An input of the node that stands for a subgraph."""
    slot = {"name": port["name"], "label": port["label"], "type": port["type"], "link": None}
    return slot | ({"widget": {"name": port["name"]}} if port["type"] in {"INT", "FLOAT", "STRING"} else {})


class _Inside:
    """The nodes and links of a subgraph, as copies of a workflow's, and its borders."""

    def __init__(self, name: str, workflow: Document) -> None:
        self.name, self.workflow = name, workflow
        self.nodes: dict[int, Node] = {
            node["id"]: {**node, "inputs": [dict(slot) for slot in node.get("inputs", ())]}
            for node in workflow["nodes"]
            if node["type"] not in OUTSIDE
        }
        self.given = [node for node in workflow["nodes"] if node["type"] == "CascadePicture"]
        self.links: list[dict[str, Any]] = []
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []
        self.promoted: list[list[str]] = []

    def subgraph(self, about: Blueprint) -> dict[str, Any]:
        for number, source, slot, target, target_slot, kind in self.workflow["links"]:
            self._take_link(number, source, slot, target, target_slot, kind)
        for node, widget in inputs(self.name, self.workflow):
            if node["id"] in self.nodes:
                self._promote(self.nodes[node["id"]], widget)
        kept = {link["id"] for link in self.links}
        for node in self.nodes.values():
            node["outputs"] = [
                {**slot, "links": [link for link in slot["links"] or [] if link in kept]} for slot in node["outputs"]
            ]
        lefts, tops = zip(*(node["pos"] for node in self.nodes.values()), strict=True)
        right = max(node["pos"][0] + node["size"][0] for node in self.nodes.values())
        return {
            "id": self._id("subgraph"),
            "version": 1,
            "state": {
                "lastGroupId": 0,
                "lastNodeId": max(self.nodes),
                "lastLinkId": max(kept),
                "lastRerouteId": 0,
            },
            "revision": 0,
            "config": {},
            "name": about.name,
            "category": CATEGORY,
            "description": about.description,
            "inputNode": {"id": INPUT, "bounding": [min(lefts) - 220, min(tops), 140, 40 + 20 * len(self.inputs)]},
            "outputNode": {"id": OUTPUT, "bounding": [right + 80, min(tops), 120, 60]},
            "inputs": self.inputs,
            "outputs": self.outputs,
            "widgets": [],
            "nodes": list(self.nodes.values()),
            "groups": [],
            "links": self.links,
            "extra": {},
            "promoted": self.promoted,
        }

    def _take_link(self, number: int, source: int, slot: int, target: int, target_slot: int, kind: str) -> None:
        if source in self.nodes and target in self.nodes:
            self._link(number, source, slot, target, target_slot, kind)
        elif target in self.nodes:  # from a picture, or its mask
            name = "picture" if kind == "IMAGE" else "mask"
            port = self._port(self.inputs, name, kind, name.capitalize())
            self._link(number, INPUT, self.inputs.index(port), target, target_slot, kind)
            port["linkIds"].append(number)
        elif source in self.nodes and self._is_result(target):
            port = self._port(self.outputs, "picture", kind, "Picture")
            self._link(number, source, slot, OUTPUT, 0, kind)
            port["linkIds"].append(number)

    def _is_result(self, node_id: int) -> bool:
        return any(node["id"] == node_id and node.get("title") == "Picture out" for node in self.workflow["nodes"])

    def _promote(self, node: Node, widget: str) -> None:
        slot = widget_slot(node, widget)
        port = self._port(self.inputs, slot["label"].lower(), slot["type"], slot["label"])
        number = 1 + max(self.workflow["last_link_id"], *(link["id"] for link in self.links))
        node["inputs"].append({**slot, "link": number})
        self._link(number, INPUT, self.inputs.index(port), node["id"], len(node["inputs"]) - 1, slot["type"])
        port["linkIds"].append(number)
        self.promoted.append([str(node["id"]), widget])

    def _link(self, number: int, source: int, slot: int, target: int, target_slot: int, kind: str) -> None:
        ends = {"origin_id": source, "origin_slot": slot, "target_id": target, "target_slot": target_slot}
        self.links.append({"id": number, **ends, "type": kind})

    def _port(self, ports: list[dict[str, Any]], name: str, kind: str, shown: str) -> dict[str, Any]:
        for port in ports:
            if port["name"] == name:
                return port
        border = "in" if ports is self.inputs else "out"
        entry = {"id": self._id(f"{border}/{name}"), "name": name, "label": shown, "type": kind, "linkIds": []}
        ports.append(entry)
        return entry

    def _id(self, part: str) -> str:
        return str(uuid.uuid5(SPACE, f"{self.name}/{part}"))
