"""What every command on a workflow does with its options: folders, definitions, conversion, `--set`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import graph, set_values

if TYPE_CHECKING:
    from ..runtime.local import LocalHost

Definitions = Mapping[str, graph.Definition]


def configure(options: argparse.Namespace) -> LocalHost:
    """The host that nodes run on, with the chosen folders and device. Raises WorkflowError."""
    chosen: dict[str, Any] = {name: getattr(options, name, None) for name in ("output", "input", "models", "device")}
    for name in ("input", "models"):
        if chosen[name] is not None and not chosen[name].is_dir():
            raise graph.WorkflowError(f"--{name}: expected a folder, found {str(chosen[name])!r}")
    if chosen["output"] is not None and chosen["output"].exists() and not chosen["output"].is_dir():
        raise graph.WorkflowError(f"--output: expected a folder, found the file {str(chosen['output'])!r}")
    from ..runtime import host

    return host.configure(**chosen)


def prepare(
    document: dict[str, Any],
    assignments: Sequence[str],
    definitions: Definitions,
    names: Mapping[str, str],
    bring: set_values.Bring = set_values.bring_for_this_run,
) -> graph.Workflow:
    """The prompt of a document, with the values of `--set` in it."""
    workflow = graph.convert(document, definitions, names)
    set_values.apply(workflow, assignments, definitions, bring)
    return workflow


def check_form(prompt: graph.Prompt, definitions: Definitions, owner: str, hint: str) -> None:
    """Refuse what no definition can be found for, and links to nowhere; `owner` is who has the definitions."""
    messages: list[str] = []
    for node_id, node in prompt.items():
        if not (
            graph.is_object(node) and isinstance(node.get("class_type"), str) and graph.is_object(node.get("inputs"))
        ):
            messages.append(f"node {node_id}: expected an object with class_type and inputs, found {graph.show(node)}")
        elif node["class_type"] not in definitions:
            wanted = graph.list_choices(definitions, node["class_type"])
            found = graph.show(node["class_type"])
            messages.append(
                f"{graph.where(node_id, node)}: expected a node class of {owner} ({wanted}), found {found}{hint}"
            )
    if messages:
        raise graph.WorkflowError(*messages)
    for node_id, node in prompt.items():
        for name, value in node["inputs"].items():
            if problem := _broken_link(prompt, definitions, value):
                messages.append(f"{graph.where(node_id, node, name)}: {problem}")
    if messages:
        raise graph.WorkflowError(*messages)


def _broken_link(prompt: graph.Prompt, definitions: Definitions, value: Any) -> str | None:
    match value:
        case [str(source), int(slot)] if isinstance(value, list):
            if source not in prompt:
                choices = graph.list_choices(prompt, source)
                return f"expected a link to a node of the workflow ({choices}), found {graph.show(source)}"
            count = len(definitions[prompt[source]["class_type"]].outputs)
            if not 0 <= slot < count:
                return f"expected an output slot below {count}, found {slot} of {graph.where(source, prompt[source])}"
        case list():
            return f"expected a link [node id as a text, output slot], found {graph.show(value)}"
        case _:
            pass
    return None
