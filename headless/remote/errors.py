"""A server's complaints about a prompt as sentences, in the words that a local run has for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from ...cascade_core.errors import says_out_of_memory
from .. import graph

Definitions = Mapping[str, graph.Definition]

_FORESEEN = ("ValueError", "OSError", "FileNotFoundError", "CascadeError")  # errors that are told without their type


def explain(
    prompt: graph.Prompt, definitions: Definitions, error: Mapping[str, Any], node_errors: Mapping[str, Any]
) -> list[str]:
    """A sentence for each problem: node, title, input, what was expected and what was found.

    `error` is about the whole prompt, and only told where no node has a problem.
    """
    messages = list(dict.fromkeys(_node_messages(prompt, definitions, node_errors)))
    if not messages:
        details = f" ({error['details']})" if error.get("details") else ""
        messages.append(f"workflow: the server refuses it: {error.get('message', 'it does not say why')}{details}")
    return messages


def explain_failure(prompt: graph.Prompt, account: Mapping[str, Any]) -> str | None:
    """Why the server did not finish, by its account of the prompt; None where it did."""
    status: Any = account.get("status")
    messages = dict(status.get("messages") or []) if graph.is_object(status) else {}
    if found := messages.get("execution_interrupted"):
        return f"somebody interrupted it at {_place(prompt, found)}"
    if found := messages.get("execution_error"):
        kind = str(found.get("exception_type")).rpartition(".")[2]
        text = str(found.get("exception_message")).strip()
        advice = "; choose a smaller size, batch or dtype" if says_out_of_memory(kind, text) else ""
        return f"{_place(prompt, found)} failed: {text if kind in _FORESEEN and text else f'{kind}: {text}'}{advice}"
    if graph.is_object(status) and status.get("status_str") == "error":
        return "the server says that it failed, but not why"
    return None


def _node_messages(prompt: graph.Prompt, definitions: Definitions, node_errors: Mapping[str, Any]) -> Iterator[str]:
    for node_id, entry in node_errors.items():
        node = prompt.get(node_id, {})
        definition = definitions.get(str(node.get("class_type")))
        for problem in entry["errors"]:
            info: Mapping[str, Any] = problem.get("extra_info") or {}
            name: str | None = info.get("input_name")
            declared = None if definition is None or name is None else definition.inputs.get(name)
            place = graph.where(node_id, node, name)
            if problem.get("type") == "required_input_missing" and name not in node.get("inputs", {}):
                yield f"{place}: expected {_expectation(declared)}, found nothing"
            elif (expected := _expected(problem.get("type"), declared)) and (found := _found(prompt, info)):
                yield f"{place}: expected {expected}, found {found}"
            else:
                yield f"{place}: {_own_words(problem, name)}"


def _expected(kind: Any, declared: graph.Input | None) -> str | None:
    if declared is None:
        return None
    if kind in ("value_smaller_than_min", "value_bigger_than_max"):
        low, high = (declared.options.get(limit, "any") for limit in ("min", "max"))
        return f"a number from {low} to {high}"
    return (
        _expectation(declared) if kind in ("return_type_mismatch", "invalid_input_type", "value_not_in_list") else None
    )


def _expectation(declared: graph.Input | None) -> str:
    """The values that an input takes, in words."""
    if declared is None:
        return "a value or a link"
    if declared.choices is not None:
        return f"one of {graph.list_choices(declared.choices)}"
    return f"a value of type {declared.type}" if declared.takes_constant else f"a link to {declared.type}"


def _found(prompt: graph.Prompt, info: Mapping[str, Any]) -> str | None:
    if "received_type" in info:
        source = str((info.get("linked_node") or ["?"])[0])
        return f"{info['received_type']} from {graph.where(source, prompt.get(source, {}))}"
    return graph.show(info["received_value"]) if "received_value" in info else None


def _own_words(problem: Mapping[str, Any], name: str | None) -> str:
    """The server's own message, without the input's name before it."""
    details = str(problem.get("details") or "").removeprefix(f"{name}").removeprefix(" - ")
    return details or str(problem.get("message", "the server refuses it"))


def _place(prompt: graph.Prompt, found: Mapping[str, Any]) -> str:
    node_id = str(found.get("node_id"))
    return graph.where(node_id, prompt.get(node_id, {"class_type": found.get("node_type", "?")}))
