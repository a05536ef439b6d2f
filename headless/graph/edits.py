"""Values of the editor's document, changed as a person would change them there."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .definition import Definitions
from .layout import Layout, Node, lay_out, subgraphs_of
from .widget_values import WidgetValues
from .widgets import Drawings
from .wording import is_list, is_object

Change = tuple[str, str, Any]  # node id as the prompt has it, input, value
UNLINKED = object()  # the value of a change that takes a link away and leaves nothing in its place
_Json = dict[str, Any]


def set_widgets(document: _Json, definitions: Definitions, changes: Iterable[Change]) -> None:
    """Write values into a document, one after another.

    A link to the input goes; it alone, where the value is UNLINKED. What a subgraph's node shows is written there.
    Inside a subgraph that several nodes stand for, the one gets a copy of its own. An input that has no widget stays as
    it is: the editor's form has no place for its value.
    """
    values = _values_in(document, definitions)
    for node_id, name, value in changes:
        node = values.layout.nodes[node_id]
        if value is UNLINKED:
            _unlink(*_own_entry(document, values.layout, node), name)
        elif name in values.of(node):
            outer, shown = values.outermost(node, name)
            _write(document, values, outer, shown, value)
            if (
                outer.drawing is not None and outer.drawing.is_dynamic
            ):  # others neither add, nor remove, nor move widgets
                values = _values_in(document, definitions)


def _values_in(document: _Json, definitions: Definitions) -> WidgetValues:
    return WidgetValues(lay_out(document, Drawings(definitions), {}))


def set_widget(document: _Json, definitions: Definitions, node_id: str, name: str, value: Any) -> None:
    """Write one value, as `set_widgets` does."""
    set_widgets(document, definitions, [(node_id, name, value)])


def _write(document: _Json, values: WidgetValues, node: Node, name: str, value: Any) -> None:
    """Write a value into a node's own entry, and unlink the input."""
    graph, entry = _own_entry(document, values.layout, node)
    written: Any = entry.get("widgets_values") or []
    if is_object(written):
        written[name] = value
    elif values.layout.is_subgraph(node):
        shown = values.of(node)
        written = [*written[: len(shown)], *list(shown.values())[len(written) :]]
        written[list(shown).index(name)] = value
    elif node.drawing is not None and is_list(node.values):  # else only the values by name can be told apart
        written = node.drawing.write(written, name, value)
    entry["widgets_values"] = written
    if is_object(named := entry.get("widgets_values_named")) and name in named:
        named[name] = value
    _unlink(graph, entry, name)


def _unlink(graph: _Json, entry: _Json, name: str) -> None:
    slots: list[_Json] = entry.get("inputs") or []
    for slot in slots:
        if slot.get("name") == name and slot.get("link") is not None:
            _remove_link(graph, slot["link"])
            slot["link"] = None


def _own_entry(document: _Json, layout: Layout, node: Node) -> tuple[_Json, _Json]:
    """The graph and the entry of a node in the document; every subgraph on the way is one node's alone."""
    owners: list[Node] = []
    owner = node.owner
    while owner:
        owners.insert(0, layout.nodes[owner])
        owner = owners[0].owner
    graph = document
    for shell in owners:
        graph = _own_subgraph(document, _entry(graph, shell))
    return graph, _entry(graph, node)


def _own_subgraph(document: _Json, entry: _Json) -> _Json:
    """The definition behind a subgraph's node, copied first where other nodes stand for it too."""
    kind: str = entry["type"]
    definition = subgraphs_of(document)[kind]
    if sum(other.get("type") == kind for other in _entries(document)) > 1:
        definition = deepcopy(definition)
        definition["id"] = str(uuid5(NAMESPACE_URL, f"{kind}/{len(document['definitions']['subgraphs'])}"))
        document["definitions"]["subgraphs"].append(definition)
        entry["type"] = definition["id"]
    return definition


def _entries(document: _Json) -> Iterator[_Json]:
    for graph in (document, *subgraphs_of(document).values()):
        yield from graph.get("nodes") or []


def _entry(graph: _Json, node: Node) -> _Json:
    return next(entry for entry in graph["nodes"] if str(entry["id"]) == node.written)


def _remove_link(graph: _Json, link_id: Any) -> None:
    graph["links"] = [link for link in graph["links"] if link is None or _id(link) != link_id]
    sources = [("links", node.get("outputs")) for node in graph["nodes"]] + [("linkIds", graph.get("inputs"))]
    for key, ends in sources:
        for end in ends if is_list(ends) else []:
            if is_object(end) and is_list(ids := end.get(key)):
                end[key] = [other for other in ids if other != link_id]


def _id(link: Any) -> Any:
    return link["id"] if is_object(link) else link[0]
