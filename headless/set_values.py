"""`--set NODE.INPUT=VALUE`: values of a workflow, changed from the command line.

Split at the first `=`, then at the last `.` before it. NODE is an id or a unique title; the value is read by the
input's declared type; on a linked input it replaces the link. Nothing as the value of an optional input that takes only
links takes its link away. It goes into the prompt and, where the file has it, into the editor's form, so that a picture
carries the workflow that made it. `random` as the value of a seed draws one.
"""

import random
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import graph

Bring = Callable[[Path], str]  # brings a file from anywhere to where nodes look; returns the name that they know

INSTEAD = {"Size": "Fit", "Stage C": "Stage B"}  # by title, what a short form sets where a workflow has no such node
RANDOM = "random"  # the value of a seed that is to be drawn
_EXACT = 2**53 - 1  # the largest number that the editor keeps exactly
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class ShortForm:
    """What a person typed in place of assignments, such as `--size 320x256`: those for which there is a node are made.

    A value goes where a link comes from: `Size.width` is set in the node that gives Size its width.
    """

    typed: str
    assignments: Sequence[str]


def bring_for_this_run(path: Path) -> str:
    """Copy a file to the folder for what is gone when the program ends."""
    from ..runtime import host

    uploads = host.current().temporary_directory() / "typed"
    folder = uploads / str(len(list(uploads.iterdir())) if uploads.is_dir() else 0)
    folder.mkdir(parents=True)
    shutil.copyfile(path, folder / path.name)
    return f"typed/{folder.name}/{path.name} [temp]"


def apply(
    workflow: graph.Workflow,
    assignments: Sequence[str | ShortForm],
    definitions: graph.Definitions,
    bring: Bring = bring_for_this_run,
    *,
    draws: bool = True,
) -> frozenset[tuple[str, str]]:
    """Change the workflow in place; returns (node id, input) of each change.

    draws: `random` is a seed; else it is refused. Raises WorkflowError with every message, and then changes nothing.
    """
    changes: list[graph.Change] = []
    prompt = {node_id: {**node} for node_id, node in workflow.prompt.items()} if assignments else {}
    errors: list[str] = []
    for typed in assignments:
        spelled = [typed] if isinstance(typed, str) else _spell_out(prompt, definitions, typed)
        for assignment in spelled:
            try:
                for change in _read_assignment(prompt, assignment, definitions, bring, draws):
                    _put(prompt, definitions, change)  # the next may be about what this one brings
                    changes.append(change)
            except graph.WorkflowError as error:
                errors.append(f"--set {assignment}: {error}")
        if not isinstance(typed, str) and not spelled:
            errors.append(_no_place(typed))
    if errors:
        raise graph.WorkflowError(*errors)
    assign(workflow, definitions, changes)
    return frozenset((node_id, name) for node_id, name, _ in changes)


def assign(workflow: graph.Workflow, definitions: graph.Definitions, changes: Sequence[graph.Change]) -> None:
    """Put values into the prompt and into the editor's form, in place of what is there, a link too."""
    for change in changes:
        _put(workflow.prompt, definitions, change)
    if changes and workflow.editor is not None:
        graph.set_widgets(workflow.editor, definitions, changes)


def _put(prompt: graph.Prompt, definitions: graph.Definitions, change: graph.Change) -> None:
    node_id, name, value = change
    node = prompt[node_id]
    definition = definitions.get(node["class_type"])
    given = node["inputs"]
    if value is graph.UNLINKED:
        node["inputs"] = {key: held for key, held in given.items() if key != name}
        return
    node["inputs"] = {**given, name: value} if definition is None else graph.put(definition, given, name, value)


def _spell_out(prompt: graph.Prompt, definitions: graph.Definitions, short: ShortForm) -> Sequence[str]:
    """The assignments that a short form is in a workflow, those for which there is a node."""
    found: list[str] = []
    for assignment in short.assignments:
        target, _, text = assignment.partition("=")
        title, _, name = target.rpartition(".")
        places = [
            place for wanted in (title, INSTEAD.get(title)) for place in _places(prompt, definitions, wanted, name)
        ]
        if not places:
            continue
        link = graph.link_of(prompt[places[0]]["inputs"].get(name))
        if link is not None and name in _inputs(prompt, definitions, link[0]):
            places = [link[0]]
        found.append(f"{places[0]}.{name}={text}")
    return found


def _no_place(short: ShortForm) -> str:
    """Why a short form cannot be set in a workflow."""
    title, _, name = short.assignments[0].partition("=")[0].rpartition(".")
    return (
        f"{short.typed} is --set {short.assignments[0]}: expected a node with the title {graph.show(title)} and"
        f" the input {graph.show(name)}, which this workflow does not have: leave {short.typed.split()[0]} out"
    )


def _places(prompt: graph.Prompt, definitions: graph.Definitions, title: str | None, name: str) -> list[str]:
    """The ids of the nodes with this title that have an input of this name."""
    titled = [node_id for node_id, node in prompt.items() if graph.title_of(node) == title]
    return [node_id for node_id in titled if name in _inputs(prompt, definitions, node_id)]


def _inputs(prompt: graph.Prompt, definitions: graph.Definitions, node_id: str) -> Mapping[str, graph.Input]:
    """A node's inputs by name; none of one that is not there or not known."""
    node = prompt.get(node_id)
    definition = definitions.get(node["class_type"]) if node is not None else None
    return {} if node is None or definition is None else graph.inputs_of(definition, node["inputs"])


def _read_assignment(
    prompt: graph.Prompt, assignment: str, definitions: graph.Definitions, bring: Bring, draws: bool
) -> list[graph.Change]:
    """The change that an assignment asks for; none for a class without a definition, which validation names."""
    target, equals, text = assignment.partition("=")
    if not (equals and _is_target(target)):
        hint = _more_of(prompt, target, definitions) if equals else ""
        raise graph.WorkflowError(f"expected NODE.INPUT=VALUE, found {graph.show(assignment)}{hint}")
    node_id, name, entry = _find_input(prompt, target, definitions)
    if entry is None:
        return []
    node = prompt[node_id]
    if text == RANDOM and entry.type == "INT" and entry.has_control and draws:
        return [(node_id, name, _draw(entry, graph.where(node_id, node, name), f"{node_id}.{name}"))]
    try:
        return [(node_id, name, _read(entry, text, bring))]
    except _Unread as error:
        where = graph.where(node_id, node, name)
        raise graph.WorkflowError(f"{where}: expected {error}, found {graph.show(text)}") from None


def expect_inputs(prompt: graph.Prompt, targets: Sequence[str], definitions: graph.Definitions) -> None:
    """WorkflowError, with every message, where one is no NODE.INPUT of the prompt.

    An input that a choice brings, which has a dot in its name, may come with the value of another.
    """
    errors: list[str] = []
    for target in targets:
        try:
            if not _is_target(target):
                hint = _more_of(prompt, target, definitions)
                raise graph.WorkflowError(f"expected NODE.INPUT, found {graph.show(target)}{hint}")
            _find_input(prompt, target, definitions)
        except graph.WorkflowError as error:
            if target.count(".") < 2:
                errors.append(str(error))
    if errors:
        raise graph.WorkflowError(*errors)


def _is_target(text: str) -> bool:
    node, _, name = text.rpartition(".")
    return bool(node and name)


def _find_input(
    prompt: graph.Prompt, target: str, definitions: graph.Definitions
) -> tuple[str, str, graph.Input | None]:
    """Node id, name and definition of the input that NODE.INPUT means; no definition of a class that has none."""
    wanted, _, name = target.rpartition(".")
    while wanted not in _names(prompt) and "." in wanted:  # the input's name may have dots: `format.codec`
        wanted, _, first = wanted.rpartition(".")
        name = f"{first}.{name}"
    if wanted not in _names(prompt):
        wanted, _, name = target.rpartition(".")
    node_id = _find(prompt, wanted)
    node = prompt[node_id]
    definition = definitions.get(node["class_type"])
    if definition is None:
        return node_id, name, None
    inputs = graph.inputs_of(definition, node["inputs"])
    if name not in inputs:
        choices = graph.list_choices(inputs, name)
        raise graph.WorkflowError(
            f"expected an input of {graph.where(node_id, node)} ({choices}), found {graph.show(name)}"
        )
    return node_id, name, inputs[name]


def _names(prompt: graph.Prompt) -> set[str]:
    return {*prompt, *(graph.title_of(node) for node in prompt.values())}


def _draw(entry: graph.Input, where: str, target: str) -> int:
    """A seed by chance; stderr says which, so that the run can be repeated."""
    low, high = entry.options.get("min", 0), entry.options.get("max", _EXACT)
    seed = random.SystemRandom().randint(max(low, 0), min(high, _EXACT))
    print(f"{where}: {seed} by chance; repeat it with --set {target}={seed}", file=sys.stderr)
    return seed


def _more_of(prompt: graph.Prompt, typed: str, definitions: graph.Definitions) -> str:
    """What may have been meant by a title without an input, or by an input that one node alone has."""
    said, targets = typed.strip(".").casefold(), list[str]()
    for node_id, node in prompt.items():
        inputs, title = _inputs(prompt, definitions, node_id), graph.title_of(node)
        typable = [name for name, entry in inputs.items() if entry.has_widget]
        if said == title.casefold():
            return f"; the inputs of {graph.show(title)} are {graph.list_choices(typable)}"
        targets += [f"{title}.{name}" for name in typable if name.casefold() == said]
    return f"; did you mean {graph.show(targets[0])}?" if len(targets) == 1 else ""


def _find(prompt: graph.Prompt, wanted: str) -> str:
    """The id of the node that a person means by an id or a title."""
    if wanted in prompt:
        return wanted
    found = [node_id for node_id, node in prompt.items() if graph.title_of(node) == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        ids = " or ".join(f"{node_id} ({prompt[node_id].get('class_type')})" for node_id in found)
        raise graph.WorkflowError(
            f"expected one node, found {len(found)} with the title {graph.show(wanted)}: say which by its id, {ids}"
        )
    names = dict.fromkeys([*map(graph.title_of, prompt.values()), *prompt])
    near = graph.nearest(wanted, names)
    hint = f"did you mean {graph.show(near)}?" if near else f"there are {graph.list_choices(names)}"
    raise graph.WorkflowError(f"expected a node by its title or its id, found {graph.show(wanted)}: {hint}")


class _Unread(Exception):
    """A text that cannot be read; its message is what was expected."""


def _read(entry: graph.Input, text: str, bring: Bring) -> Any:
    """A typed text as the value of an input; ranges and lists of names are left to validation."""
    if not entry.takes_constant:
        if text == "" and not entry.required:
            return graph.UNLINKED
        raise _Unread(f"a link to {entry.type}, which cannot be typed")
    if entry.type == "BOOLEAN":
        if text.lower() not in _WORDS:
            raise _Unread("true or false")
        return _WORDS[text.lower()]
    for kind, read in (("INT", int), ("FLOAT", float)):
        if kind in entry.types:
            with suppress(ValueError):
                return read(text)
    if entry.types <= {"INT", "FLOAT"}:
        raise _Unread("a whole number" if entry.type == "INT" else "a number")
    if entry.choices is not None:
        if entry.takes_files:
            return _uploaded(entry, text, bring)
        return next((choice for choice in entry.choices if str(choice) == text), text)
    return text


def _uploaded(entry: graph.Input, text: str, bring: Bring) -> str:
    """A file that a person typed, by the name that nodes know it by.

    A workflow only reaches into its own folders; a typed path may lie anywhere, so the file is brought
    to where nodes look, as an upload would.
    """
    from ..runtime import host

    path, root = Path(text).expanduser(), host.current().input_directory().resolve()
    if text in (entry.choices or ()):
        return text
    for candidate in (root / text, path):  # a name of the input folder before one of the current folder
        if candidate.is_file() and candidate.resolve().is_relative_to(root):
            return candidate.resolve().relative_to(root).as_posix()
    return bring(path) if path.is_file() else text  # annotated, or missing: the node knows
