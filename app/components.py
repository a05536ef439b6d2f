"""A control as a part of the page: Gradio's component for the type that the node declares."""

from typing import Any

import gradio as gr

from . import pictures
from .tabs import Control

TICKS = 200  # positions of a slider at most


def make(control: Control, label: str) -> Any:
    """The component, with what the workflow says in it."""
    entry = control.entry
    shown: dict[str, Any] = {
        "label": label,
        "info": entry.options.get("tooltip"),
        "elem_classes": [f"input-{control.name}"],
        "interactive": True,
        "min_width": 200,
    }
    if entry.choices is not None:
        return gr.Dropdown(choices(control), value=control.value, filterable=len(entry.choices) > 12, **shown)
    if entry.type == "BOOLEAN":
        return gr.Checkbox(value=bool(control.value), **shown)
    if control.is_long:
        return gr.Textbox(value=str(control.value), max_lines=1, **shown)
    if entry.type in ("INT", "FLOAT"):
        return _number(control, shown)
    multiline = bool(entry.options.get("multiline"))
    lines = {"lines": 3, "max_lines": 12} if multiline else {"lines": 1, "max_lines": 1}
    return gr.Textbox(value=str(control.value), **lines, **shown)


def value(control: Control, found: Any) -> Any:
    """What a component is given to show a value."""
    return str(found) if control.is_long or control.entry.type == "STRING" else found


def choices(control: Control) -> list[tuple[str, Any]]:
    """What a list offers now; what the workflow names and is not here stays, and says so."""
    offered = list(control.entry.choices or ())
    if control.takes_picture:
        offered += [name for name in pictures.names() if name not in offered]
    found = [(str(choice), choice) for choice in offered]
    return found if control.value in offered else [*found, (f"{control.value} (not here)", control.value)]


def _number(control: Control, shown: dict[str, Any]) -> Any:
    options = control.entry.options
    low, high = options.get("min"), options.get("max")
    step = options.get("step") or (1 if control.entry.type == "INT" else 0.01)
    if low is not None and high is not None and (high - low) / step <= TICKS:
        fine = min(step, options.get("round") or step)  # what the node rounds to can be typed
        return gr.Slider(low, high, value=control.value, step=fine, **shown)
    precision = 0 if control.entry.type == "INT" else None
    return gr.Number(value=control.value, minimum=low, maximum=high, step=step, precision=precision, **shown)
