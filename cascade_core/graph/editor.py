"""The editor's workflow form as a prompt: positional widget values, links, and nodes that only draw.

The rules are the editor's own, so that a file gives here what it gives when queued there. Widget
positions come from the node classes; a class that is unknown here is left to validation, which names it.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .definition import Definition, Registry, define_all
from .dynamic import expand
from .layout import BYPASSED, MUTED, Layout, Node, follow, parse, place
from .shapes import is_list, is_object
from .wording import WorkflowError

_VIRTUAL = frozenset({"Note", "MarkdownNote", "Reroute", "PrimitiveNode"})
_CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
_SEEDS = frozenset({"seed", "noise_seed"})  # the editor draws a control beside integers of these names


def convert(document: dict[str, Any], registry: Registry, names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The prompt of a document, whose dynamic prompts are settled in place.

    Raises WorkflowError, with every message, for a document that contradicts itself or holds what
    cannot be run here.
    """
    layout = parse(document, names)
    running = [n for n in layout.nodes.values() if n.type not in _VIRTUAL and n.mode not in (MUTED, BYPASSED)]
    definitions = define_all((node.type for node in running), registry)
    prompt: dict[str, dict[str, Any]] = {}
    errors: list[str] = []
    for node in running:
        inputs = _widget_inputs(node, definitions.get(node.type))
        for slot in node.inputs:
            try:
                link = follow(layout, slot.link)
            except WorkflowError as error:
                errors.append(f"{place(node, slot)}: {error}")
                continue
            if link is not None:
                _connect(inputs, slot.name, link.source, link.slot, layout)
        prompt[node.id] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": node.title}}
    if errors:
        raise WorkflowError(*errors)
    return prompt


def set_widget(document: dict[str, Any], node_id: str, definition: Definition, name: str, value: Any) -> None:
    """Write a value into a document as a person would in the editor, unlinking the input where it was linked.

    An input that has no widget there stays as it is: the editor's form has no place for its value.
    """
    if not definition.inputs[name].has_widget:
        return
    node: dict[str, Any] = next(entry for entry in document["nodes"] if str(entry["id"]) == node_id)
    values: Any = node.get("widgets_values") or []
    node["widgets_values"] = values
    if is_object(values):
        values[name] = value
    elif is_list(values):
        slots = _slots(definition, values)
        index = slots.index(name)
        values.extend(definition.inputs[slot].default if slot else "fixed" for slot in slots[len(values) : index + 1])
        values[index] = value
    inputs: list[dict[str, Any]] = node.get("inputs") or []
    for slot in inputs:
        if slot.get("name") == name and slot.get("link") is not None:
            _remove_link(document, slot["link"])
            slot["link"] = None


def _remove_link(document: dict[str, Any], link_id: Any) -> None:
    links: list[Any] = document["links"]
    document["links"] = [link for link in links if link is None or _id(link) != link_id]
    for node in document["nodes"]:
        outputs: list[dict[str, Any]] = node.get("outputs") or []
        for output in outputs:
            ids: list[Any] = output.get("links") or []
            output["links"] = [other for other in ids if other != link_id]


def _id(link: Any) -> Any:
    return link["id"] if is_object(link) else link[0]


def _connect(inputs: dict[str, Any], name: str, source: str, slot: int, layout: Layout) -> None:
    """Put what arrives over a link into `inputs`: the link, a primitive's value, or nothing from a muted node."""
    node = layout.nodes.get(source)  # None for a link from nowhere, which validation names
    if node is not None and node.type == "PrimitiveNode":
        if is_list(node.values) and node.values:
            inputs[name] = _constant(node.values[0])
    elif node is not None and node.mode == MUTED:
        inputs.pop(name, None)
    else:
        inputs[name] = [source, slot]


def _widget_inputs(node: Node, definition: Definition | None) -> dict[str, Any]:
    """Widget values by input name; a value that the file lacks is the widget's default."""
    values: Any = node.values
    if definition is None:
        return {name: _constant(value) for name, value in values.items()} if is_object(values) else {}
    inputs = {name: entry.default for name, entry in definition.inputs.items() if entry.has_widget}
    places: list[tuple[Any, str]]  # where in `values`, and of which input
    if is_object(values):
        places = [(name, name) for name in values]
    else:
        places = list(enumerate(_slots(definition, values)))[: len(values)]
    for key, name in places:
        if name not in definition.inputs:
            continue
        if definition.inputs[name].options.get("dynamicPrompts") and isinstance(values[key], str):
            values[key] = expand(values[key])
        inputs[name] = _constant(values[key])
    return inputs


def _slots(definition: Definition, values: list[Any]) -> list[str]:
    """Input names by position in `widgets_values`; "" for what only the editor uses.

    Old files gave a place also to the widgets that their class forces to be sockets; they are told by
    their length.
    """
    with_forced = _places(definition, values, forced=True)
    return with_forced if len(values) == len(with_forced) else _places(definition, values, forced=False)


def _places(definition: Definition, values: list[Any], forced: bool) -> list[str]:
    slots: list[str] = []
    for name, entry in definition.inputs.items():
        if not (entry.has_widget or (forced and entry.options.get("forceInput") and entry.takes_constant)):
            continue
        slots.append(name)
        if entry.options.get("control_after_generate") or (entry.type == "INT" and name in _SEEDS):
            # What happens to the value after queueing. A file written by hand may lack it.
            control = values[len(slots)] if len(slots) < len(values) else "fixed"
            if isinstance(control, bool) or (isinstance(control, str) and control in _CONTROLS):
                slots += [""] if entry.type == "INT" else ["", ""]  # a combo's control has a filter beside it
    return slots


def _constant(value: Any) -> Any:
    """A list would look like a link."""
    return {"__value__": deepcopy(value)} if is_list(value) else deepcopy(value)
