"""One graph of the editor's document, parsed: nodes with their slots, and links.

A document is such a graph, and each of its subgraph definitions is one. Formats 0.4 (links as arrays) and 1
(links as objects). It knows no node classes; subgraphs.py puts the graphs together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .shapes import is_list, is_object
from .wording import WorkflowError, show, where

MUTED, BYPASSED = 2, 4  # modes; with every other number a node runs

LinkId = int | str | None
INSIDE, OUTSIDE = "-10", "-20"  # in a subgraph: where its inputs come from, and where its outputs go

# Ids that the editor replaces when it opens a file.
_RENAMED = {
    "T2IAdapterLoader": "ControlNetLoader",
    "ConditioningAverage ": "ConditioningAverage",
    "SDV_img2vid_Conditioning": "SVD_img2vid_Conditioning",
}


@dataclass(frozen=True)
class Slot:
    """An input as it is drawn: `widget` if it belongs to one; `link` is None where nothing arrives."""

    name: str
    type: str
    link: LinkId
    widget: bool = False


@dataclass(frozen=True)
class Node:
    """`outputs` are types; `values` (by position, or by name) are the document's own, not a copy.

    `owner` is the id of the subgraph node that it lies in, "" at the top.
    """

    id: str
    type: str
    title: str
    mode: int
    inputs: list[Slot]
    outputs: list[str]
    values: list[Any] | dict[str, Any]
    properties: Mapping[str, Any]
    owner: str = ""


@dataclass(frozen=True)
class Link:
    source: str
    slot: int
    target: str


@dataclass(frozen=True)
class Port:
    """An input or an output of a subgraph, and the links inside that it has."""

    name: str
    type: str
    links: Sequence[LinkId]


@dataclass(frozen=True)
class Graph:
    """`inputs` and `outputs` are those of a subgraph; the document itself has none."""

    nodes: Mapping[str, Node]
    links: Mapping[LinkId, Link]
    inputs: list[Port]
    outputs: list[Port]


def check_version(document: Mapping[str, Any]) -> None:
    """Raises WorkflowError for a format that is not known."""
    if document.get("version", 0.4) not in (0.4, 1):
        raise WorkflowError(f"expected a workflow of version 0.4 or 1, found {show(document['version'])}")


def parse(document: Mapping[str, Any], names: Mapping[str, str]) -> Graph:
    """One graph, without what lies in its subgraphs. Raises WorkflowError, with every message, where it is malformed.

    `names` has display names of node classes, the titles of untitled nodes.
    """
    errors: list[str] = []
    nodes: dict[str, Node] = {}
    links: dict[LinkId, Link] = {}
    for entry in list_in(document, "nodes"):
        node = _node(entry, names)
        if node is None:
            errors.append(f"expected every node to have an id, a type and lists of slots, found {show(entry)}")
        elif node.id in nodes:
            errors.append(f"expected an id of its own for every node, found {show(node.id)} twice")
        else:
            nodes[node.id] = node
    for entry in list_in(document, "links"):
        if entry is None:  # the editor leaves these where a link was removed
            continue
        link_id, link = _link(entry)
        if link is None:
            errors.append(f"expected every link as [id, source, slot, target, slot, type], found {show(entry)}")
        else:
            links[link_id] = link
    if errors:
        raise WorkflowError(*errors)
    return Graph(nodes, links, _ports(document, "inputs"), _ports(document, "outputs"))


def place(node: Node, slot: Slot | None = None) -> str:
    """How messages name a node and its input."""
    return where(node.id, {"class_type": node.type, "_meta": {"title": node.title}}, slot and slot.name)


def list_in(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not is_list(value):
        raise WorkflowError(f"expected {show(key)} to be a list, found {show(value)}")
    return value


def _node(entry: Any, names: Mapping[str, str]) -> Node | None:
    node_id: Any = entry.get("id") if is_object(entry) else None
    written: Any = entry.get("type") if is_object(entry) else None
    if not is_object(entry) or not isinstance(node_id, int | str) or not isinstance(written, str):
        return None
    inputs: Any = entry.get("inputs") or []
    outputs: Any = entry.get("outputs") or []
    values: Any = entry.get("widgets_values") or []
    properties: Any = entry.get("properties")
    if not is_list(inputs) or not is_list(outputs) or not (is_list(values) or is_object(values)):
        return None
    slots: list[Slot] = []
    for slot in inputs:
        if not is_object(slot) or not isinstance(slot.get("link"), int | str | None):
            return None
        widget = is_object(slot.get("widget"))
        slots.append(Slot(str(slot.get("name")), str(slot.get("type")), slot.get("link"), widget))
    types = [str(slot.get("type")) if is_object(slot) else "" for slot in outputs]
    kind = _RENAMED.get(written, written)
    title = str(entry.get("title") or names.get(kind, kind))
    mode: Any = entry.get("mode")
    return Node(
        id=str(node_id),
        type=kind,
        title=title,
        mode=mode if isinstance(mode, int) else 0,
        inputs=slots,
        outputs=types,
        values=values,
        properties=properties if is_object(properties) else {},
    )


def _link(entry: Any) -> tuple[LinkId, Link | None]:
    fields: Any = None
    if is_object(entry):
        fields = [entry.get(key) for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")]
    elif is_list(entry):
        fields = entry
    match fields:
        case [int() | str() as link_id, int() | str() as source, int(slot), target, _, _] if slot >= 0:
            return link_id, Link(str(source), slot, str(target))
        case _:
            return None, None


def _ports(document: Mapping[str, Any], key: str) -> list[Port]:
    """The inputs or outputs of a subgraph; an order of the editor's own, so what is malformed keeps its place."""
    ports: list[Port] = []
    for entry in list_in(document, key):
        fields: Mapping[str, Any] = entry if is_object(entry) else {}
        links: Any = fields.get("linkIds")
        ids = [link for link in links if isinstance(link, int | str)] if is_list(links) else []
        ports.append(Port(str(fields.get("name")), str(fields.get("type")), ids))
    return ports
