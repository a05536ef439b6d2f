"""The origin of each link in a laid out workflow: a node that runs, or a value that the node of a subgraph shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .layout import BYPASSED, INSIDE, MUTED, Link, Node, Slot, join, place
from .widget_values import PRIMITIVE, WidgetValues
from .widgets import LinkId
from .wording import WorkflowError, show

VIRTUAL = frozenset({"Note", "MarkdownNote", "Reroute", PRIMITIVE})  # nodes that only the editor has
_ANY = frozenset({"*", "", "0"})  # types that fit every other


@dataclass(frozen=True)
class Output:
    """An output of a node that runs."""

    node: str
    slot: int


@dataclass(frozen=True)
class Shown:
    """A value that the node of a subgraph shows for an inner widget."""

    value: Any


@dataclass(frozen=True)
class _Broken:
    """The reason why a link leads nowhere."""

    message: str


Origin = Output | Shown | None  # None where nothing arrives
_Step = tuple[str, LinkId, str]  # a link on the way back: owner of its graph, id, type of the input that it ends at


class Links:
    """Follows links back, through reroutes, bypassed nodes and the borders of subgraphs; each link once."""

    def __init__(self, values: WidgetValues) -> None:
        self._values = values
        self._layout = values.layout
        self._known: dict[_Step, Origin | _Broken] = {}
        self._passages: dict[tuple[str, int], _Passage] = {}

    def origin(self, node: Node, slot: Slot) -> Origin:
        """Where the link of an input comes from.

        Raises WorkflowError for a link that the document does not have, or that runs in a circle.
        """
        if slot.link is None:
            return None
        steps: dict[_Step, None] = {}
        found: Origin | _Broken | _Step = (node.owner, slot.link, slot.type)
        while isinstance(found, tuple):
            if found in self._known:
                found = self._known[found]
            elif found in steps:
                found = _Broken(f"expected link {show(slot.link)} to come from a node, found a circle")
            else:
                steps[found] = None
                found = self._back(found)
        self._known.update(dict.fromkeys(steps, found))
        if isinstance(found, _Broken):
            raise WorkflowError(f"{place(node, slot.name)}: {found.message}")
        if found is None and self._layout.for_old_editor:
            return self._shown_around(node, slot)
        return found

    def _back(self, step: _Step) -> Origin | _Broken | _Step:
        """One link further back, or where it ends."""
        owner, link_id, kind = step
        link = self._layout.graphs[owner].links.get(link_id)
        if link is None:
            return _Broken(f"expected link {show(link_id)} to come from a node, found one that is not in the file")
        if owner and link.source == INSIDE:
            return self._out_of_subgraph(self._layout.nodes[owner], link)
        source = self._layout.nodes.get(join(owner, link.source))
        if source is None:
            found = f"nothing with the id {show(link.source)}"
            return _Broken(f"expected link {show(link_id)} to come from a node, found {found}")
        only_passes_on = source.type in VIRTUAL or self._layout.is_subgraph(source)
        if only_passes_on and source.mode == MUTED and not self._layout.for_old_editor:
            return None
        if source.mode == BYPASSED:
            return self._past_bypassed(source, link, owner, kind)
        if self._layout.is_subgraph(source):
            return self._into_subgraph(source, link, kind)
        if source.type in VIRTUAL:  # such a node gives what its input of the same position gets
            return _step(owner, source.inputs[link.slot].link, kind) if link.slot < len(source.inputs) else None
        return Output(source.id, link.slot)

    def _out_of_subgraph(self, shell: Node, link: Link) -> Origin | _Step:
        """A link from an input of a subgraph goes on where its node is linked; else the node shows a value, or none."""
        if link.slot >= len(shell.inputs):
            return None
        outer, values = shell.inputs[link.slot], self._values.of(shell)
        if outer.link is not None:
            return shell.owner, outer.link, outer.type
        return Shown(values[outer.name]) if outer.name in values else None

    def _into_subgraph(self, shell: Node, link: Link, kind: str) -> _Step | None:
        """An output of a subgraph has what the first of its links inside brings.

        Where it has several, the old editor goes by the output's own list, the newest by that of all links.
        """
        graph = self._layout.graphs[shell.id]
        own = [inner for port in graph.outputs[link.slot : link.slot + 1] for inner in port.links]
        if not self._layout.for_old_editor and len(own) > 1:
            own = [inner for inner in graph.links if inner in own]
        inner = next((inner for inner in own if inner in graph.links), None)
        return _step(shell.id, inner, kind)

    def _past_bypassed(self, node: Node, link: Link, owner: str, kind: str) -> _Step | None:
        """A bypassed node passes on one of its inputs, if any fits."""
        key = (node.id, link.slot)
        if key not in self._passages:
            self._passages[key] = _Passage(node, link.slot)
        index = self._passages[key].input_for(kind)
        passed = None if index is None else node.inputs[index]
        return None if passed is None else _step(owner, passed.link, passed.type)

    def _shown_around(self, node: Node, slot: Slot) -> Shown | None:
        """Where nothing arrives, an inner widget holds what the outermost node shows that stands for it."""
        found: Shown | None = None
        owner, link_id = node.owner, slot.link
        while owner:
            link = self._layout.graphs[owner].links.get(link_id)
            shell = self._layout.nodes[owner]
            if link is None or link.source != INSIDE or link.slot >= len(shell.inputs):
                break
            outer = shell.inputs[link.slot]
            if outer.name in (values := self._values.of(shell)):
                found = Shown(values[outer.name])
            owner, link_id = shell.owner, outer.link
        return found


def _step(owner: str, link: LinkId, kind: str) -> _Step | None:
    """The next link, if there is one."""
    return None if link is None else (owner, link, kind)


class _Passage:
    """The inputs that a bypassed node can pass on in place of one output, indexed by type."""

    def __init__(self, node: Node, slot: int) -> None:
        self._slot = slot
        self._count = len(node.inputs)
        kinds = [entry.type for entry in node.inputs]
        self._exact = _first_of((kind, index) for index, kind in enumerate(kinds))
        output = _parts(node.outputs[slot]) if slot < len(node.outputs) else _ANY
        fitting = [(_parts(kind), index) for index, kind in enumerate(kinds) if _fit(_parts(kind), output)]
        self._beside = next((parts for parts, index in fitting if index == slot), None)
        self._first = fitting[0][1] if fitting else None
        self._by_part = _first_of((part, index) for parts, index in fitting for part in parts)

    def input_for(self, kind: str) -> int | None:
        """The index of the input for a link that ends at this type.

        It is the one beside the output where it fits, else the first of exactly this type, else the first that fits.
        """
        if kind in ("*", ""):
            return (self._slot if self._slot < self._count else 0) if self._count else None
        wanted = _parts(kind)
        if self._beside is not None and _fit(self._beside, wanted):
            return self._slot
        if kind in self._exact:
            return self._exact[kind]
        if wanted & _ANY:
            return self._first
        found = [self._by_part[part] for part in wanted | _ANY if part in self._by_part]
        return min(found, default=None)


def _parts(kind: str) -> frozenset[str]:
    """The types in a type such as `INT,FLOAT`, which means either; the editor compares without case."""
    return frozenset(kind.lower().split(","))


def _fit(one: frozenset[str], other: frozenset[str]) -> bool:
    return bool(one & other or one & _ANY or other & _ANY)


def _first_of(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    first: dict[str, int] = {}
    for key, index in pairs:
        first.setdefault(key, index)
    return first
