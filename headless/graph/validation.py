"""The check whether a prompt is fit to run: every problem at once, each with node, input, what is expected and found.

The rules and the names of the kinds are ComfyUI's. Stricter than there: what would only fail later, or
pass for something else (a null or an object as a text, a text as a boolean, a constant where only a link
makes sense, a number that is none, a new-style combo's unknown value), is refused.
"""

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from .absent_classes import SERVER, Whose, nobodys, not_among, tell_absent
from .definition import Classes, Definition, Definitions, Input, define_all, unsupported
from .prompt import MAX_NEEDED, Problem, Prompt, constant_of, cycles, link_of, locate, needs_of, sources_of
from .unfolding import inputs_of
from .wording import WorkflowError, is_list, is_object, list_choices, nearest, show, title_of, where

_WHOLE_TEXT = "a text without halves of Unicode characters"
MAX_TEXT = 1_000_000  # characters of one text; a long novel has that many
MOST_CIRCLES, MOST_PROBLEMS = 10, 200  # that are looked for: each takes a walk, or a search for what was meant


@dataclass(frozen=True)
class Validation:
    """`prompt` with every constant read as its declared type; the `outputs` that can run; the `problems`.

    `needs` has the nodes that each output needs, of which alone the inputs are checked.
    """

    prompt: Prompt
    outputs: tuple[str, ...]
    problems: tuple[Problem, ...]
    needs: Mapping[str, frozenset[str]]

    @property
    def needed(self) -> frozenset[str]:
        return frozenset[str]().union(*self.needs.values())

    def with_problems(self, *problems: Problem) -> "Validation":
        """The same with what else was found to be wrong."""
        broken = {problem.node for problem in problems}
        outputs = tuple(key for key in self.outputs if not self.needs[key] & broken)
        return replace(self, outputs=outputs, problems=(*self.problems, *problems))


def validate(prompt: Prompt, classes: Classes, whose: Whose = nobodys) -> Validation:
    """Check what the output nodes need. Every class must exist, also where no output needs it.

    Where there are very many problems not all are found, and no output is said to be able to run.
    whose: the words for a class that is not here, if it is known whose it is.
    """
    problems = malformed(prompt)
    if problems:
        return Validation(prompt, (), tuple(problems), {})
    used = dict.fromkeys(node["class_type"] for node in prompt.values())
    refused = {name: reason for name in used if name in classes and (reason := unsupported(classes[name]))}
    definitions = define_all((name for name in used if name not in refused), classes)
    unknown = [node_id for node_id, node in prompt.items() if node["class_type"] not in {*refused, *definitions}]
    for node_id, node in prompt.items():
        name = node["class_type"]
        if name in refused:
            expected = f"a node that runs outside ComfyUI's server ({SERVER} it)"
            problems.append(Problem("not_supported", expected, refused[name], **locate(prompt, node_id)))
    problems += tell_absent(prompt, unknown, classes, whose)
    sources = {node_id: sources_of(node) & prompt.keys() for node_id, node in prompt.items()}
    outputs = [key for key, node in prompt.items() if (d := definitions.get(node["class_type"])) and d.is_output]
    if not outputs and not problems:
        problems.append(Problem("prompt_no_outputs", "a node that shows or saves something", list_choices(used)))
    needs = needs_of(outputs, sources)
    if needs is None:
        expected = f"outputs that need at most {MAX_NEEDED:,} nodes, each counted for every output"
        return Validation(prompt, (), (*problems, Problem("not_supported", expected, "more")), {})
    needed = frozenset[str]().union(*needs.values())
    circles = list(islice(cycles({key: sources[key] for key in prompt if key in needed}), MOST_CIRCLES))
    for cycle in circles:
        chain = " -> ".join(f"{key} {show(title_of(prompt[key]))}" for key in cycle)
        found = f"a circle: {chain}"
        problems.append(Problem("dependency_cycle", "links that end somewhere", found, **locate(prompt, cycle[0])))
    checked = dict(prompt)
    for node_id, node in prompt.items():
        definition = definitions.get(node["class_type"])
        if node_id in needed and definition is not None and len(problems) < MOST_PROBLEMS:
            check = _NodeCheck(node_id, prompt, definition, definitions)
            checked[node_id] = {**node, "inputs": check.inputs}
            problems += check.problems
    if len(circles) == MOST_CIRCLES or len(problems) >= MOST_PROBLEMS:
        outputs = []
    broken = {*unknown, *(problem.node for problem in problems)}
    return Validation(checked, tuple(key for key in outputs if not needs[key] & broken), tuple(problems), needs)


def check_form(prompt: Prompt, definitions: Definitions, owner: str, hint: str) -> None:
    """Check what can be known of a prompt that runs elsewhere; `owner` has the definitions.

    Raises WorkflowError, with every message, for malformed nodes and for classes without a definition (such a message
    ends in `hint`); then for links to nowhere.
    """
    misshapen = malformed(prompt)
    messages = [problem.message for problem in misshapen]
    sound = prompt.keys() - {problem.node for problem in misshapen}
    for node_id, node in prompt.items():
        if node_id in sound and node["class_type"] not in definitions:
            name = node["class_type"]
            messages.append(f"{where(node_id, node)}: {not_among(name, definitions, f'in {owner}')}{hint}")
    if messages:
        raise WorkflowError(*messages)
    for node_id, node in prompt.items():
        for name, value in node["inputs"].items():
            misfit = _check_link(prompt, definitions, value) if is_list(value) else _check_text(value)
            if misfit:
                expected, found = misfit
                messages.append(f"{where(node_id, node, name)}: expected {expected}, found {found}")
    if messages:
        raise WorkflowError(*messages)


def malformed(prompt: Prompt) -> list[Problem]:
    """What keeps nodes from being any: without a class, or without inputs."""
    return [problem for node_id, node in prompt.items() for problem in _check_form(node_id, node)]


def _check_form(node_id: str, node: Any) -> Iterator[Problem]:
    place = f"node {node_id}"
    if not is_object(node):
        yield Problem("invalid_prompt", "an object with class_type and inputs", show(node), node_id, place=place)
    elif not isinstance(node.get("class_type"), str):
        found = list_choices(node) if "class_type" not in node else show(node["class_type"])
        yield Problem("invalid_prompt", "a class_type, the id of a node class", found, node_id, place=place)
    elif not is_object(node.get("inputs")):
        expected, found = '"inputs", an object', show(node.get("inputs"))
        yield Problem("invalid_prompt", expected, found, node_id, title_of(node), place=where(node_id, node))


def _check_link(prompt: Prompt, definitions: Definitions, value: list[Any]) -> tuple[str, str] | None:
    """The words for a link that leads nowhere, expected and found; None for any other."""
    link = link_of(value)
    if link is None:
        return "a link [node id as a text, output slot]", show(value)
    source, slot = link
    if source not in prompt:
        return f"a link to a node of the workflow ({list_choices(prompt, source)})", show(source)
    definition = definitions.get(prompt[source]["class_type"])
    if definition is None or 0 <= slot < len(definition.outputs):  # a missing class is a problem of its own
        return None
    count = len(definition.outputs)
    expected = f"an output slot from 0 to {count - 1}" if count else "a node with outputs"
    return expected, f"slot {slot} of {where(source, prompt[source])}"


def _check_text(value: Any) -> tuple[str, str] | None:
    """The words for a text that no file and no request can hold."""
    if isinstance(value, str) and not value.isascii() and value != value.encode(errors="ignore").decode():
        return _WHOLE_TEXT, show(value)
    return None


class _NodeCheck:
    """The inputs of one node: `problems`, and `inputs` with every constant read as its declared type."""

    def __init__(self, node_id: str, prompt: Prompt, definition: Definition, definitions: Definitions) -> None:
        self.node_id = node_id
        self.prompt = prompt
        self.definition = definition
        self.entries = inputs_of(definition, prompt[node_id]["inputs"])
        self.definitions = definitions
        self.problems: list[Problem] = []
        self.inputs: dict[str, Any] = dict(prompt[node_id]["inputs"])
        self.received: dict[str, Any] = {}  # declared output types, by the input that they are linked to
        validator = getattr(definition.node_class, "VALIDATE_INPUTS", None)
        self.own_check = inspect.getfullargspec(validator) if validator else None
        self.own_names = frozenset(self.own_check.args + self.own_check.kwonlyargs if self.own_check else ())
        for name, value in self.inputs.items():
            if is_list(value):
                self._check_link(name, value)
        for name, entry in self.entries.items():
            if name not in self.inputs:
                if entry.required:
                    self._report("required_input_missing", name, _expectation(entry), self._found_instead(name))
            elif not is_list(self.inputs[name]):
                self._check_constant(entry)
        self._run_own_check()

    def _report(self, kind: str, name: str | None, expected: str, found: str, detail: str = "") -> None:
        self.problems.append(Problem(kind, expected, found, detail=detail, **locate(self.prompt, self.node_id, name)))

    def _found_instead(self, name: str) -> str:
        """What is there in place of an input that is not: perhaps its value, under another name."""
        others = [other for other in self.inputs if other not in self.entries and not is_list(self.inputs[other])]
        meant = nearest(name, others)
        if meant is not None:
            return f"{show(meant)}, which the node does not have: did you mean {show(name)}?"
        return f"nothing; the node does not have {list_choices(others)}" if others else "nothing"

    def _check_link(self, name: str, value: list[Any]) -> None:
        link, entry = link_of(value), self.entries.get(name)
        source = None if link is None else self.prompt.get(link[0])
        if source is not None and entry is None and not _takes_any(self.definition):
            expected = f"one of the inputs {list_choices(self.entries, name)}"
            self._report("bad_linked_input", name, expected, "a link")
        elif misfit := _check_link(self.prompt, self.definitions, value):
            self._report("bad_linked_input", name, *misfit)
        elif link and source and (definition := self.definitions.get(source["class_type"])):
            received = self.received[name] = definition.outputs[link[1]]
            if entry and "input_types" not in self.own_names and not _connects(received, entry.declared):
                found = f"{_type_name(received)} from {where(link[0], source)}"
                self._report("return_type_mismatch", name, _type_name(entry.declared), found)

    def _check_constant(self, entry: Input) -> None:
        value = constant_of(self.inputs[entry.name])
        checks_itself = entry.name in self.own_names or bool(self.own_check and self.own_check.varkw)
        try:
            read = _read_constant(entry, value)
            if not checks_itself:
                _check_range(entry, read)
        except _Unfit as unfit:
            self._report(unfit.kind, entry.name, unfit.expected, show(value))
        else:
            self.inputs[entry.name] = read if read is not value else self.inputs[entry.name]

    def _run_own_check(self) -> None:
        """VALIDATE_INPUTS gets what its signature names, a link as None; True means fine, a text says what is wrong."""
        if self.own_check is None:
            return
        takes_all = self.own_check.varkw is not None
        named = {name for name in self.entries if takes_all or name in self.own_names}
        if any(problem.input in named for problem in self.problems):
            return  # it would be asked about a value that is known to be wrong
        arguments: dict[str, Any] = {}
        for name in named & self.inputs.keys():
            value = None if is_list(self.inputs[name]) else constant_of(self.inputs[name])
            arguments[name] = [value] if self.definition.takes_lists else value
        if "input_types" in self.own_names:
            arguments["input_types"] = self.received
        if not named and "input_types" not in self.own_names:
            return
        name = next(iter(named)) if len(named) == 1 else None
        expected, found = "values that the node accepts", show(arguments)
        try:
            verdict = self.definition.node_class.VALIDATE_INPUTS(**arguments)
        except Exception as error:
            detail = f"the node cannot check its inputs: {type(error).__name__}: {error}"
            self._report("exception_during_validation", name, expected, found, detail)
            return
        if verdict is not True:
            self._report("custom_validation_failed", name, expected, found, verdict if isinstance(verdict, str) else "")


def _takes_any(definition: Definition) -> bool:
    function = getattr(definition.node_class, definition.node_class.FUNCTION)
    return inspect.getfullargspec(function).varkw is not None


def _connects(received: Any, declared: Any) -> bool:
    """The host's rule: equal, or (for texts) any of several types in common; `*` is a name like any other."""
    differs = received != declared  # not `==`: a type that means "anything" overrides this one
    if not differs:
        return True
    if not isinstance(received, str) or not isinstance(declared, str):
        return False
    return bool({part.strip() for part in received.split(",")} & {part.strip() for part in declared.split(",")})


def _type_name(declared: Any) -> str:
    return declared if isinstance(declared, str) else f"one of {list_choices(declared)}"


class _Unfit(Exception):
    """A value that an input cannot take: ComfyUI's name for that, and what it could take."""

    def __init__(self, kind: str, expected: str) -> None:
        self.kind = kind
        self.expected = expected


def _expectation(entry: Input) -> str:
    """The values that an input takes, as messages word them."""
    if not entry.takes_constant:
        return f"a link to {entry.type}"
    if entry.choices is not None:
        return _one_of(entry)
    return f"a value of type {entry.type}"


def _one_of(entry: Input, wanted: Any = None) -> str:
    """The choices of a combo, of which the host may have more; without any, where they would come from."""
    if entry.choices_here:
        choices = f"one of {list_choices(entry.choices_here, wanted)}"
        return f"{choices} ({show(wanted)} runs only in ComfyUI: {SERVER} it)" if wanted in entry.choices else choices
    if entry.takes_files:
        return "a file of the input folder, which has none that fits: put one there"
    return "a choice, but there is none here to choose"


def _read_constant(entry: Input, value: Any) -> Any:
    """A constant as the declared type; raises _Unfit."""
    wrong = "invalid_input_type"
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise _Unfit(wrong, f"a text of at most {MAX_TEXT:,} characters")
        if _check_text(value):
            raise _Unfit(wrong, _WHOLE_TEXT)
    if not entry.takes_constant:
        if value is None and not entry.required:
            return value
        raise _Unfit(wrong, f"a link to {entry.type}")
    if entry.type == "STRING":
        if not isinstance(value, str | int | float):
            raise _Unfit(wrong, "a text")
        return str(value)
    if entry.type == "BOOLEAN":
        if value not in (0, 1):
            raise _Unfit(wrong, "true or false")
        return bool(value)
    if entry.type in ("INT", "FLOAT"):
        try:
            return int(value) if entry.type == "INT" else _finite(float(value))
        except (TypeError, ValueError, OverflowError):
            raise _Unfit(wrong, "a whole number" if entry.type == "INT" else "a number") from None
    return value


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def _check_range(entry: Input, value: Any) -> None:
    """Raises _Unfit for a number outside its range and for what is no choice of a combo."""
    low, high = entry.options.get("min"), entry.options.get("max")
    if entry.type in ("INT", "FLOAT"):
        span = f"a number from {'any' if low is None else low} to {'any' if high is None else high}"
        if low is not None and value < low:
            raise _Unfit("value_smaller_than_min", span)
        if high is not None and value > high:
            raise _Unfit("value_bigger_than_max", span)
    if entry.choices_here is not None and value not in entry.choices_here:
        raise _Unfit("value_not_in_list", _one_of(entry, value))
