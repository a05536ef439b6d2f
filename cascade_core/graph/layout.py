"""The editor's document, parsed: nodes with their slots, links, and the way from an input back to its source.

Formats 0.4 (links as arrays) and 1 (links as objects). It knows no node classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .shapes import is_list, is_object
from .wording import WorkflowError, show, where

MUTED, BYPASSED = 2, 4  # modes; with every other number a node runs

LinkId = int | str | None


@dataclass(frozen=True)
class Slot:
    """An input as it is drawn. `link` is None where nothing arrives."""

    name: str
    type: str
    link: LinkId


@dataclass(frozen=True)
class Node:
    """`outputs` are types; `values` (by position, or by name) are the document's own, not a copy."""

    id: str
    type: str
    title: str
    mode: int
    inputs: list[Slot]
    outputs: list[str]
    values: list[Any] | dict[str, Any]

    def link_of(self, index: int) -> LinkId:
        return self.inputs[index].link if index < len(self.inputs) else None


@dataclass(frozen=True)
class Link:
    source: str
    slot: int
    type: str


@dataclass(frozen=True)
class Layout:
    nodes: Mapping[str, Node]
    links: Mapping[LinkId, Link]


def parse(document: Mapping[str, Any], names: Mapping[str, str]) -> Layout:
    """Raises WorkflowError, with every message, for what is malformed, and for what is not single nodes.

    `names` has display names of node classes, the titles of untitled nodes.
    """
    if document.get("version", 0.4) not in (0.4, 1):
        raise WorkflowError(f"expected a workflow of version 0.4 or 1, found {show(document['version'])}")
    errors: list[str] = []
    nodes: dict[str, Node] = {}
    links: dict[LinkId, Link] = {}
    for entry in _list_in(document, "nodes"):
        node = _node(entry, names)
        if node is None:
            errors.append(f"expected every node to have an id, a type and lists of slots, found {show(entry)}")
        elif node.id in nodes:
            errors.append(f"expected an id of its own for every node, found {show(node.id)} twice")
        else:
            nodes[node.id] = node
    for entry in _list_in(document, "links"):
        if entry is None:  # the editor leaves these where a link was removed
            continue
        link_id, link = _link(entry)
        if link is None:
            errors.append(f"expected every link as [id, source, slot, target, slot, type], found {show(entry)}")
        else:
            links[link_id] = link
    errors += _groups(document, nodes)
    if errors:
        raise WorkflowError(*errors)
    return Layout(nodes, links)


def place(node: Node, slot: Slot | None = None) -> str:
    """How messages name a node and its input."""
    return where(node.id, {"class_type": node.type, "_meta": {"title": node.title}}, slot and slot.name)


def follow(layout: Layout, link_id: LinkId) -> Link | None:
    """Through reroutes and bypassed nodes to the output that a link comes from; None if it comes from nowhere.

    Raises WorkflowError for a link that the document does not have, or that runs in a circle.
    """
    passed: set[LinkId] = set()
    while link_id is not None:
        link = layout.links.get(link_id)
        if link is None or link_id in passed:
            found = "one that is not in the file" if link is None else "one that runs in a circle"
            raise WorkflowError(f"expected link {link_id} to come from a node, found {found}")
        passed.add(link_id)
        node = layout.nodes.get(link.source)
        if node is not None and node.type == "Reroute":
            link_id = node.link_of(link.slot)
        elif node is not None and node.mode == BYPASSED:
            index = _bypass(node, link)
            link_id = None if index is None else node.link_of(index)
        else:
            return link
    return None


def _bypass(node: Node, link: Link) -> int | None:
    """The input that a bypassed node passes to an output: the one beside it, or the first of the same type."""
    if link.type in ("*", ""):
        return link.slot if link.slot < len(node.inputs) else 0
    output = node.outputs[link.slot] if link.slot < len(node.outputs) else link.type
    fitting = [i for i, slot in enumerate(node.inputs) if _fit(slot.type, output) and _fit(slot.type, link.type)]
    exact = [i for i, slot in enumerate(node.inputs) if slot.type == link.type]
    return link.slot if link.slot in fitting else next(iter(exact + fitting), None)


def _fit(one: str, other: str) -> bool:
    """The editor's comparison: without case, any of several, `*` fits all."""
    ones, others = ({part.strip() for part in kind.lower().split(",")} for kind in (one, other))
    return "*" in (one, other) or bool(ones & others)


def _list_in(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not is_list(value):
        raise WorkflowError(f"expected {show(key)} to be a list, found {show(value)}")
    return value


def _node(entry: Any, names: Mapping[str, str]) -> Node | None:
    if not is_object(entry) or not isinstance(entry.get("id"), int | str) or not isinstance(entry.get("type"), str):
        return None
    inputs: Any = entry.get("inputs") or []
    outputs: Any = entry.get("outputs") or []
    values: Any = entry.get("widgets_values") or []
    if not is_list(inputs) or not is_list(outputs) or not (is_list(values) or is_object(values)):
        return None
    slots: list[Slot] = []
    for slot in inputs:
        if not is_object(slot) or not isinstance(slot.get("link"), int | str | None):
            return None
        slots.append(Slot(str(slot.get("name")), str(slot.get("type")), slot.get("link")))
    types = [str(slot.get("type")) if is_object(slot) else "" for slot in outputs]
    title = str(entry.get("title") or names.get(entry["type"], entry["type"]))
    mode: Any = entry.get("mode")
    return Node(str(entry["id"]), entry["type"], title, mode if isinstance(mode, int) else 0, slots, types, values)


def _link(entry: Any) -> tuple[LinkId, Link | None]:
    fields: Any = None
    if is_object(entry):
        fields = [entry.get(key) for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")]
    elif is_list(entry):
        fields = entry
    match fields:
        case [int() | str() as link_id, int() | str() as source, int(slot), _, _, kind] if slot >= 0:
            return link_id, Link(str(source), slot, str(kind))
        case _:
            return None, None


def _groups(document: Mapping[str, Any], nodes: Mapping[str, Node]) -> list[str]:
    """A message for each node that stands for several: subgraphs, and the group nodes of old files."""
    definitions: Any = document.get("definitions")
    entries: Any = definitions.get("subgraphs") if is_object(definitions) else None
    subgraphs = {str(entry.get("id")) for entry in (entries if is_list(entries) else []) if is_object(entry)}
    return [
        f"{place(node)}: expected a single node, found a {'subgraph' if node.type in subgraphs else 'group node'}; "
        "unpack it in the editor, or export the workflow for the API"
        for node in nodes.values()
        if node.type in subgraphs or node.type.startswith(("workflow>", "workflow/"))
    ]
