"""Values that a browser sends for a tab's fields, made into the workflow that runs; none of them is believed."""

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from ..headless import graph, missing_models, node_classes, set_values
from ..headless.built_in import is_built_in
from ..runtime import environment, host
from ..runtime.model_folders import can_hold_weights
from . import labels
from .tabs import Field, Tab

LONGEST_TEXT, LONGEST_LINE = 10_000, 500  # characters; the longest prompts that people share have some hundred words
_LEADS_OUT = re.compile(r"[/\\~]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)|.*\0", re.DOTALL)

Changes = Sequence[tuple[Field, Any]]


def changes(tab: Tab, values: Sequence[Any]) -> Changes:
    """The fields whose value is not the file's, and that value as the input's type. Raises WorkflowError."""
    if len(values) != len(tab.fields):
        raise graph.WorkflowError(f"{tab.title}: expected {len(tab.fields)} values, found {len(values)}")
    found: list[tuple[Field, Any]] = []
    messages: list[str] = []
    for field, value in zip(tab.fields, values, strict=True):
        try:
            if (read := _read(field, value)) != field.value:
                found.append((field, read))
        except graph.WorkflowError as error:
            messages += error.messages
    if messages:
        raise graph.WorkflowError(*messages)
    return found


def with_one_seed(tab: Tab, values: Sequence[Any], parted: Any) -> list[Any]:
    """The values with the first seed in place of the others, unless they are parted."""
    found = list(values)
    if parted is not True and len(found) == len(tab.fields):
        for index in tab.seeds[1:]:
            found[index] = found[tab.seeds[0]]
    return found


def number(found: Any, most: int) -> int:
    """How many pictures are asked for. Raises WorkflowError for what is no number from 1 to `most`."""
    if isinstance(found, bool) or not isinstance(found, int | float) or found not in range(1, most + 1):
        shown = "nothing" if found is None else graph.show(found)
        raise graph.WorkflowError(f"Number of pictures: expected a whole number from 1 to {most}, found {shown}")
    return int(found)


def workflow(tab: Tab, changed: Changes, nodes: node_classes.Nodes) -> graph.Workflow:
    """The tab's workflow with these values, as `--set` would make it."""
    definitions = graph.definitions(nodes.classes)
    made = graph.convert(deepcopy(tab.document), definitions, nodes.names)
    set_values.assign(made, definitions, [(field.node, field.name, value) for field, value in changed])
    return made


def with_seeds(tab: Tab, changed: Changes, step: int) -> Changes:
    """The changes with every seed further by `step`: the picture that a batch has in that place."""
    given = {(field.node, field.name): value for field, value in changed}
    seeds = [field for field in tab.fields if field.is_seed]
    moved = [(seed, _moved(seed, given.get((seed.node, seed.name), seed.value), step)) for seed in seeds]
    others = [(field, value) for field, value in changed if not field.is_seed]
    return [*others, *((seed, value) for seed, value in moved if value != seed.value)]


def command(tab: Tab, changed: Changes) -> str:
    """The command that makes the same, in whatever folder it is given."""
    titles = [title for title, _ in {(field.title, field.node): None for field in tab.fields}]
    words = ["run", str(tab.path.absolute())]
    for field, value in changed:
        title = field.title
        plain = titles.count(title) == 1 and "=" not in title and "Stable Cascade" not in title
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += ["--set", f"{title if plain else field.node}.{field.name}={text}"]
    return environment.from_anywhere([*words, *_folders(tab, changed)])


def _folders(tab: Tab, changed: Changes) -> list[str]:
    """The options with the folders in which a run of these values reads."""
    given = {(field.node, field.name): value for field, value in changed}
    read = [(field, given.get((field.node, field.name), field.value)) for field in tab.fields]
    own = [(field, value) for field, value in read if value and not is_built_in(value)]
    words: list[str] = []
    if any(field.entry.takes_files or field.name == "folder" for field, _ in own):
        words += ["--input", str(host.current().input_directory().absolute())]
    if tab.trains or any(field.entry.choices and can_hold_weights(str(value)) for field, value in own):
        words += missing_models.models_option()
    return words


def _moved(seed: Field, value: Any, step: int) -> Any:
    """A seed further on, within its range: past the end it begins anew, as the samplers count."""
    low, high = (seed.entry.options.get(limit) for limit in ("min", "max"))
    if low is None or high is None or not low <= value <= high:  # validation says so
        return value + step
    return low + (value - low + step) % (high - low + 1)


def _read(field: Field, value: Any) -> Any:
    """A value as the declared type; whether it is in range, and a choice, is left to validation."""
    entry = field.entry
    if value == field.value and isinstance(value, type(field.value)):
        return field.value
    if entry.type in ("INT", "FLOAT"):
        return _number(field, value)
    if entry.type == "BOOLEAN":
        if not isinstance(value, bool):
            raise _wrong(field, "true or false", value)
        return value
    if entry.type == "STRING" or field.takes_picture:
        return _text(field, value)
    if not isinstance(value, str | int | float | bool):
        raise _wrong(field, "one of its choices", value)
    return value


def _number(field: Field, value: Any) -> int | float:
    whole = field.entry.type == "INT"
    expected = "a whole number" if whole else "a number"
    if isinstance(value, str) and len(value) <= 40:
        value = value.strip()
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(field, expected, value)
    try:
        number = int(value) if whole else float(value)
    except (ValueError, OverflowError):
        raise _wrong(field, expected, value) from None
    if whole and isinstance(value, float) and value != number:
        raise _wrong(field, expected, value)
    return number


def _text(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(field, "a text", value)
    multiline = bool(field.entry.options.get("multiline"))
    most = LONGEST_TEXT if multiline else LONGEST_LINE
    if len(value) > most:
        raise _wrong(field, f"at most {most:,} characters", f"{len(value):,} characters", quoted=False)
    if not multiline and _LEADS_OUT.match(value):
        raise _wrong(field, "a name inside the app's own folders", value)
    return value


def _wrong(field: Field, expected: str, found: Any, quoted: bool = True) -> graph.WorkflowError:
    shown = graph.show(found) if quoted and found is not None else found or "nothing"
    return graph.WorkflowError(f"{labels.called(field.name, field.title)}: expected {expected}, found {shown}")


def refuse_leading_out(prompt: graph.Prompt, definitions: graph.Definitions) -> None:
    """Raises WorkflowError with a sentence for each text that would name something outside the app's own folders.

    What `changes` refuses in fields, for a whole prompt that anybody may have made. A long text is no name, but in a
    node that only passes it on.
    """
    messages: list[str] = []
    for node_id, node in prompt.items():
        definition = definitions.get(str(node.get("class_type"))) if graph.is_object(node) else None
        inputs = node.get("inputs") if definition is not None else None
        if definition is None or not graph.is_object(inputs):
            continue  # the check of the workflow says so
        passes_on = set(map(str, definition.outputs)) == {"STRING"}
        for name, entry in definition.inputs.items():
            value = inputs.get(name)
            is_name = passes_on or not entry.options.get("multiline")
            if isinstance(value, str) and is_name and _LEADS_OUT.match(value):
                found = f"expected a name inside the app's own folders, found {graph.show(value)}"
                messages.append(f"{graph.where(node_id, node, name)}: {found}")
    if messages:
        raise graph.WorkflowError(*messages)


def settings(tab: Tab, values: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """The settings of a picture that people want to read: the open fields, as (name, value)."""
    for field, value in zip(tab.fields, values, strict=True):
        if field.is_open and value != "":
            yield tab.label(field), str(value)
