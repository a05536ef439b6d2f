"""The editor's workflow form as a prompt.

The rules are the editor's own, so that a file gives here what it gives when queued there. Widget positions come from
the definitions; a class without one is left to validation, which names it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from .definition import Definitions
from .layout import Layout, Node, lay_out
from .links import VIRTUAL, Links, Shown
from .texts import expand_choices, replace_patterns
from .widget_values import WidgetValues
from .widgets import Drawings
from .wording import WorkflowError, is_list, is_object

_EXACT = 2**53  # larger whole numbers lose digits in the editor
_EXPONENT = 1e21  # from here on JavaScript writes numbers with an exponent
_PREFIX = "filename_prefix"
_OLD_SAVE_NODES = frozenset(  # classes whose `filename_prefix` may have patterns; others get theirs as it is written
    [
        "SaveImage",
        "SaveAnimatedWEBP",
        "SaveWEBM",
        "SaveAudio",
        "SaveGLB",
        "SaveAnimatedPNG",
        "CLIPSave",
        "VAESave",
        "ModelSave",
        "LoraSave",
        "SaveLatent",
    ]
)
_SAVE_NODES = _OLD_SAVE_NODES | {
    *("SaveImageAdvanced", "SaveSVGNode", "SaveVideo", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced"),
    *("Save3DAdvanced", "SaveGaussianSplat", "SavePointCloud"),
}
_ALIAS = "Node name for S&R"
_SAMPLERS = frozenset({"KSampler", "KSamplerAdvanced"})


def convert(
    document: Mapping[str, Any], definitions: Definitions, names: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The prompt of a document.

    Raises WorkflowError, with every message, for a document that contradicts itself or holds what
    cannot be run here.
    """
    layout = lay_out(document, Drawings(definitions), names)
    values = WidgetValues(layout)
    links = Links(values)
    replace = _Replacements(values)
    prompt: dict[str, dict[str, Any]] = {}
    errors: list[str] = []
    for node in layout.nodes.values():
        if not _runs(node, layout):
            continue
        inputs = _widget_inputs(node, values, replace)
        for slot in node.inputs:
            try:
                origin = links.origin(node, slot)
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


def _runs(node: Node, layout: Layout) -> bool:
    return not layout.is_subgraph(node) and node.type not in VIRTUAL and not layout.is_off(node)


def _widget_inputs(node: Node, values: WidgetValues, replace: Callable[[str], str]) -> dict[str, Any]:
    """The inputs that the widgets of a node send, by name."""
    held, old = values.of(node), values.layout.for_old_editor
    if node.drawing is None:
        return {name: _constant(value) for name, value in held.items()}
    inputs: dict[str, Any] = {}
    for widget in node.drawing.widgets:
        value = held[widget.name] if widget.send is None else widget.send(held)
        if not widget.in_prompt or (value is None and widget.value is None):
            continue
        if isinstance(value, str):
            if widget.entry is not None and widget.entry.options.get("dynamicPrompts"):
                value = expand_choices(value)
            elif widget.name == _PREFIX and node.type in (_OLD_SAVE_NODES if old else _SAVE_NODES):
                value = replace(value)
            elif widget.name == "sampler_name" and node.type in _SAMPLERS and not node.owner:
                value = value.removeprefix("sample_")  # as very old files name them
        inputs[widget.name] = _constant(value)
    return inputs | {name: _constant(value) for name, value in values.given(node).items()}


class _Replacements:
    """Patterns in the names of files: a node is found by its alias, else by its title, the first where several are."""

    def __init__(self, values: WidgetValues) -> None:
        self._values = values
        self._now = datetime.now()

    def __call__(self, text: str) -> str:
        return replace_patterns(text, self._find, self._now)

    def _find(self, wanted: str, widget: str) -> tuple[Any] | None:
        node = self._nodes.get(wanted)
        if node is None or widget not in self._values.of(node):
            return None
        outer, shown = node, widget
        if self._values.layout.for_old_editor:  # whose inner widgets show what is shown for them
            outer, shown = self._values.outermost(node, widget)
        return (self._values.of(outer)[shown],)

    @cached_property
    def _nodes(self) -> dict[str, Node]:
        nodes = list(reversed(self._values.layout.nodes.values()))
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
