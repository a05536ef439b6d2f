"""A server's complaints about a prompt as sentences, in the words that a local run has for them."""

from collections.abc import Iterator, Mapping
from typing import Any

from ...cascade_core.errors import says_out_of_memory
from .. import graph
from .answers import Account, NodeErrors, Problem

_FORESEEN = ("ValueError", "OSError", "FileNotFoundError", "CascadeError")  # errors that are told without their type


def explain(prompt: graph.Prompt, definitions: graph.Definitions, node_errors: NodeErrors) -> list[str]:
    """A sentence for each problem: node, title, input, what was expected and what was found."""
    return list(dict.fromkeys(_node_messages(prompt, definitions, node_errors)))


def explain_failure(prompt: graph.Prompt, account: Account) -> str | None:
    """Why the server did not finish, by its account of the prompt; None where it did."""
    if found := account.messages.get("execution_interrupted"):
        return f"somebody interrupted it at {_place(prompt, found)}"
    if found := account.messages.get("execution_error"):
        kind = str(found.get("exception_type")).rpartition(".")[2]
        text = str(found.get("exception_message")).strip()
        advice = "; choose a smaller size, batch or dtype" if says_out_of_memory(kind, text) else ""
        return f"{_place(prompt, found)} failed: {text if kind in _FORESEEN and text else f'{kind}: {text}'}{advice}"
    return "the server says that it failed, but not why" if account.has_failed else None


def _node_messages(prompt: graph.Prompt, definitions: graph.Definitions, node_errors: NodeErrors) -> Iterator[str]:
    for node_id, problems in node_errors.items():
        node = prompt.get(node_id, {})
        definition = definitions.get(str(node.get("class_type")))
        for problem in problems:
            name = problem.input
            declared = None if definition is None or name is None else definition.inputs.get(name)
            place = graph.where(node_id, node, name)
            if problem.kind == "required_input_missing" and name not in node.get("inputs", {}):
                yield f"{place}: expected {_expectation(declared)}, found nothing"
            elif (expected := _expected(problem.kind, declared)) and (found := _found(prompt, problem.info)):
                yield f"{place}: expected {expected}, found {found}"
            else:
                yield f"{place}: {_own_words(problem)}"


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
        linked = info.get("linked_node")
        source = str(linked[0]) if graph.is_list(linked) and linked else "?"
        return f"{info['received_type']} from {graph.where(source, prompt.get(source, {}))}"
    return graph.show(info["received_value"]) if "received_value" in info else None


def _own_words(problem: Problem) -> str:
    """The server's own message, without the input's name before it."""
    return problem.details.removeprefix(f"{problem.input}").removeprefix(" - ") or problem.message


def _place(prompt: graph.Prompt, found: Mapping[str, Any]) -> str:
    node_id = str(found.get("node_id"))
    return graph.where(node_id, prompt.get(node_id, {"class_type": found.get("node_type", "?")}))
