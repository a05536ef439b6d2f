"""The plan of a run: which nodes, in which order, and which results are there already.

The rules are ComfyUI's: nodes with equal signatures are computed once.
"""

import json
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from graphlib import TopologicalSorter
from itertools import count
from typing import Any

from .calls import Result, Values, call, gather_arguments, split_calls
from .definition import Classes, Definition, define_all
from .prompt import Prompt, constant_of, link_of, reachable, sources_of
from .wording import title_of, where

Around = Callable[[str], AbstractContextManager[Any]]  # entered with the node's id around each call of its code


class NodeFailure(Exception):
    """A node raised `error`."""

    def __init__(self, node_id: str, node: Mapping[str, Any], error: Exception) -> None:
        told = isinstance(error, ValueError | OSError)
        text = str(error) if told else f"{type(error).__name__}: {error}".removesuffix(": ")
        super().__init__(f"{where(node_id, node)} failed: {text or type(error).__name__}")
        self.node = node_id
        self.title = title_of(node)
        self.class_type: str = node["class_type"]
        self.error = error


class Cache:
    """Computed results by signature; a run that is given one computes only what changed since the last.

    A signature is the node's class, what its IS_CHANGED says, its constants, and the signatures of what
    it is linked to; equal ones get one number. Like the host's, it keeps what the latest prompt needs.
    """

    def __init__(self) -> None:
        self.results: dict[int, Result] = {}
        self._instances: dict[tuple[str, type[Any]], Any] = {}
        self._numbers: dict[Hashable, int] = {}
        self._next = count()

    def number(self, signature: Hashable) -> int:
        if signature not in self._numbers:
            self._numbers[signature] = next(self._next)
        return self._numbers[signature]

    def instance(self, key: str, node_class: type[Any]) -> Any:
        """The one instance of a node, by id and class; it lives as long as the node stays in the prompts."""
        if (key, node_class) not in self._instances:
            self._instances[key, node_class] = node_class()
        return self._instances[key, node_class]

    def keep_only(self, numbers: Collection[int], nodes: Collection[str]) -> None:
        self._numbers = {key: number for key, number in self._numbers.items() if number in numbers}
        self.results = {number: result for number, result in self.results.items() if number in numbers}
        self._instances = {key: instance for key, instance in self._instances.items() if key[0] in nodes}


class Plan:
    """The nodes that `outputs` (default: every output node) need, in the order of the links.

    `prompt` must have been validated. Without a `cache` a value is dropped after its last reader.
    """

    def __init__(
        self,
        prompt: Prompt,
        classes: Classes,
        *,
        outputs: Sequence[str] | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.prompt = prompt
        self.definitions = define_all((node["class_type"] for node in prompt.values()), classes)
        self.hidden = {"PROMPT": prompt, "EXTRA_PNGINFO": extra_pnginfo or {}}
        self.sources = {key: sources_of(node) for key, node in prompt.items()}
        self.reuses_values = cache is not None
        self.cache = cache if cache is not None else Cache()
        self.rehearsed: dict[int, float] = {}  # seconds that the rehearsal took for final results, by signature
        if outputs is None:
            outputs = [key for key in prompt if self.definition(key).is_output]
        self.outputs = tuple(outputs)
        self.order = self._order()
        self.signatures: dict[str, int] = {}
        for key in self.order:
            signature = _signature(key, prompt[key], self.definition(key), self.signatures, self.hidden)
            self.signatures[key] = self.cache.number(signature)
        self._forget()

    def definition(self, key: str) -> Definition:
        return self.definitions[self.prompt[key]["class_type"]]

    def drop(self, nodes: Collection[str]) -> None:
        """Give up the outputs that need any of these nodes."""
        self.outputs = tuple(key for key in self.outputs if reachable([key], self.sources).isdisjoint(nodes))
        self.order = self._order()
        self._forget()

    def forget_written(self) -> None:
        """Have outputs write and show again although their inputs are as before; not those that hand on what they made.

        Of the latter those do that write what is carried beside the inputs.
        """
        for key in self.outputs:
            definition = self.definition(key)
            if not definition.outputs or "EXTRA_PNGINFO" in definition.hidden.values():
                self.cache.results.pop(self.signatures[key], None)

    def call(self, key: str, method: str, values: Mapping[int, Values], around: Around) -> Result:
        """A node's method with what its sources have among `values`, by signature. Raises NodeFailure."""
        definition = self.definition(key)
        linked = {source: values[self.signatures[source]] for source in self.sources[key]}
        try:
            with around(key):
                instance = self.cache.instance(key, definition.node_class)
                arguments = gather_arguments(key, self.prompt[key], definition, linked, self.hidden)
                return call(instance, method, definition, arguments)
        except Exception as error:
            raise NodeFailure(key, self.prompt[key], error) from error

    def _order(self) -> list[str]:
        needed = reachable(self.outputs, self.sources)
        return _sort({key: self.sources[key] for key in self.prompt if key in needed}, set(self.outputs))

    def _forget(self) -> None:
        self.cache.keep_only({self.signatures[key] for key in self.order}, self.prompt.keys())


def _sort(sources: Mapping[str, set[str]], outputs: Collection[str]) -> list[str]:
    """Topological; an output as soon as it can run, else what became ready last, so that values live shortly."""
    position = {key: index for index, key in enumerate(sources)}
    sorter = TopologicalSorter(sources)
    sorter.prepare()
    order: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready += sorted(sorter.get_ready(), key=position.__getitem__, reverse=True)
        chosen = next((key for key in reversed(ready) if key in outputs), ready[-1])
        ready.remove(chosen)
        order.append(chosen)
        sorter.done(chosen)
    return order


def _signature(
    key: str, node: Mapping[str, Any], definition: Definition, signatures: Mapping[str, int], hidden: Mapping[str, Any]
) -> Hashable:
    parts: list[Hashable] = [definition.node_class]
    for name, value in sorted(node["inputs"].items()):
        if link := link_of(value):
            parts.append((name, signatures[link[0]], link[1]))
        elif name in definition.inputs:
            parts.append((name, _freeze(constant_of(value))))
    if "UNIQUE_ID" in definition.hidden.values() or getattr(definition.node_class, "NOT_IDEMPOTENT", False):
        parts.append(key)
    is_changed = getattr(definition.node_class, "IS_CHANGED", None)
    if is_changed is not None:
        nothing = dict.fromkeys(sources_of(node))
        arguments = gather_arguments(key, node, definition, nothing, hidden)
        try:
            calls = split_calls(arguments, definition.takes_lists)
            parts.append(_freeze([is_changed(**keywords) for keywords in calls]))
        except Exception:  # such a node counts as changed, as in the host
            parts.append(object())
    return tuple(parts)


def _freeze(value: Any) -> Hashable:
    """A value as what compares equal only to the same value; NaN and what JSON cannot write equal nothing."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, default=bytes.hex)
    except (TypeError, ValueError):
        return object()
