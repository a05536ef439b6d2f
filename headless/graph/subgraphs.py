"""A whole document as one flat layout: subgraphs are put in place of the nodes that stand for them.

A node inside is known as "<instance>:<inner>", as the editor sends it. Links stay in their own graph; the nodes that
stand for subgraphs stay too, as places where links cross a border.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .layout import Graph, Node, Slot, check_version, list_in, parse, place
from .shapes import is_object
from .widgets import Drawings
from .wording import WorkflowError, show

MAX_DEPTH = 100  # subgraphs inside each other
MAX_NODES = 10_000  # in all, as are these slots; the largest templates have some hundred nodes
MAX_SLOTS = 100_000


@dataclass
class Layout:
    """`nodes` by full id, those of a subgraph before the node that stands for it; `graphs` by the id of their owner.

    The document itself has the owner "".
    """

    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    graphs: dict[str, Graph] = field(default_factory=dict[str, Graph])

    def is_subgraph(self, node: Node) -> bool:
        return node.id in self.graphs


def join(owner: str, node_id: str) -> str:
    """The full id of a node."""
    return f"{owner}:{node_id}" if owner else node_id


def expand(document: Mapping[str, Any], drawings: Drawings, names: Mapping[str, str]) -> Layout:
    """Raises WorkflowError, with every message, for what is malformed, endless, or cannot be put in place."""
    check_version(document)
    return _Expansion(document, drawings, names).layout


class _Expansion:
    def __init__(self, document: Mapping[str, Any], drawings: Drawings, names: Mapping[str, str]) -> None:
        self.drawings = drawings
        self.names = names
        self.written = subgraphs_of(document)
        self.parsed: dict[str, Graph] = {}
        self.layout = Layout()
        self.slots = 0
        self._put("", self._complete(parse(document, names)), ())

    def _put(self, owner: str, graph: Graph, chain: tuple[str, ...]) -> None:
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
                self.parsed[kind] = self._complete(parse(self.written[kind], self.names))
            except WorkflowError as error:
                name = show(self.written[kind].get("name"))
                raise WorkflowError(*(f"subgraph {name}: {message}" for message in error.messages)) from None
        return self.parsed[kind]

    def _complete(self, graph: Graph) -> Graph:
        """Nodes with the slots that they have in the editor: those of their class before those of the file."""
        errors = [
            f"{place(node)}: expected a node or a subgraph, found a group node of an old editor; "
            "convert it to nodes or to a subgraph in the editor, or export the workflow for the API"
            for node in graph.nodes.values()
            if node.type.startswith(("workflow>", "workflow/")) and self.drawings.get(node.type) is None
        ]
        if errors:
            raise WorkflowError(*errors)
        return replace(graph, nodes={node.id: self._complete_node(node) for node in graph.nodes.values()})

    def _complete_node(self, node: Node) -> Node:
        if node.type in self.written:
            ports = self.written[node.type]
            inputs, outputs = _port_slots(ports, node), [_type(port) for port in list_in(ports, "outputs")]
        elif (drawing := self.drawings.get(node.type)) is not None:
            inputs, outputs = drawing.slots(node), drawing.outputs
        else:
            return node
        return replace(node, inputs=inputs, outputs=outputs + node.outputs[len(outputs) :])


def subgraphs_of(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The subgraph definitions of a document by their id, which is the type of the nodes that stand for them."""
    definitions: Any = document.get("definitions")
    entries = list_in(definitions, "subgraphs") if is_object(definitions) else []
    return {str(entry["id"]): entry for entry in entries if is_object(entry) and "id" in entry}


def _port_slots(ports: Mapping[str, Any], node: Node) -> list[Slot]:
    """The inputs of a node that stands for a subgraph: the subgraph's in their order, then what only the file has."""
    written = {slot.name: slot.link for slot in node.inputs}
    names = [str(port.get("name")) if is_object(port) else "" for port in list_in(ports, "inputs")]
    kinds = [_type(port) for port in list_in(ports, "inputs")]
    slots = [Slot(name, kind, written.get(name)) for name, kind in zip(names, kinds, strict=True)]
    return slots + [slot for slot in node.inputs if slot.name not in names]


def _type(port: Any) -> str:
    return str(port.get("type")) if is_object(port) else ""
