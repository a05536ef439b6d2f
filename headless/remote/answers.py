"""The forms of a server's answers, checked here and nowhere else."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .. import graph
from ..graph import is_list, is_object

MOST_RESULTS = 10_000  # files of one prompt
LARGEST = 2**53  # of a number; no step and no place in a queue is beyond


class Odd(ValueError):
    """An answer of another form: what was expected of it, in words. `found` is what it has there."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(expected)
        self.found = found


class Problem(NamedTuple):
    """A server's complaint about a node; `info` has the input, and what was found there."""

    kind: str
    message: str
    details: str
    input: str | None
    info: Mapping[str, Any]


NodeErrors = Mapping[str, list[Problem]]  # by node id


class Receipt(NamedTuple):
    """A queued prompt, and why the server dropped some of its outputs."""

    prompt_id: str
    node_errors: NodeErrors


class Rejected(Exception):
    """The server finds a prompt unfit, in its own words, and each node's problems."""

    def __init__(self, message: str, details: str, node_errors: NodeErrors) -> None:
        super().__init__(message)
        self.message, self.details, self.node_errors = message, details, node_errors


class Queue(NamedTuple):
    """The prompts that run, and those that wait with their numbers."""

    running: list[str]
    waiting: dict[str, float]


class Result(NamedTuple):
    """A file in the server's output folder."""

    filename: str
    subfolder: str


class Account(NamedTuple):
    """What became of a prompt: its results, what its nodes say (node and text), whether it failed, and what was told of
    its end, by the kind of message."""

    results: list[Result]
    texts: list[tuple[str, str]]
    has_failed: bool
    messages: Mapping[str, Mapping[str, Any]]


class Event(NamedTuple):
    """What a server tells while it works. `node` is the one that runs, `nodes` are those that need not."""

    kind: str
    prompt_id: str | None
    node: str | None
    display_node: str | None
    nodes: list[str]
    step: float | None
    steps: float | None


def object_info(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The declarations of a server's nodes, by id, as `graph.read_object_info` reads them."""
    if not answer or not all(is_object(entry) and "input" in entry for entry in answer.values()):
        raise Odd("a ComfyUI with its nodes", answer)
    return answer


def uploaded(answer: Mapping[str, Any]) -> str:
    """The name that the server's nodes know an uploaded file by."""
    name, folder = answer.get("name"), answer.get("subfolder")
    if not isinstance(name, str) or not isinstance(folder, str):
        raise Odd("the name of the uploaded file", answer)
    return f"{folder}/{name}" if folder else name


def receipt(answer: Mapping[str, Any]) -> Receipt:
    """Raises Rejected, too."""
    problems = _node_errors(answer.get("node_errors"))
    if "error" in answer:
        error = answer["error"]
        told = error if is_object(error) else {"message": error}
        raise Rejected(_text(told, "message", "it does not say why"), _text(told, "details"), problems)
    if not isinstance(answer.get("prompt_id"), str):
        raise Odd("the id of the queued prompt", answer)
    return Receipt(answer["prompt_id"], problems)


def queue(answer: Mapping[str, Any]) -> Queue:
    running, waiting = (answer.get(f"queue_{state}", []) for state in ("running", "pending"))
    entries = [*(running if is_list(running) else [None]), *(waiting if is_list(waiting) else [None])]
    for entry in entries:
        if not is_list(entry) or len(entry) < 2 or not _is_number(entry[0]) or not isinstance(entry[1], str):
            raise Odd("a queue of prompts", entry)
    return Queue([entry[1] for entry in running], {entry[1]: entry[0] for entry in waiting})


def account(answer: Mapping[str, Any], prompt_id: str) -> Account | None:
    """None while the prompt is not finished."""
    entry = answer.get(prompt_id)
    if entry is None:
        return None
    outputs, status = (entry.get("outputs") or {}, entry.get("status") or {}) if is_object(entry) else (None, None)
    if not is_object(outputs) or not is_object(status):
        raise Odd("outputs and status of a prompt", entry)
    messages: dict[str, Mapping[str, Any]] = {}
    told: Any = status.get("messages") or []
    for message in told if is_list(told) else [None]:
        if not is_list(message) or len(message) != 2 or not isinstance(message[0], str) or not is_object(message[1]):
            raise Odd("messages of a prompt", message)
        messages[message[0]] = message[1]
    return Account(_results(outputs), _texts(outputs), status.get("status_str") == "error", messages)


def event(answer: Mapping[str, Any]) -> Event | None:
    """None for an event of another kind of client's."""
    kind, data = answer.get("type"), answer.get("data")
    if not isinstance(kind, str) or not is_object(data):
        return None
    texts = (data.get(name) for name in ("prompt_id", "node", "display_node"))
    prompt_id, node, display = (text if isinstance(text, str) else None for text in texts)
    nodes: Any = data.get("nodes")
    step, steps = (data.get(name) if _is_number(data.get(name)) else None for name in ("value", "max"))
    listed = [text for text in nodes if isinstance(text, str)] if is_list(nodes) else []
    return Event(kind, prompt_id, node, display, listed, step, steps)


def _results(outputs: Mapping[str, Any]) -> list[Result]:
    """The files in a prompt's outputs; previews are none, as they would be gone here."""
    found: list[Result] = []
    for _, _, entry in _shown(outputs):
        if not is_object(entry) or entry.get("type") != "output" or "filename" not in entry:
            continue
        name, folder = entry["filename"], entry.get("subfolder") or ""
        if not isinstance(name, str) or not isinstance(folder, str):
            raise Odd("the name of a result", entry)
        found.append(Result(name, folder))
    if len(found) > MOST_RESULTS:
        raise Odd(f"at most {MOST_RESULTS:,} results", len(found))
    return found


def _texts(outputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(node, said) for node, what, said in _shown(outputs) if what == "text" and isinstance(said, str)]


def _shown(outputs: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """What nodes show, which may be anything: the node, what it is, and each entry."""
    for node, ui in outputs.items():
        for what, entries in ui.items() if is_object(ui) else ():
            for entry in entries if is_list(entries) else ():
                yield node, what, entry


def _node_errors(found: Any) -> NodeErrors:
    if not is_object(found):  # none is an empty list in some versions
        return {}
    problems: dict[str, list[Problem]] = {}
    for node_id, entry in found.items():
        errors: Any = entry.get("errors") if is_object(entry) else None
        if not is_list(errors) or not all(map(is_object, errors)):
            raise Odd("the problems of a node", entry)
        problems[node_id] = [_problem(error) for error in errors]
    return problems


def _problem(error: Mapping[str, Any]) -> Problem:
    info: Any = error.get("extra_info") or {}
    name = info.get("input_name") if is_object(info) else None
    if not is_object(info) or not isinstance(name, str | None):
        raise Odd("the input of a problem", error)
    message = _text(error, "message", "the server refuses it")
    return Problem(_text(error, "type"), message, _text(error, "details"), name, info)


def _text(told: Mapping[str, Any], name: str, default: str = "") -> str:
    found = told.get(name)
    return default if found is None else found if isinstance(found, str) else graph.show(found)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
