"""Gradio's components for the fields of a tab, by the type that the node declares."""

from typing import Any

import gradio as gr

from . import pictures
from .tabs import Field

TICKS = 200  # positions of a slider at most
NARROW = 120  # pixels that a number needs
# Explanations of what is open, where the node's own would say too much.
HELP = dict.fromkeys(("text", "image", "lora_name", "width", "height", "seed"), None) | {
    "budget": "As many pixels as a square of this side: 256 for the built-in models, 1024 for the published ones."
}


def make(field: Field, label: str) -> Any:
    """The component, with the workflow's value in it."""
    entry = field.entry
    shown: dict[str, Any] = {
        "label": label,
        "info": HELP[field.name] if field.is_open and field.name in HELP else entry.options.get("tooltip"),
        "elem_classes": [f"node-{field.node}", f"input-{field.name}"],
        "interactive": True,
        "min_width": NARROW if field.is_open and entry.type in ("INT", "FLOAT") else 200,
    }
    if entry.choices is not None:
        return gr.Dropdown(choices(field), value=field.value, filterable=len(entry.choices) > 12, **shown)
    if entry.type == "BOOLEAN":
        return gr.Checkbox(value=bool(field.value), **shown)
    if field.is_long:
        shown["elem_classes"].append("whole")
        return gr.Textbox(value=str(field.value), max_lines=1, **shown)
    if entry.type in ("INT", "FLOAT"):
        return _number(field, shown)
    multiline = bool(entry.options.get("multiline"))
    lines = {"lines": 3, "max_lines": 12} if multiline else {"lines": 1, "max_lines": 1}
    return gr.Textbox(value=str(field.value), **lines, **shown)


def value(field: Field, found: Any) -> Any:
    """A value as its component takes it."""
    return str(found) if field.is_long or field.entry.type == "STRING" else found


def choices(field: Field) -> list[tuple[str, Any]]:
    """The choices of a list now, as (label, value); a file that the workflow names and is not here says so."""
    offered = list(field.entry.choices or ())
    if field.takes_picture:
        offered += [name for name in pictures.names() if name not in offered]
    found = [(str(choice), choice) for choice in offered]
    return found if field.value in offered else [*found, (f"{field.value} (not here)", field.value)]


def _number(field: Field, shown: dict[str, Any]) -> Any:
    options = field.entry.options
    low, high = options.get("min"), options.get("max")
    step = options.get("step") or (1 if field.entry.type == "INT" else 0.01)
    if low is not None and high is not None and (high - low) / step <= TICKS:
        fine = min(step, options.get("round") or step)  # what the node rounds to can be typed
        return gr.Slider(low, high, value=field.value, step=fine, **shown)
    precision = 0 if field.entry.type == "INT" else None
    return gr.Number(value=field.value, minimum=low, maximum=high, step=step, precision=precision, **shown)
