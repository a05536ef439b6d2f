"""`cascade nodes`: which nodes there are, and what one takes and gives."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping
from typing import Any

from ..headless import graph, node_classes
from . import arguments
from .output import OK

_WIDTH = 100  # columns of wrapped text
_MOST = 50  # choices of an input
_SHOWN = ("default", "min", "max", "tooltip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="id or title of a node, or words of it")
    arguments.add(parser, "--json")
    parser.set_defaults(command=list_nodes)


def list_nodes(options: argparse.Namespace) -> int:
    """Print every node in short, or one at length, or the same as one JSON object."""
    name: str | None = options.name
    classes, names = node_classes.load()
    wanted = sorted(classes) if name is None else _find(name, classes, names)
    if not wanted:
        raise graph.WorkflowError(f"expected a node ({graph.list_choices(sorted(classes), name)}), found {name!r}")
    nodes = {key: _describe(classes[key], names.get(key, key)) for key in wanted}
    if options.json:
        print(json.dumps(nodes, indent=2))
    elif len(wanted) > 1:
        for key, node in nodes.items():
            print(f"{key}  {node['display_name']}")
            inputs = ", ".join(entry["name"] for entry in node["inputs"])
            outputs = ", ".join(entry["name"] for entry in node["outputs"])
            print(f"    {inputs or 'nothing'} -> {outputs or 'nothing'}")
            print(textwrap.indent(textwrap.fill(node["description"], _WIDTH), "    "))
    else:
        _print_one(wanted[0], nodes[wanted[0]])
    return OK


def _find(name: str, classes: Mapping[str, type[Any]], names: Mapping[str, str]) -> list[str]:
    """The node of this id or title, in any case; else those with all of these words in id, title or search aliases."""
    said = name.casefold()
    for exact in ([name], [key for key in classes if said in (key.casefold(), names.get(key, "").casefold())]):
        if len(exact) == 1 and exact[0] in classes:
            return exact
    texts = {
        key: " ".join((key, names.get(key, ""), *getattr(each, "SEARCH_ALIASES", ()))).casefold()
        for key, each in classes.items()
    }
    return sorted(key for key, text in texts.items() if all(word in text for word in said.split()))


def _describe(node_class: type[Any], display_name: str) -> dict[str, Any]:
    definition = graph.define(node_class)
    labels = getattr(node_class, "RETURN_NAMES", definition.outputs)
    tooltips = getattr(node_class, "OUTPUT_TOOLTIPS", ())
    return {
        "display_name": display_name,
        "category": getattr(node_class, "CATEGORY", ""),
        "description": getattr(node_class, "DESCRIPTION", ""),
        "is_output": definition.is_output,
        "inputs": [_describe_input(node_class, entry) for entry in definition.inputs.values()],
        "outputs": [
            {"name": str(label), "type": str(kind), "tooltip": tooltips[i] if i < len(tooltips) else ""}
            for i, (label, kind) in enumerate(zip(labels, definition.outputs, strict=True))
        ],
    }


def _describe_input(node_class: type[Any], entry: graph.Input) -> dict[str, Any]:
    from ..headless import native
    from ..headless.native import tooltips

    fields: dict[str, Any] = {"name": entry.name, "type": entry.type, "required": entry.required}
    if entry.choices is not None:
        fields["choices"] = list(entry.choices)
        if graph.RUNS_HERE in entry.options:
            fields[graph.RUNS_HERE] = list(entry.choices_here or ())
    if native.CLASSES.get(node_class.__name__) is node_class:
        fields["tooltip"] = tooltips.of(node_class.__name__, entry.name)
    return fields | {key: entry.options[key] for key in _SHOWN if key in entry.options}


def _list_choices(entry: dict[str, Any]) -> str:
    here = entry.get(graph.RUNS_HERE, entry["choices"])
    rest = len(entry["choices"]) - len(here)
    return f"one of {graph.list_choices(here, most=_MOST)}" + (f" ({rest} more run in ComfyUI only)" if rest else "")


def _print_one(name: str, node: dict[str, Any]) -> None:
    print(f"{name}  {node['display_name']}  ({node['category']})")
    print(textwrap.fill(node["description"], _WIDTH))
    print("Inputs:" if node["inputs"] else "No inputs.")
    for entry in node["inputs"]:
        facts = [entry["type"], "" if entry["required"] else "optional"]
        facts += [f"default {graph.show(entry['default'])}"] if "default" in entry else []
        facts += [f"{key} {entry[key]}" for key in ("min", "max") if key in entry]
        facts += [_list_choices(entry)] if "choices" in entry else []
        _print_slot(entry["name"], ", ".join(filter(None, facts)), entry.get("tooltip", ""))
    print("Outputs:" if node["outputs"] else "No outputs.")
    for entry in node["outputs"]:
        _print_slot(entry["name"], entry["type"], entry["tooltip"])


def _print_slot(name: str, facts: str, tooltip: str) -> None:
    print(f"  {name}: {facts}")
    if tooltip:
        print(textwrap.indent(textwrap.fill(tooltip, _WIDTH), "      "))
