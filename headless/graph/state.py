"""What the widgets of a laid out workflow hold, and where its links come from.

Three things give a widget its value beside the file: a primitive node that is linked to it, the node that stands for
the subgraph it lies in (which shows some inner widgets as its own), and the class's default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .bypass import Passage
from .definition import Input
from .layout import BYPASSED, INSIDE, Graph, LinkId, Node, Port, Slot, place
from .primitives import PRIMITIVE, primitive_value, settle
from .shapes import is_list, is_object
from .subgraphs import Layout, join
from .widgets import Drawings
from .wording import WorkflowError, show

VIRTUAL = frozenset({"Note", "MarkdownNote", "Reroute", PRIMITIVE})


@dataclass(frozen=True)
class Output:
    """Where a link comes from: an output of a node that runs."""

    node: str
    slot: int


@dataclass(frozen=True)
class Shown:
    """A value that the node of a subgraph shows for an inner widget."""

    value: Any


@dataclass(frozen=True)
class Broken:
    """Why a link leads nowhere."""

    found: str


Origin = Output | Shown | None
_Step = tuple[str, LinkId, str]  # owner, link, type of the input that it ends at


class State:
    def __init__(self, layout: Layout, drawings: Drawings) -> None:
        self.layout = layout
        self.drawings = drawings
        self._values: dict[str, dict[str, Any]] = {}
        self._origins: dict[_Step, Origin | Broken] = {}
        self._promoted: dict[str, Mapping[str, tuple[Node, str]]] = {}
        self._passages: dict[tuple[str, int], Passage] = {}
        self._targets: dict[str, dict[str, list[tuple[str, LinkId]]]] = {}

    def values(self, node: Node) -> dict[str, Any]:
        """What each widget of a node holds, by name, with what primitives put there."""
        if node.id not in self._values:
            drawing = self.drawings.get(node.type)
            if self.layout.is_subgraph(node):
                values = self._shown(node)
            elif drawing is not None:
                values = drawing.read(node.values)
            else:
                values = dict(node.values) if is_object(node.values) else {}
            self._values[node.id] = values
            values.update(self._primitives(node, values))
        return self._values[node.id]

    def origin(self, node: Node, slot: Slot) -> Origin:
        """Where the link of an input comes from, through reroutes, bypassed nodes and borders of subgraphs.

        Raises WorkflowError for a link that the document does not have, or that runs in a circle.
        """
        if slot.link is None:
            return None
        steps: dict[_Step, None] = {}
        step: _Step | None = (node.owner, slot.link, slot.type)
        found: Origin | Broken = None
        while step is not None:
            if step in self._origins:
                found = self._origins[step]
                break
            if step in steps:
                found = Broken(f"expected link {show(slot.link)} to come from a node, found a circle")
                break
            steps[step] = None
            found, step = self._back(step)
        self._origins.update(dict.fromkeys(steps, found))
        if isinstance(found, Broken):
            raise WorkflowError(f"{place(node, slot)}: {found.found}")
        return found if found is not None else self._fallback(node, slot)

    def promoted(self, shell: Node) -> Mapping[str, tuple[Node, str]]:
        """The inner widgets that the node of a subgraph shows: node and name, by its own inputs, in their order."""
        if shell.id not in self._promoted:
            graph = self.layout.graphs[shell.id]
            found = {port.name: self._first_widget(shell, graph, port) for port in graph.inputs}
            self._promoted[shell.id] = {name: widget for name, widget in found.items() if widget is not None}
        return self._promoted[shell.id]

    def outermost(self, node: Node, name: str) -> tuple[Node, str]:
        """The node that shows the widget of a node inside a subgraph, if one does, and its name there."""
        while node.owner:
            shell = self.layout.nodes[node.owner]
            shown = ((outer, inner.id, widget) for outer, (inner, widget) in self.promoted(shell).items())
            outer = next((outer for outer, *found in shown if found == [node.id, name]), None)
            if outer is None:
                break
            node, name = shell, outer
        return node, name

    def _back(self, step: _Step) -> tuple[Origin | Broken, _Step | None]:
        """One link further back; no step where it ends."""
        owner, link_id, kind = step
        link = self.layout.graphs[owner].links.get(link_id)
        if owner and link is not None and link.source == INSIDE:
            shell = self.layout.nodes[owner]
            if link.slot >= len(shell.inputs):
                return None, None
            outer = shell.inputs[link.slot]
            if outer.link is None:
                values = self.values(shell)
                return (Shown(values[outer.name]) if outer.name in values else None), None
            return None, (shell.owner, outer.link, outer.type)
        source = None if link is None else self.layout.nodes.get(join(owner, link.source))
        if link is None or source is None:
            found = "one that is not in the file" if link is None else f"nothing with the id {show(link.source)}"
            return Broken(f"expected link {show(link_id)} to come from a node, found {found}"), None
        if source.mode == BYPASSED:
            if (source.id, link.slot) not in self._passages:
                self._passages[source.id, link.slot] = Passage(source, link.slot)
            index = self._passages[source.id, link.slot].input_for(kind)
            passed = None if index is None else source.inputs[index]
            return None, (None if passed is None or passed.link is None else (owner, passed.link, passed.type))
        if self.layout.is_subgraph(source):
            inside = self.layout.graphs[source.id]
            ports = inside.outputs[link.slot : link.slot + 1]
            inner = next((inner for port in ports for inner in port.links if inner in inside.links), None)
            return None, (None if inner is None else (source.id, inner, kind))
        if source.type in VIRTUAL:
            passed = source.inputs[link.slot] if link.slot < len(source.inputs) else None
            return None, (None if passed is None or passed.link is None else (owner, passed.link, kind))
        return Output(source.id, link.slot), None

    def _fallback(self, node: Node, slot: Slot) -> Origin:
        """Nothing arrives: an inner widget then holds what the node of its subgraph shows, where it shows it."""
        found: Origin = None
        owner, link_id = node.owner, slot.link
        while owner:
            link = self.layout.graphs[owner].links.get(link_id)
            shell = self.layout.nodes[owner]
            if link is None or link.source != INSIDE or link.slot >= len(shell.inputs):
                break
            outer = shell.inputs[link.slot]
            if outer.name in (values := self.values(shell)):
                found = Shown(values[outer.name])
            owner, link_id = shell.owner, outer.link
        return found

    def _first_widget(self, shell: Node, graph: Graph, port: Port) -> tuple[Node, str] | None:
        for link_id in port.links:
            link = graph.links.get(link_id)
            inner = None if link is None else self.layout.nodes.get(join(shell.id, link.target))
            slot = None if inner is None else next((slot for slot in inner.inputs if slot.link == link_id), None)
            if inner is not None and slot is not None and slot.name in self.values(inner):
                return inner, slot.name
        return None

    def _shown(self, shell: Node) -> dict[str, Any]:
        """The values of the widgets that the node of a subgraph shows; what the file lacks the inner widget has."""
        values = {name: self.values(inner)[widget] for name, (inner, widget) in self.promoted(shell).items()}
        if is_list(shell.values):
            values.update(zip(list(values), shell.values, strict=False))
        return values

    def _primitives(self, node: Node, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of primitive nodes that are linked to widgets of a node."""
        graph = self.layout.graphs[node.owner]
        copied: dict[str, Any] = {}
        for slot in node.inputs:
            link = graph.links.get(slot.link) if slot.name in values and slot.link is not None else None
            source = None if link is None else self.layout.nodes.get(join(node.owner, link.source))
            if source is not None and source.type == PRIMITIVE and is_list(source.values) and source.values:
                entry = self._entry(node, slot.name)
                value = self._held(source, source.values[0])
                copied[slot.name] = value if entry is None else settle(entry, value)
        return copied

    def _held(self, primitive: Node, written: Any) -> Any:
        """What a primitive node holds, which depends on all widgets that it is linked to."""
        if primitive.id not in self._values:
            if primitive.owner not in self._targets:
                targets: dict[str, list[tuple[str, LinkId]]] = {}
                for link_id, link in self.layout.graphs[primitive.owner].links.items():
                    targets.setdefault(join(primitive.owner, link.source), []).append((link.target, link_id))
                self._targets[primitive.owner] = targets
            entries: list[Input] = []
            for target, link_id in self._targets[primitive.owner].get(primitive.id, []):
                node = self.layout.nodes.get(join(primitive.owner, target))
                name = next((slot.name for slot in node.inputs if slot.link == link_id), None) if node else None
                if node and name and (entry := self._entry(node, name)) is not None:
                    entries.append(entry)
            self._values[primitive.id] = {"value": primitive_value(written, entries) if entries else written}
        return self._values[primitive.id]["value"]

    def _entry(self, node: Node, name: str) -> Input | None:
        """The declared input behind a widget, also where the node of a subgraph shows it."""
        while self.layout.is_subgraph(node):
            if name not in (shown := self.promoted(node)):
                return None
            node, name = shown[name]
        drawing = self.drawings.get(node.type)
        return None if drawing is None else drawing.definition.inputs.get(name)
