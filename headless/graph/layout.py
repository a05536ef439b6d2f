"""The editor's document as one flat layout: nodes with their slots, and links.

A document is a graph, and each of its subgraph definitions is one, in the formats 0.4 (links as arrays) and 1 (links
as objects). Subgraphs are put in place of the nodes that stand for them: a node inside is known as
"<instance>:<inner>", as the editor sends it. Links stay in their own graph; the nodes that stand for subgraphs stay
too, as places where links cross a border.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .numbering import Numbers, renumber
from .widgets import Drawing, Drawings, LinkId, Slot
from .wording import WorkflowError, is_list, is_object, list_choices, show, where

MAX_DEPTH = 100  # subgraphs inside each other
MAX_NODES = 10_000  # in all; the largest templates have some hundred
MAX_SLOTS = 100_000  # in all

MUTED, BYPASSED = 2, 4  # modes; with every other number a node runs
INSIDE = "-10"  # in a subgraph, the source of the links that come from its inputs

_RENAMED = {  # ids that the editor replaces when it opens a file
    "T2IAdapterLoader": "ControlNetLoader",
    "ConditioningAverage ": "ConditioningAverage",
    "SDV_img2vid_Conditioning": "SVD_img2vid_Conditioning",
}


@dataclass(frozen=True)
class Node:
    """`outputs` are types; `values` (by position, or by name) are the document's own, not a copy.

    `drawing` is None for a class without a definition, and for a node that stands for a subgraph. `owner` is the id of
    the subgraph node that it lies in, "" at the top. `written` is the id in the file, of that graph alone.
    """

    id: str
    type: str
    title: str
    mode: int
    inputs: list[Slot]
    outputs: list[str]
    values: list[Any] | dict[str, Any]
    properties: Mapping[str, Any]
    drawing: Drawing | None = None
    owner: str = ""
    written: str = ""
    named: Mapping[str, Any] = field(
        default_factory=dict[str, Any]
    )  # the file's values by name, as newest files have them


@dataclass(frozen=True)
class Link:
    source: str
    slot: int
    target: str


@dataclass(frozen=True)
class Port:
    """An input or an output of a subgraph, and the links that it has inside."""

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


@dataclass
class Layout:
    """A whole document. `nodes` by full id, `graphs` by the id of their owner, "" for the document itself.

    The nodes of a subgraph come before the node that stands for it. `for_old_editor` says by which rules it is read:
    those of 1.27 where its classes come from a server of that time, else those of the newest.
    """

    for_old_editor: bool
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    graphs: dict[str, Graph] = field(default_factory=dict[str, Graph])

    def is_subgraph(self, node: Node) -> bool:
        return node.id in self.graphs

    def is_off(self, node: Node) -> bool:
        """Whether a node is muted or bypassed, or lies in a subgraph of the document itself that is."""
        if node.mode in (MUTED, BYPASSED):
            return True
        while node.owner:
            node = self.nodes[node.owner]
        return not self.for_old_editor and node.mode in (MUTED, BYPASSED)


def lay_out(document: Mapping[str, Any], drawings: Drawings, names: Mapping[str, str]) -> Layout:
    """The layout of a document; `names` has display names of node classes, the titles of untitled nodes.

    Raises WorkflowError, with every message, for what is malformed, endless, or cannot be put in place.
    """
    if document.get("version", 0.4) not in (0.4, 1):
        raise WorkflowError(f"expected a workflow of version 0.4 or 1, found {show(document['version'])}")
    return _Expansion(document, drawings, names).layout


def join(owner: str, node_id: str) -> str:
    """The full id of a node."""
    return f"{owner}:{node_id}" if owner else node_id


def place(node: Node, name: str | None = None) -> str:
    """A node, or an input of it, as messages name it."""
    return where(node.id, {"class_type": node.type, "_meta": {"title": node.title}}, name)


def subgraphs_of(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The subgraph definitions of a document by their id, which is the type of the nodes that stand for them."""
    definitions: Any = document.get("definitions")
    entries = _list_in(definitions, "subgraphs") if is_object(definitions) else []
    return {str(entry["id"]): entry for entry in entries if is_object(entry) and "id" in entry}


class _Expansion:
    """Puts the graphs of a document together; every graph is parsed once, however often it is used."""

    def __init__(self, document: Mapping[str, Any], drawings: Drawings, names: Mapping[str, str]) -> None:
        self.drawings = drawings
        self.names = names
        self.written = subgraphs_of(document)
        self.parsed: dict[str, Graph] = {}
        self.layout = Layout(drawings.are_for_old_editor(_types([document, *self.written.values()])))
        self.numbers = {} if self.layout.for_old_editor else renumber(document, self.written)
        self.slots = 0
        self._put("", self._complete(_parse(document, names)), ())

    def _put(self, owner: str, graph: Graph, chain: tuple[str, ...]) -> None:
        """Add a graph and the subgraphs in it; `chain` has the types of those that it lies in."""
        self.layout.graphs[owner] = graph
        for inner in graph.nodes.values():
            node = replace(inner, id=join(owner, inner.id), owner=owner) if owner else inner
            self.slots += len(node.inputs) + len(node.outputs)
            if len(self.layout.nodes) >= MAX_NODES or self.slots > MAX_SLOTS:
                raise WorkflowError(
                    f"expected at most {MAX_NODES:,} nodes with {MAX_SLOTS:,} slots in all, those of subgraphs "
                    "wherever they are used, found more"
                )
            if node.type in self.written:
                if node.type in chain or len(chain) == MAX_DEPTH:
                    found = "itself" if node.type in chain else f"more than {MAX_DEPTH} inside each other"
                    raise WorkflowError(f"{place(node)}: expected a subgraph of single nodes, found {found}")
                self._put(node.id, self._subgraph(node.type), (*chain, node.type))
            if node.id in self.layout.nodes:
                raise WorkflowError(f"expected an id of its own for every node, found {show(node.id)} twice")
            self.layout.nodes[node.id] = node

    def _subgraph(self, kind: str) -> Graph:
        if kind not in self.parsed:
            try:
                graph = _renumbered(_parse(self.written[kind], self.names), self.numbers.get(kind, {}))
                self.parsed[kind] = self._complete(graph)
            except WorkflowError as error:
                name = show(self.written[kind].get("name"))
                raise WorkflowError(*(f"subgraph {name}: {message}" for message in error.messages)) from None
        return self.parsed[kind]

    def _complete(self, graph: Graph) -> Graph:
        """The graph whose nodes have the slots of the editor: those of their class before those of the file."""
        errors = [
            f"{place(node)}: expected a node or a subgraph, found a group node of an old editor; "
            "convert it to nodes or to a subgraph in the editor, or export the workflow for the API"
            for node in graph.nodes.values()
            if node.type.startswith(("workflow>", "workflow/")) and not self.drawings.has(node.type)
        ]
        nodes = [self._complete_node(node) for node in graph.nodes.values()]
        for written, node in zip(graph.nodes.values(), nodes, strict=True):
            errors += _check_understood(node, written.inputs)
        if errors:
            raise WorkflowError(*errors)
        return replace(graph, nodes={node.id: node for node in nodes})

    def _complete_node(self, node: Node) -> Node:
        if node.type in self.written:
            ports = self.written[node.type]
            inputs, outputs = _port_slots(ports, node), [_type(port) for port in _list_in(ports, "outputs")]
            return replace(node, inputs=inputs, outputs=outputs + node.outputs[len(outputs) :])
        used = [slot.name for slot in node.inputs]
        drawing = self.drawings.of(node.type, node.values, used)
        if drawing is None:
            return node
        if drawing.unknown_choice is not None and is_list(node.values) and node.named:
            node = replace(node, values=node.named)
            drawing = self.drawings.of(node.type, node.named, used) or drawing
        outputs = drawing.outputs + node.outputs[len(drawing.outputs) :]
        return replace(node, inputs=drawing.slots(node.inputs), outputs=outputs, drawing=drawing)


def _renumbered(graph: Graph, numbers: Numbers) -> Graph:
    """The graph with new ids in place of some."""
    if not numbers:
        return graph
    nodes = [replace(node, id=numbers.get(node.id, node.id)) for node in graph.nodes.values()]
    links = {
        link_id: replace(
            link, source=numbers.get(link.source, link.source), target=numbers.get(link.target, link.target)
        )
        for link_id, link in graph.links.items()
    }
    return replace(graph, nodes={node.id: node for node in nodes}, links=links)


def _types(graphs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The types of all nodes."""
    for graph in graphs:
        nodes: Any = graph.get("nodes")
        for node in nodes if is_list(nodes) else []:
            if is_object(node) and isinstance(node.get("type"), str):
                yield node["type"]


def _check_understood(node: Node, written: Sequence[Slot]) -> Iterator[str]:
    """A message for each input of a node that runs whose values in the file nobody here can tell from the others'."""
    if node.drawing is None or node.mode in (MUTED, BYPASSED):
        return
    advice = "export the workflow for the API in its editor"
    drawn = {(slot.name, slot.type) for slot in written if slot.widget}
    for entry in node.drawing.inputs:
        if not entry.is_understood or (entry.may_be_drawn and (entry.name, entry.type) in drawn):
            expected = "a type of input whose values are known here"
            yield f"{place(node, entry.name)}: expected {expected}, found {show(entry.type)}; {advice}"
    if (combo := node.drawing.unknown_choice) is not None and is_list(node.values):
        expected = f"one of {list_choices(combo.choices or ())}, with what it brings"
        found = show(node.drawing.read(node.values)[combo.name])
        yield f"{place(node, combo.name)}: expected {expected}, found {found}; {advice}"


def _port_slots(ports: Mapping[str, Any], node: Node) -> list[Slot]:
    """The inputs of a node that stands for a subgraph: the subgraph's in their order, then what only the file has."""
    links = {slot.name: slot.link for slot in node.inputs}
    names = [str(port.get("name")) if is_object(port) else "" for port in _list_in(ports, "inputs")]
    kinds = [_type(port) for port in _list_in(ports, "inputs")]
    slots = [Slot(name, kind, links.get(name)) for name, kind in zip(names, kinds, strict=True)]
    return slots + [slot for slot in node.inputs if slot.name not in names]


def _type(port: Any) -> str:
    return str(port.get("type")) if is_object(port) else ""


def _parse(document: Mapping[str, Any], names: Mapping[str, str]) -> Graph:
    """One graph, without what lies in its subgraphs. Raises WorkflowError, with every message, if it is malformed."""
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
    if errors:
        raise WorkflowError(*errors)
    return Graph(nodes, links, _ports(document, "inputs"), _ports(document, "outputs"))


def _list_in(document: Mapping[str, Any], key: str) -> list[Any]:
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
    named: Any = entry.get("widgets_values_named")
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
        written=str(node_id),
        type=kind,
        title=title,
        mode=mode if isinstance(mode, int) else 0,
        inputs=slots,
        outputs=types,
        values=values,
        properties=properties if is_object(properties) else {},
        named=named if is_object(named) else {},
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
    """The inputs or outputs of a subgraph, where a malformed one holds its place: links go by position."""
    ports: list[Port] = []
    for entry in _list_in(document, key):
        fields: Mapping[str, Any] = entry if is_object(entry) else {}
        links: Any = fields.get("linkIds")
        ids = [link for link in links if isinstance(link, int | str)] if is_list(links) else []
        ports.append(Port(str(fields.get("name")), str(fields.get("type")), ids))
    return ports
