"""The values of the widgets in a laid out workflow.

Three things give a widget its value beside the file: a primitive node that is linked to it, the node that stands for
the subgraph it lies in (which shows some inner widgets as its own), and the class's default.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .definition import Input
from .layout import Layout, Node, Port, join
from .widgets import LinkId, Slot
from .wording import is_list, is_object

PRIMITIVE = "PrimitiveNode"
_OWN = object()  # the value of a widget that the file gives no other


class WidgetValues:
    """The values of all widgets, found in three passes over the nodes; each needs only the passes before it.

    1. the widgets that each node has: for the node of a subgraph, the inner widgets that it shows;
    2. the value that each primitive node holds, within the ranges of all widgets that it is linked to;
    3. the value that each widget holds.

    The nodes of a subgraph come before the node that stands for it, so no pass looks ahead.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._names: dict[str, Collection[str]] = {}
        self._shown: dict[str, dict[str, tuple[Node, str]]] = {}  # by the node of a subgraph: its names for widgets
        self._outer: dict[tuple[str, str], tuple[Node, str]] = {}  # the reverse, by inner node and widget
        for node in layout.nodes.values():
            if layout.is_subgraph(node):
                self._shown[node.id] = self._find_shown(node)
                for name, (inner, widget) in self._shown[node.id].items():
                    self._outer.setdefault((inner.id, widget), (node, name))
            self._names[node.id] = self._find_names(node)
        self._given = {} if layout.for_old_editor else self._find_given()
        self._held = self._find_held()
        self._values: dict[str, dict[str, Any]] = {}
        for node in layout.nodes.values():
            self._values[node.id] = self._find_values(node)

    def of(self, node: Node) -> Mapping[str, Any]:
        """The value of each widget of a node, by name."""
        return self._values[node.id]

    def given(self, node: Node) -> Mapping[str, Any]:
        """The values that the node of a subgraph gives to inner widgets which no input of the subgraph is linked to.

        They are sent as they are, also where they are the widget's own.
        """
        held = self.of(node)
        return {name: held[name] if value is _OWN else value for name, value in self._given.get(node.id, {}).items()}

    def outermost(self, node: Node, name: str) -> tuple[Node, str]:
        """The node that shows a widget to people, and its name there: a node around it, or the node itself."""
        while (node.id, name) in self._outer:
            node, name = self._outer[node.id, name]
        return node, name

    # First pass: names.

    def _find_names(self, node: Node) -> Collection[str]:
        """The names of a node's widgets; a class without a definition has those that the file names."""
        if self.layout.is_subgraph(node):
            return self._shown[node.id].keys()
        if node.drawing is not None:
            return node.drawing.defaults.keys()
        return node.values.keys() if is_object(node.values) else ()

    def _find_shown(self, shell: Node) -> dict[str, tuple[Node, str]]:
        """The inner widgets that the node of a subgraph shows: node and name, by its own inputs, in their order."""
        found = {port.name: self._first_widget(shell, port) for port in self.layout.graphs[shell.id].inputs}
        return {name: widget for name, widget in found.items() if widget is not None}

    def _first_widget(self, shell: Node, port: Port) -> tuple[Node, str] | None:
        """The widget that an input of a subgraph shows: the first that it is linked to."""
        for link_id in port.links:
            inner = self._target(shell.id, link_id)
            slot = None if inner is None else _slot_of(inner, link_id)
            if inner is not None and slot is not None and slot.name in self._names[inner.id]:
                return inner, slot.name
        return None

    def _find_given(self) -> dict[str, dict[str, Any]]:
        """Values by `proxyWidgets`, a list of inner widgets ([node id, name]) that goes with the values of a node.

        By the node that gets them: the one inside, or the one that stands for the subgraph where an input shows the
        widget.
        """
        found: dict[str, dict[str, Any]] = {}
        for shell in self.layout.nodes.values():
            proxies: Any = shell.properties.get("proxyWidgets")
            if not self.layout.is_subgraph(shell) or not is_list(proxies) or not is_list(shell.values):
                continue
            graph = self.layout.graphs[shell.id]
            inside = {node.written: self.layout.nodes[join(shell.id, node.id)] for node in graph.nodes.values()}
            shown = {(inner.id, widget): name for name, (inner, widget) in self._shown[shell.id].items()}
            held: list[Any] = shell.values[: len(proxies)] + [_OWN] * (len(proxies) - len(shell.values))
            for proxy, value in zip(proxies, held, strict=True):
                inner = inside.get(str(proxy[0])) if is_list(proxy) and len(proxy) > 1 else None
                name: Any = proxy[1] if inner is not None else None
                if inner is None or name not in self._names[inner.id] or not any(s.name == name for s in inner.inputs):
                    continue  # not there, or a widget that no link can end at
                node_id = inner.id
                if (inner.id, name) in shown:
                    node_id, name = shell.id, shown[inner.id, name]
                if value is _OWN and node_id in self._shown:  # nothing new for the node of a subgraph
                    continue
                found.setdefault(node_id, {})[name] = value
        return found

    # Second pass: primitive nodes.

    def _find_held(self) -> dict[str, Any]:
        """The value of each primitive node that a link comes from, by the node's id."""
        written: dict[str, Any] = {}
        entries: dict[str, list[Input]] = {}
        for owner, graph in self.layout.graphs.items():
            for link_id in graph.links:
                if (primitive := self._primitive(owner, link_id)) is not None:
                    node_id, value = primitive
                    written[node_id] = value
                    entries.setdefault(node_id, []).extend(self._entries_at_end(owner, link_id))
        return {node_id: _clamp(value, entries[node_id]) for node_id, value in written.items()}

    def _primitive(self, owner: str, link_id: LinkId) -> tuple[str, Any] | None:
        """The id of the primitive node that a link comes from and what the file gives it, if it has a value."""
        link = self.layout.graphs[owner].links.get(link_id)
        source = None if link is None else self.layout.nodes.get(join(owner, link.source))
        if source is not None and source.type == PRIMITIVE and is_list(source.values) and source.values:
            return source.id, source.values[0]
        return None

    def _entries_at_end(self, owner: str, link_id: LinkId) -> list[Input]:
        """The declared input that a link ends at, if there is one."""
        target = self._target(owner, link_id)
        slot = None if target is None else _slot_of(target, link_id)
        entry = None if target is None or slot is None else self._entry(target, slot.name)
        return [] if entry is None else [entry]

    def _target(self, owner: str, link_id: LinkId) -> Node | None:
        """The node that a link goes to."""
        link = self.layout.graphs[owner].links.get(link_id)
        return None if link is None else self.layout.nodes.get(join(owner, link.target))

    def _entry(self, node: Node, name: str) -> Input | None:
        """The declared input behind a widget, also where the node of a subgraph shows it."""
        while self.layout.is_subgraph(node):
            if name not in (shown := self._shown[node.id]):
                return None
            node, name = shown[name]
        return None if node.drawing is None else node.drawing.entries.get(name)

    # Third pass: values.

    def _find_values(self, node: Node) -> dict[str, Any]:
        """The values that the file gives a node's widgets, with those of primitive nodes in their place."""
        if node.id in self._held:
            return {"value": self._held[node.id]}
        values = self._written_values(node)
        for slot in node.inputs:
            primitive = self._primitive(node.owner, slot.link) if slot.name in values else None
            if primitive is not None:
                entry, value = self._entry(node, slot.name), self._held[primitive[0]]
                values[slot.name] = value if entry is None else _settle(entry, value)
        return values

    def _written_values(self, node: Node) -> dict[str, Any]:
        """The values that the file gives a node's widgets; what it lacks is the default.

        For the node of a subgraph, that is what the inner widget holds.
        """
        if self.layout.is_subgraph(node):
            values = {name: self._values[inner.id][widget] for name, (inner, widget) in self._shown[node.id].items()}
            if is_list(node.values):
                values.update(zip(list(values), node.values, strict=False))
            return values | self._given.get(node.id, {})
        if node.drawing is not None:
            return node.drawing.read(node.values)
        return dict(node.values) if is_object(node.values) else {}


def _slot_of(node: Node, link_id: LinkId) -> Slot | None:
    """The input that a link ends at: the first that names it, since the position in the link is not to be trusted."""
    return next((slot for slot in node.inputs if slot.link == link_id), None)


def _clamp(written: Any, targets: Sequence[Input]) -> Any:
    """The value of a primitive node: a number within the ranges of its targets, as the first of them rounds it."""
    first = targets[0] if targets else None
    if first is None or not _is_number(written) or first.type not in ("INT", "FLOAT"):
        return written
    for target in targets:
        if target is not first and target.name != first.name:  # the editor merges what could be the same input
            continue
        low, high = target.options.get("min"), target.options.get("max")
        written = written if low is None else max(written, low)
        written = written if high is None else min(written, high)
    return _settle(first, written)


def _settle(entry: Input, value: Any) -> Any:
    """A value as its widget rounds it when it is changed, not when it is loaded: as if a person had typed it."""
    if not _is_number(value) or not math.isfinite(value):
        return value
    if entry.type == "INT":
        step = entry.options.get("step") or 1
        if step == 1:
            return math.floor(value + 0.5)
        offset = math.fmod(entry.options.get("min") or 0, step)
        return math.floor((value - offset) / step + 0.5) * step + offset
    if entry.type == "FLOAT":
        digits = max(0, -math.floor(math.log10(entry.options.get("step") or 0.5)))
        unit = entry.options.get("round") or (10.0**-digits if digits else None)
        if not unit:
            return value
        low, high = entry.options.get("min"), entry.options.get("max")
        rounded = round(math.floor(value / unit + 0.5) * unit, digits)
        return min(max(rounded, 0 if low is None else low), 2048 if high is None else high)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
