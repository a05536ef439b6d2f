"""What a browser sends for a tab's controls, made into the workflow that runs. Nothing that it sends is believed."""

import re
import shlex
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from ..headless import graph, node_classes, set_values
from .tabs import Control, Tab

LONGEST_TEXT, LONGEST_LINE = 10_000, 500  # characters; the longest prompts that people share have some hundred words
_LEADS_OUT = re.compile(r"[/\\~]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)|.*\0", re.DOTALL)

Changes = Sequence[tuple[Control, Any]]


def changes(tab: Tab, values: Sequence[Any]) -> Changes:
    """The controls whose value is not the file's, and that value as the input's type. Raises WorkflowError."""
    if len(values) != len(tab.controls):
        raise graph.WorkflowError(f"{tab.title}: expected {len(tab.controls)} values, found {len(values)}")
    found: list[tuple[Control, Any]] = []
    messages: list[str] = []
    for control, value in zip(tab.controls, values, strict=True):
        try:
            if (read := _read(control, value)) != control.value:
                found.append((control, read))
        except graph.WorkflowError as error:
            messages += error.messages
    if messages:
        raise graph.WorkflowError(*messages)
    return found


def workflow(tab: Tab, changed: Changes, nodes: node_classes.Nodes) -> graph.Workflow:
    """The tab's workflow with these values, as `--set` would make it."""
    definitions = graph.definitions(nodes.classes)
    made = graph.convert(deepcopy(tab.document), definitions, nodes.names)
    set_values.assign(made, definitions, [(control.node, control.name, value) for control, value in changed])
    return made


def with_seeds(tab: Tab, changed: Changes, step: int) -> Changes:
    """The same with every seed further by `step`: the picture that a batch has in that place."""
    given = {(control.node, control.name): value for control, value in changed}
    seeds = [control for control in tab.controls if control.is_seed]
    moved = [(seed, _moved(seed, given.get((seed.node, seed.name), seed.value), step)) for seed in seeds]
    others = [(control, value) for control, value in changed if not control.is_seed]
    return [*others, *((seed, value) for seed, value in moved if value != seed.value)]


def command(tab: Tab, changed: Changes) -> str:
    """The command that makes the same."""
    titles = [title for title, _ in {(control.title, control.node): None for control in tab.controls}]
    words = ["cascade", "run", str(tab.path)]
    for control, value in changed:
        title = control.title
        plain = titles.count(title) == 1 and "=" not in title and "Stable Cascade" not in title
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += ["--set", f"{title if plain else control.node}.{control.name}={text}"]
    return shlex.join(words)


def _moved(seed: Control, value: Any, step: int) -> Any:
    """A seed further on, within its range: past the end it begins anew, as the samplers count."""
    low, high = (seed.entry.options.get(limit) for limit in ("min", "max"))
    if low is None or high is None or not low <= value <= high:  # validation says so
        return value + step
    return low + (value - low + step) % (high - low + 1)


def _read(control: Control, value: Any) -> Any:
    """A value as the declared type; whether it is in range, and a choice, is left to validation."""
    entry = control.entry
    if value == control.value and isinstance(value, type(control.value)):
        return control.value
    if entry.type in ("INT", "FLOAT"):
        return _number(control, value)
    if entry.type == "BOOLEAN":
        if not isinstance(value, bool):
            raise _wrong(control, "true or false", value)
        return value
    if entry.type == "STRING" or control.takes_picture:
        return _text(control, value)
    if not isinstance(value, str | int | float | bool):
        raise _wrong(control, "one of its choices", value)
    return value


def _number(control: Control, value: Any) -> int | float:
    whole = control.entry.type == "INT"
    expected = "a whole number" if whole else "a number"
    if isinstance(value, str) and len(value) <= 40:
        value = value.strip()
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(control, expected, value)
    try:
        number = int(value) if whole else float(value)
    except (ValueError, OverflowError):
        raise _wrong(control, expected, value) from None
    if whole and isinstance(value, float) and value != number:
        raise _wrong(control, expected, value)
    return number


def _text(control: Control, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(control, "a text", value)
    multiline = bool(control.entry.options.get("multiline"))
    most = LONGEST_TEXT if multiline else LONGEST_LINE
    if len(value) > most:
        raise _wrong(control, f"at most {most:,} characters", f"{len(value):,} characters", quoted=False)
    if not multiline and _LEADS_OUT.match(value):
        raise _wrong(control, "a name inside the app's own folders", value)
    return value


def _wrong(control: Control, expected: str, found: Any, quoted: bool = True) -> graph.WorkflowError:
    shown = graph.show(found) if quoted and found is not None else found or "nothing"
    return graph.WorkflowError(f"{control.title}, {control.name}: expected {expected}, found {shown}")


def labels(tab: Tab, values: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """What people want to read of a picture's settings: the open controls, as (name, value)."""
    for control, value in zip(tab.controls, values, strict=True):
        if control.place == "open" and value != "":
            yield f"{control.title} {control.name}", str(value)
