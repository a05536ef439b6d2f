"""A prompt out of what it travels in: a request to a server, its history, or what the editor makes of a graph."""

from typing import Any

from .wording import WorkflowError, is_list, is_object

_PLACE_IN_HISTORY = 2  # a history has [number, id, prompt, extra data, outputs] for each run


def unwrap(document: Any) -> Any:
    """The workflow in a document, which is itself where nothing is around it.

    Known are `{"prompt": {...}}`, as servers take it, with or without `client_id` and `extra_data`; `{"output": ...,
    "workflow": ...}`; the answer to `GET /history` where it has one run, and that run alone. Raises WorkflowError where
    it has several runs.
    """
    if not is_object(document) or is_list(document.get("nodes")):
        return document
    runs = [run for run in document.values() if is_object(run) and _is_run(run.get("prompt"))]
    if len(runs) > 1:
        raise WorkflowError(f"expected one workflow, found a history of {len(runs)} runs: keep the entry of one")
    if runs and len(document) == 1:
        document = runs[0]
    inner: Any = document.get("prompt")
    if _is_run(inner):
        return inner[_PLACE_IN_HISTORY]
    if _is_prompt(inner):
        return inner
    return document["output"] if _is_prompt(document.get("output")) else document


def _is_run(value: Any) -> bool:
    return is_list(value) and len(value) > _PLACE_IN_HISTORY and _is_prompt(value[_PLACE_IN_HISTORY])


def _is_prompt(value: Any) -> bool:
    return (
        is_object(value)
        and "class_type" not in value
        and any(is_object(node) and "class_type" in node for node in value.values())
    )
