"""Definitions from a server: what `GET /object_info` answers, a JSON object of node classes by id.

So a workflow with nodes of other packs can be converted where those packs are not installed.
"""

from collections.abc import Mapping
from typing import Any

from .definition import Definition, Input
from .shapes import is_list, is_object
from .wording import WorkflowError, show

# ComfyUI 0.3.64 gives these no display name; its editor has one of its own for each.
_EDITOR_NAMES = {
    "ImageBlend": "Image Blend",
    "ImageBlur": "Image Blur",
    "ImageQuantize": "Image Quantize",
    "ImageScaleToTotalPixels": "Scale Image to Total Pixels",
    "ImageSharpen": "Image Sharpen",
}


def read_object_info(info: Mapping[str, Any]) -> tuple[Mapping[str, Definition], Mapping[str, str]]:
    """Definitions and display names by node id. Raises WorkflowError, naming the entry, for anything else."""
    definitions: dict[str, Definition] = {}
    names: dict[str, str] = {}
    for name, entry in info.items():
        declared = entry.get("input") if is_object(entry) else None
        outputs = entry.get("output") if is_object(entry) else None
        if not is_object(entry) or not is_object(declared) or not is_list(outputs):
            raise WorkflowError(
                f"object_info: expected inputs and outputs of the node {show(name)}, as a server's /object_info has "
                f"them, found {show(entry)}"
            )
        hidden: Any = declared.get("hidden")
        definitions[name] = Definition(
            node_class=None,
            inputs=_read_inputs(name, entry, declared),
            hidden=hidden if is_object(hidden) else {},
            outputs=tuple(outputs),
            is_output=entry.get("output_node") is True,
            takes_lists=False,
        )
        names[name] = str(entry.get("display_name") or _EDITOR_NAMES.get(name, name))
    return definitions, names


def _read_inputs(name: str, entry: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Input]:
    """Required inputs, then optional ones, each in the order that `input_order` says: JSON objects may lose theirs."""
    order: Any = entry.get("input_order")
    inputs: dict[str, Input] = {}
    for section in ("required", "optional"):
        specs: Any = declared.get(section) or {}
        first: Any = (order.get(section) if is_object(order) else None) or []
        if not is_object(specs) or not is_list(first):
            raise WorkflowError(f"object_info: expected {section} inputs of the node {show(name)}, found {show(specs)}")
        listed = [str(known) for known in first]
        for input_name in [known for known in listed if known in specs] + [new for new in specs if new not in listed]:
            spec: Any = specs[input_name]
            if not is_list(spec) or not spec or not isinstance(spec[0], str | list):
                expected = f"the type of input {show(input_name)} of the node {show(name)}"
                raise WorkflowError(f"object_info: expected {expected}, found {show(spec)}")
            options: Any = spec[1] if len(spec) > 1 else {}
            settings: Mapping[str, Any] = options if is_object(options) else {}
            inputs[input_name] = Input(input_name, spec[0], settings, section == "required")
    return inputs
