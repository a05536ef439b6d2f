"""Group nodes of old editors as subgraphs, which newer ones have in their place.

Such an editor kept in `extra.groupNodes` what a group is made of: nodes, links between them by position, and which
outputs are used outside. The node that stands for a group has the type `workflow/NAME`, later `workflow>NAME`. Its
inputs are those that nothing inside is linked to, its values those of all widgets inside, one node after another.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .definition import Input
from .layout import BYPASSED, MUTED
from .widget_values import PRIMITIVE
from .widgets import Drawing, Drawings
from .wording import WorkflowError, is_list, is_object, show, where

_PREFIXES = ("workflow/", "workflow>")
_REROUTE = "Reroute"
_NOTES = ("Note", "MarkdownNote")
_CONTROL_PLACES = {"INT": 1, "COMBO": 2}  # behind the value of a primitive node of this type
_INPUT_NODE, _OUTPUT_NODE = -10, -20  # the ends of a subgraph's links
_Json = dict[str, Any]


def expand(document: _Json, drawings: Drawings) -> _Json:
    """The document with a subgraph in place of each group node; itself where it has none.

    A node inside is known as "<group node>:<its position>", as the old editor sends it. A group that the document does
    not describe stays, to be refused. Raises WorkflowError, with every message, for one that cannot be taken apart.
    """
    extra: Any = document.get("extra")
    groups: Any = extra.get("groupNodes") if is_object(extra) else None
    nodes: Any = document.get("nodes")
    if not is_object(groups) or not is_list(nodes):
        return document
    expanded: list[Any] = []
    subgraphs: list[_Json] = []
    errors: list[str] = []
    for entry in nodes:
        name = _group_of(entry, groups, drawings)
        if name is None:
            expanded.append(entry)
            continue
        try:
            shell, subgraph = _Group(name, groups[name], drawings).in_place_of(entry, document)
        except _Unknown as unknown:
            place = where(str(entry.get("id")), {"class_type": entry["type"]})
            errors.append(f"{place}: expected a group node whose parts are known, found {unknown}")
        else:
            expanded.append(shell)
            subgraphs.append(subgraph)
    if errors:
        raise WorkflowError(*errors)
    if not subgraphs:
        return document
    definitions: Any = document.get("definitions")
    kept: _Json = definitions if is_object(definitions) else {}
    written = kept.get("subgraphs")
    all_of_them = [*(written if is_list(written) else []), *subgraphs]
    rest = {key: value for key, value in extra.items() if key != "groupNodes"}
    return document | {"nodes": expanded, "extra": rest, "definitions": kept | {"subgraphs": all_of_them}}


def _group_of(entry: Any, groups: Mapping[str, Any], drawings: Drawings) -> str | None:
    kind: Any = entry.get("type") if is_object(entry) else None
    if not isinstance(kind, str) or not kind.startswith(_PREFIXES) or drawings.has(kind):
        return None
    name = kind[len(_PREFIXES[0]) :]
    return name if name in groups else None


class _Unknown(Exception):
    """The reason why a group cannot be taken apart, as messages say what was found."""


@dataclass(frozen=True)
class _Part:
    """A node of a group; `drawing` is None for those that only the editor has."""

    entry: _Json
    kind: str
    drawing: Drawing | None
    slots: list[_Json]

    def slot_name(self, position: int) -> str:
        """The name of an input by its position in the file."""
        if position < len(self.slots):
            return str(self.slots[position].get("name"))
        raise _Unknown(f"a link to input {position} of {show(self.kind)} inside, which has {len(self.slots)}")

    def is_socket(self, name: str) -> bool:
        """Whether the file has an input for a widget."""
        return any(slot.get("name") == name and is_object(slot.get("widget")) for slot in self.slots)


class _Group:
    """One group as the document describes it."""

    def __init__(self, name: str, written: Any, drawings: Drawings) -> None:
        nodes: Any = written.get("nodes") if is_object(written) else None
        links: Any = written.get("links") if is_object(written) else None
        if not is_object(written) or not is_list(nodes) or not is_list(links):
            raise _Unknown("a group without nodes and links")
        self.name = name
        config: Any = written.get("config")
        self.config: Mapping[str, Any] = config if is_object(config) else {}
        self.parts = [_read_part(entry, drawings) for entry in nodes]
        self.links = list(self._inner_links(links))
        external: Any = written.get("external")
        self.used_outside = (
            {(use[0], use[1]) for use in external if is_list(use) and len(use) > 1 and all(map(_is_index, use[:2]))}
            if is_list(external)
            else set[tuple[int, int]]()
        )
        self.linked_from = {(source, slot) for source, slot, _, _ in self.links}
        self.linked_to = {(target, input_name) for _, _, target, input_name in self.links}
        self._seen: dict[str, int] = {}

    def _inner_links(self, written: list[Any]) -> Iterator[tuple[int, int, int, str]]:
        """Source, its slot, target and the name of its input; a link from outside has no source."""
        for link in written:
            match link:
                case [int(source), int(slot), int(target), int(position), *_]:
                    if not (0 <= source < len(self.parts) and 0 <= target < len(self.parts) and slot >= 0 <= position):
                        raise _Unknown(f"a link between nodes that the group does not have: {show(link)}")
                    yield source, slot, target, self.parts[target].slot_name(position)
                case [None, *_]:
                    continue
                case _:
                    raise _Unknown(f"a link that cannot be read: {show(link)}")

    def in_place_of(self, entry: _Json, document: _Json) -> tuple[_Json, _Json]:
        """A node that stands for the group, now for a subgraph, and that subgraph."""
        kind = str(uuid5(NAMESPACE_URL, f"{entry['type']}/{entry.get('id')}"))
        is_off = entry.get("mode") in (MUTED, BYPASSED)
        values: Any = entry.get("widgets_values")
        nodes = list(self._nodes(values if is_list(values) else [], is_off))
        links: list[_Json] = []

        def link(source: int | str, slot: int, target: int | str, place: int, type_name: str) -> int:
            ends = {"origin_id": source, "origin_slot": slot, "target_id": target, "target_slot": place}
            links.append({"id": len(links) + 1, **ends, "type": type_name})
            return len(links)

        def end_at(target: int, name: str, source: int | str, slot: int, type_name: str) -> int:
            inputs: list[_Json] = nodes[target]["inputs"]
            place = next((at for at, known in enumerate(inputs) if known.get("name") == name), len(inputs))
            if place == len(inputs):
                inputs.append({"name": name, "type": type_name})
            inputs[place]["link"] = link(source, slot, str(target), place, type_name)
            return inputs[place]["link"]

        for source, slot, target, name in self.links:
            end_at(target, name, str(source), slot, self._output_type(source, slot))
        inputs = [
            _port(name, type_name, end_at(target, inner, _INPUT_NODE, at, type_name))
            for at, (name, type_name, target, inner) in enumerate(self._open_inputs())
        ]
        outputs = [
            _port(f"{name} {at}", name, link(str(source), slot, _OUTPUT_NODE, at, name))
            for at, (source, slot) in enumerate(self._open_outputs())
            for name in (self._output_type(source, slot),)
        ]
        self._check_ends(entry, document, {port["name"] for port in inputs}, len(outputs))
        rest = {"version": 1, "revision": 0, "config": {}, "widgets": [], "groups": [], "extra": {}}
        state = {"lastGroupId": 0, "lastNodeId": 0, "lastLinkId": len(links), "lastRerouteId": 0}
        ends = {
            "inputNode": {"id": _INPUT_NODE, "bounding": [-400, 0, 120, 60]},
            "outputNode": {"id": _OUTPUT_NODE, "bounding": [1200, 0, 120, 60]},
        }
        inside = {"inputs": inputs, "outputs": outputs, "nodes": nodes, "links": links}
        subgraph = {"id": kind, "name": self.name, "state": state, **ends, **inside, **rest}
        return entry | {"type": kind, "widgets_values": []}, subgraph

    def _nodes(self, values: list[Any], is_off: bool) -> Iterator[_Json]:
        """The nodes inside, with the values that the node of the group has for their widgets."""
        waiting = list(values)
        for number, part in enumerate(self.parts):
            own: Any = part.entry.get("widgets_values")
            held: list[Any] = list(own) if is_list(own) else []
            if part.drawing is not None:
                own_values, held = part.drawing.read(held), []
                is_hidden = False
                for name in part.drawing.placed:
                    is_hidden = part.is_socket(name) or (is_hidden and name not in part.drawing.definition.inputs)
                    if is_hidden:
                        held.append(own_values[name])
                    else:
                        held.append(waiting.pop(0) if waiting else part.drawing.defaults[name])
            elif part.kind == PRIMITIVE and (number, 0) in self.linked_from:
                places = 1 + _CONTROL_PLACES.get(self._output_type(number, 0), 0)
                held, waiting = (waiting[:places] or held), waiting[places:]
            inputs = [{**slot, "link": None} for slot in part.slots]
            mode = {"mode": MUTED} if is_off else {}
            yield {**part.entry, "id": str(number), "inputs": inputs, "widgets_values": held, **mode}

    def _open_inputs(self) -> Iterator[tuple[str, str, int, str]]:
        """Name and type of each input of the group's node, and the node and the input inside that it goes to.

        Sockets come first, node by node, then the widgets that were made sockets.
        """
        last: list[tuple[int, str, str]] = []
        self._seen = {}
        for number, part in enumerate(self.parts):
            sockets: list[tuple[str, str]] = []
            for entry in part.drawing.definition.inputs.values() if part.drawing is not None else ():
                if not entry.has_widget:
                    sockets.append((entry.name, entry.type))
                elif part.is_socket(entry.name):
                    last.append((number, entry.name, entry.type))
                else:
                    self._name(number, entry.name)
            if part.drawing is not None and "upload" in part.drawing.defaults:
                self._name(number, "upload")
            if part.kind == PRIMITIVE and (number, 0) in self.linked_from:
                self._name(number, "value")
            if part.kind == _REROUTE and not self._is_inside(number) and part.slots:
                sockets = [(str(part.slots[0].get("name")), self._output_type(number, 0))]
            for inner, type_name in sockets:
                if (number, inner) not in self.linked_to:
                    name = self._name(number, type_name if part.kind == _REROUTE else inner)
                    if (
                        self._setting(number, "input", type_name if part.kind == _REROUTE else inner, "visible")
                        is not False
                    ):
                        yield name, type_name, number, inner
        for number, inner, type_name in last:
            if (number, inner) not in self.linked_to:
                yield self._name(number, inner), type_name, number, inner

    def _open_outputs(self) -> Iterator[tuple[int, int]]:
        """Node and slot of each output of the group's node: what nothing inside uses, or something outside too."""
        for number, part in enumerate(self.parts):
            count = len(part.drawing.outputs) if part.drawing is not None else 1
            if part.drawing is None and (part.kind in _NOTES or self._has_no_part_outside(number, part)):
                count = 0
            for slot in range(count):
                is_inside = (number, slot) in self.linked_from and (number, slot) not in self.used_outside
                visible = self._setting(number, "output", str(slot), "visible")
                if visible if isinstance(visible, bool) else not is_inside:
                    yield number, slot

    def _has_no_part_outside(self, number: int, part: _Part) -> bool:
        return self._is_inside(number) if part.kind == _REROUTE else (number, 0) not in self.linked_from

    def _is_inside(self, number: int) -> bool:
        """Whether a reroute only joins nodes of the group."""
        is_target = any(target == number for _, _, target, _ in self.links)
        return is_target and (number, 0) in self.linked_from and (number, 0) not in self.used_outside

    def _output_type(self, number: int, slot: int) -> str:
        """The type of an output inside; a node that only passes on has that of what it goes to."""
        drawing = self.parts[number].drawing
        if drawing is not None:
            if slot >= len(drawing.outputs):
                raise _Unknown(
                    f"output {slot} of {show(self.parts[number].kind)} inside, which has {len(drawing.outputs)}"
                )
            return drawing.outputs[slot]
        for source, _, target, name in self.links:
            entry = self._entry(target, name) if source == number else None
            if entry is not None:
                return entry.type
        return "*"

    def _entry(self, number: int, name: str) -> Input | None:
        drawing = self.parts[number].drawing
        return None if drawing is None else drawing.definition.inputs.get(name)

    def _name(self, number: int, inner: str) -> str:
        """The next name of an input of the group's node: a person's, or the inner one, told apart where it is taken."""
        part = self.parts[number]
        label = next((slot.get("label") for slot in part.slots if slot.get("name") == inner), None)
        name = key = str(self._setting(number, "input", inner, "name") or label or inner)
        title: Any = part.entry.get("title")
        if (part.kind == PRIMITIVE and title) or name in self._seen:
            prefix = f"{title or part.kind} "
            name = key = f"{prefix}{inner}"
            if name in self._seen:
                name = f"{prefix}{self._seen[name]} {inner}"
        self._seen[key] = self._seen.get(key, 1) + 1
        return name

    def _setting(self, number: int, side: str, name: str, key: str) -> Any:
        """What a person has set for an input or output of a node inside."""
        found: Any = self.config.get(str(number))
        for step in (side, name, key):
            found = found.get(step) if is_object(found) else None
        return found

    def _check_ends(self, entry: _Json, document: _Json, names: set[str], outputs: int) -> None:
        """Raises _Unknown where the document links the group's node otherwise than the group can be linked."""
        slots: Any = entry.get("inputs")
        for slot in slots if is_list(slots) else []:
            if is_object(slot) and slot.get("link") is not None and slot.get("name") not in names:
                raise _Unknown(f"the input {show(slot.get('name'))}, where the group has {show(sorted(names))}")
        links: Any = document.get("links")
        for link in links if is_list(links) else []:
            if (
                is_list(link)
                and len(link) > 2
                and link[1] == entry.get("id")
                and _is_index(link[2])
                and link[2] >= outputs
            ):
                raise _Unknown(f"a link from output {link[2]}, where the group has {outputs}")


def _read_part(entry: Any, drawings: Drawings) -> _Part:
    kind: Any = entry.get("type") if is_object(entry) else None
    if not is_object(entry) or not isinstance(kind, str):
        raise _Unknown(f"a node that cannot be read: {show(entry)}")
    slots: Any = entry.get("inputs")
    inputs = [slot for slot in slots if is_object(slot)] if is_list(slots) else []
    drawing = drawings.of(kind, entry.get("widgets_values"), [str(slot.get("name")) for slot in inputs])
    if drawing is None and kind not in (PRIMITIVE, _REROUTE, *_NOTES):
        raise _Unknown(f"a node of the unknown class {show(kind)} inside")
    return _Part(entry, kind, drawing, inputs)


def _port(name: str, type_name: str, link: int) -> _Json:
    return {"id": str(uuid5(NAMESPACE_URL, f"{name}/{link}")), "name": name, "type": type_name, "linkIds": [link]}


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
