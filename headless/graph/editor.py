"""The editor's workflow form as a prompt.

The rules are the editor's own, so that a file gives here what it gives when queued there. Widget positions come from
the definitions; a class without one is left to validation, which names it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from .definition import Definition
from .dynamic import expand as expand_choices
from .layout import BYPASSED, MUTED, Node
from .replacements import SAVE_NODES, replace_patterns
from .shapes import is_list, is_object
from .state import VIRTUAL, Shown, State
from .subgraphs import expand
from .widgets import Drawings
from .wording import WorkflowError

_EXACT = 2**53  # larger whole numbers lose digits in the editor
_EXPONENT = 1e21  # from here on JavaScript writes numbers with an exponent
_PREFIX = "filename_prefix"
_ALIAS = "Node name for S&R"
_SAMPLERS = frozenset({"KSampler", "KSamplerAdvanced"})


def convert(
    document: Mapping[str, Any], definitions: Mapping[str, Definition], names: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The prompt of a document.

    Raises WorkflowError, with every message, for a document that contradicts itself or holds what
    cannot be run here.
    """
    drawings = Drawings(definitions)
    layout = expand(document, drawings, names)
    state = State(layout, drawings)
    replace = _Replacements(state)
    prompt: dict[str, dict[str, Any]] = {}
    errors: list[str] = []
    for node in layout.nodes.values():
        if layout.is_subgraph(node) or node.type in VIRTUAL or node.mode in (MUTED, BYPASSED):
            continue
        inputs = _widget_inputs(node, state, replace)
        for slot in node.inputs:
            try:
                origin = state.origin(node, slot)
            except WorkflowError as error:
                errors += error.messages
                continue
            if isinstance(origin, Shown):
                inputs[slot.name] = _constant(origin.value)
            elif origin is not None:
                inputs[slot.name] = [origin.node, origin.slot]
        prompt[node.id] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": node.title}}
    if errors:
        raise WorkflowError(*errors)
    for entry in prompt.values():  # what a muted node would have given is missing, not what the widget holds
        inputs = entry["inputs"]
        entry["inputs"] = {name: value for name, value in inputs.items() if not is_list(value) or value[0] in prompt}
    return prompt


def _widget_inputs(node: Node, state: State, replace: Callable[[str], str]) -> dict[str, Any]:
    """What the widgets of a node send, by input name."""
    drawing = state.drawings.get(node.type)
    values = state.values(node)
    if drawing is None:
        return {name: _constant(value) for name, value in values.items()}
    inputs: dict[str, Any] = {}
    for widget in drawing.widgets:
        value = values[widget.name]
        if not widget.in_prompt or (value is None and widget.value is None):
            continue
        if isinstance(value, str):
            if widget.entry is not None and widget.entry.options.get("dynamicPrompts"):
                value = expand_choices(value)
            elif widget.name == _PREFIX and node.type in SAVE_NODES:
                value = replace(value)
            elif widget.name == "sampler_name" and node.type in _SAMPLERS and not node.owner:
                value = value.removeprefix("sample_")  # as very old files name them
        inputs[widget.name] = _constant(value)
    return inputs


class _Replacements:
    """Patterns in the names of files: a node is found by its alias, else by its title, the first where several are."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._now = datetime.now()
        self._values: dict[tuple[str, str], tuple[Any] | None] = {}

    def __call__(self, text: str) -> str:
        return replace_patterns(text, self._find, self._now)

    def _find(self, wanted: str, widget: str) -> tuple[Any] | None:
        if (wanted, widget) not in self._values:
            node = self._nodes.get(wanted)
            found = None
            if node is not None and widget in self._state.values(node):
                outer, shown = self._state.outermost(node, widget)
                found = (self._state.values(outer)[shown],)
            self._values[wanted, widget] = found
        return self._values[wanted, widget]

    @cached_property
    def _nodes(self) -> dict[str, Node]:
        nodes = list(reversed(self._state.layout.nodes.values()))
        return {node.title: node for node in nodes} | {
            alias: node for node in nodes if isinstance(alias := node.properties.get(_ALIAS), str)
        }


def _constant(value: Any) -> Any:
    """A value as the editor sends it; a list would look like a link."""
    return {"__value__": _plain(value)} if is_list(value) else _plain(value)


def _plain(value: Any) -> Any:
    """A copy with numbers as JavaScript has them: doubles, which are written without a fraction where they can."""
    if is_list(value):
        return [_plain(part) for part in value]
    if is_object(value):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value > _EXACT or value < -_EXACT):
        return int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        double = float(value)
    except OverflowError:
        return None
    return int(Decimal(repr(double))) if abs(double) < _EXPONENT else double
