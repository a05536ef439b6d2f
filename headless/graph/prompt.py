"""Is a prompt fit to run? Every problem at once, each with the node, the input, what was expected and found.

The rules and the names of the kinds are ComfyUI's. Stricter than there: what would only fail later, or
pass for something else (a null or an object as a text, a text as a boolean, a constant where only a link
makes sense, a number that is none, a new-style combo's unknown value), is refused.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from .definition import Definition, Input, Registry, define_all, unsupported
from .shapes import is_list, is_object
from .values import Unfit, check_range, expectation, read_constant
from .wording import list_choices, show, title_of, where
from .workflow import Prompt


@dataclass(frozen=True)
class Problem:
    """One reason why a prompt cannot run; `kind` is ComfyUI's name for it, or `not_supported`."""

    kind: str
    expected: str
    found: str
    node: str | None = None
    title: str | None = None
    class_type: str | None = None
    input: str | None = None
    place: str = "workflow"
    detail: str = ""  # a node's own words, instead of expected and found

    @property
    def message(self) -> str:
        return f"{self.place}: " + (self.detail or f"expected {self.expected}, found {self.found}")


@dataclass(frozen=True)
class Validation:
    """`prompt` with every constant read as its declared type; the `outputs` that can run; the `problems`."""

    prompt: Prompt
    outputs: tuple[str, ...]
    problems: tuple[Problem, ...]


def validate(prompt: Prompt, registry: Registry) -> Validation:
    """Check what the output nodes need. Every class must exist, also where no output needs it."""
    problems = [problem for node_id, node in prompt.items() for problem in _check_form(node_id, node)]
    if problems:
        return Validation(prompt, (), tuple(problems))
    classes = dict.fromkeys(node["class_type"] for node in prompt.values())
    refused = {name: reason for name in classes if name in registry and (reason := unsupported(registry[name]))}
    definitions = define_all((name for name in classes if name not in refused), registry)
    for node_id, node in prompt.items():
        name = node["class_type"]
        if name in refused:
            expected = "a node that runs outside ComfyUI's server"
            problems.append(Problem("not_supported", expected, refused[name], **locate(prompt, node_id)))
        elif name not in definitions:
            expected = f"a node class that exists here ({list_choices(sorted(registry), name)})"
            problems.append(Problem("invalid_prompt", expected, show(name), **locate(prompt, node_id)))
    sources = {node_id: sources_of(node) & prompt.keys() for node_id, node in prompt.items()}
    outputs = [key for key, node in prompt.items() if (d := definitions.get(node["class_type"])) and d.is_output]
    if not outputs and not problems:
        problems.append(Problem("prompt_no_outputs", "a node that shows or saves something", list_choices(classes)))
    needs = {output: reachable([output], sources) for output in outputs}
    needed = frozenset[str]().union(*needs.values())
    for cycle in _cycles({key: sources[key] for key in prompt if key in needed}):
        chain = " -> ".join(f"{key} {show(title_of(prompt[key]))}" for key in cycle)
        found = f"a circle: {chain}"
        problems.append(Problem("dependency_cycle", "links that end somewhere", found, **locate(prompt, cycle[0])))
    checked = dict(prompt)
    for node_id, node in prompt.items():
        definition = definitions.get(node["class_type"])
        if node_id in needed and definition is not None:
            check = _NodeCheck(node_id, prompt, definition, definitions)
            checked[node_id] = {**node, "inputs": check.inputs}
            problems += check.problems
    broken = {problem.node for problem in problems}
    return Validation(checked, tuple(key for key in outputs if not needs[key] & broken), tuple(problems))


def link_of(value: Any) -> tuple[str, int] | None:
    """The source id and slot of a well-formed link; None for a constant (and for a malformed link)."""
    match value:
        case [str(source), int(slot)] if is_list(value) and not isinstance(slot, bool):
            return source, slot
        case _:
            return None


def constant_of(value: Any) -> Any:
    """A list travels wrapped, for it would look like a link."""
    return value["__value__"] if is_object(value) and "__value__" in value else value


def sources_of(node: Mapping[str, Any]) -> set[str]:
    """Ids of the nodes that a node is linked to."""
    return {link[0] for value in node["inputs"].values() if (link := link_of(value))}


def reachable(starts: Iterable[str], sources: Mapping[str, set[str]]) -> frozenset[str]:
    """The nodes that `starts` need, themselves included."""
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        node_id = waiting.pop()
        if node_id not in seen:
            seen.add(node_id)
            waiting.extend(sources[node_id])
    return frozenset(seen)


def locate(prompt: Prompt, node_id: str, name: str | None = None) -> dict[str, Any]:
    """The fields of a Problem that say where it is."""
    node = prompt[node_id]
    return {
        "node": node_id,
        "title": title_of(node),
        "class_type": node["class_type"],
        "input": name,
        "place": where(node_id, node, name),
    }


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


def _cycles(sources: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Each circle of links once, in the direction of the data; the first node stands at the end again."""
    edges = {node_id: set(before) for node_id, before in sources.items()}
    while True:
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1]
            yield cycle
            edges[cycle[1]].discard(cycle[0])
        else:
            return


class _NodeCheck:
    """The inputs of one node: `problems`, and `inputs` with every constant read as its declared type."""

    def __init__(
        self, node_id: str, prompt: Prompt, definition: Definition, definitions: Mapping[str, Definition]
    ) -> None:
        self.node_id = node_id
        self.prompt = prompt
        self.definition = definition
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
        for name, entry in definition.inputs.items():
            if name not in self.inputs:
                if entry.required:
                    self._report("required_input_missing", name, expectation(entry), "nothing")
            elif not is_list(self.inputs[name]):
                self._check_constant(entry)
        self._run_own_check()

    def _report(self, kind: str, name: str | None, expected: str, found: str, detail: str = "") -> None:
        self.problems.append(Problem(kind, expected, found, detail=detail, **locate(self.prompt, self.node_id, name)))

    def _check_link(self, name: str, value: list[Any]) -> None:
        link = link_of(value)
        entry = self.definition.inputs.get(name)
        if link is None:
            self._report("bad_linked_input", name, "a link [node id as a text, output slot]", show(value))
        elif link[0] not in self.prompt:
            choices = list_choices(self.prompt, link[0])
            self._report("bad_linked_input", name, f"a link to a node of the workflow ({choices})", show(link[0]))
        elif entry is None and not _takes_any(self.definition):
            expected = f"one of the inputs {list_choices(self.definition.inputs, name)}"
            self._report("bad_linked_input", name, expected, "a link")
        elif source := self.definitions.get(self.prompt[link[0]]["class_type"]):  # else its class is the problem
            if not 0 <= link[1] < len(source.outputs):
                count, place = len(source.outputs), where(link[0], self.prompt[link[0]])
                expected = f"an output slot from 0 to {count - 1}" if count else "a node with outputs"
                self._report("bad_linked_input", name, expected, f"slot {link[1]} of {place}")
            else:
                self.received[name] = source.outputs[link[1]]
                if entry and "input_types" not in self.own_names and not _connects(self.received[name], entry.declared):
                    found = f"{_type_name(self.received[name])} from {where(link[0], self.prompt[link[0]])}"
                    self._report("return_type_mismatch", name, _type_name(entry.declared), found)

    def _check_constant(self, entry: Input) -> None:
        value = constant_of(self.inputs[entry.name])
        checks_itself = entry.name in self.own_names or bool(self.own_check and self.own_check.varkw)
        try:
            read = read_constant(entry, value)
            if not checks_itself:
                check_range(entry, read)
        except Unfit as unfit:
            self._report(unfit.kind, entry.name, unfit.expected, show(value))
        else:
            self.inputs[entry.name] = read if read is not value else self.inputs[entry.name]

    def _run_own_check(self) -> None:
        """VALIDATE_INPUTS gets what its signature names, a link as None; True means fine, a text says what is wrong."""
        if self.own_check is None:
            return
        takes_all = self.own_check.varkw is not None
        named = {name for name in self.definition.inputs if takes_all or name in self.own_names}
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
