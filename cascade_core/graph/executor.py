"""Run a validated prompt: every node that an output needs, once, in the order of the links.

The rules are ComfyUI's: identical nodes are computed once, values travel as lists, output nodes return
what to show. It knows no tensors: what surrounds a call (inference mode, progress) is the caller's
`around`.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import count
from typing import Any

from .definition import Definition, Registry, define_all
from .prompt import constant_of, link_of, reachable, sources_of
from .shapes import is_list, is_object, is_tuple
from .wording import show, title_of, where
from .workflow import Prompt

Arguments = dict[str, list[Any]]
Ui = dict[str, list[Any]]


@dataclass(frozen=True)
class Done:
    """One finished node: `seconds` in its own code, and what it shows (`ui`), old if it was `cached`."""

    node: str
    title: str
    class_type: str
    seconds: float
    cached: bool
    ui: Ui


class NodeFailure(Exception):
    """A node raised `error`."""

    def __init__(self, node_id: str, node: Mapping[str, Any], error: Exception) -> None:
        text = str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
        super().__init__(f"{where(node_id, node)} failed: {text or type(error).__name__}")
        self.node = node_id
        self.title = title_of(node)
        self.class_type: str = node["class_type"]
        self.error = error


@dataclass
class _Result:
    values: list[list[Any]]  # per output slot
    ui: Ui


class Cache:
    """What was computed, by signature: given to the next run, it computes only what changed since.

    A signature is the node's class, what its IS_CHANGED says, its constants, and the signatures of what
    it is linked to; equal ones get one number. Like the host's, it keeps what the latest prompt needs.
    """

    def __init__(self) -> None:
        self.results: dict[int, _Result] = {}
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


def run(
    prompt: Prompt,
    registry: Registry,
    *,
    outputs: Sequence[str] | None = None,
    extra_pnginfo: Mapping[str, Any] | None = None,
    cache: Cache | None = None,
    around: Callable[[str], AbstractContextManager[Any]] = nullcontext,
    finished: Callable[[Done], None] = lambda done: None,
) -> list[Done]:
    """Run the nodes that `outputs` (default: every output node) need.

    `prompt` must have been validated. `around(node id)` is entered around each node's own code;
    `finished` hears of each node. Without a `cache` a value is dropped after its last reader.
    Raises NodeFailure; KeyboardInterrupt passes through.
    """
    definitions = define_all((node["class_type"] for node in prompt.values()), registry)
    if outputs is None:
        outputs = [key for key, node in prompt.items() if definitions[node["class_type"]].is_output]
    sources = {key: sources_of(node) for key, node in prompt.items()}
    needed = reachable(outputs, sources)
    order = _order({key: sources[key] for key in prompt if key in needed}, set(outputs))
    results = cache if cache is not None else Cache()
    signatures: dict[str, int] = {}
    hidden = {"PROMPT": prompt, "EXTRA_PNGINFO": extra_pnginfo or {}}
    for key in order:
        definition = definitions[prompt[key]["class_type"]]
        signatures[key] = results.number(_signature(key, prompt[key], definition, signatures, hidden))
    results.keep_only(set(signatures.values()), prompt.keys())
    readers = Counter(signatures[source] for key in order for source in sources[key])

    def compute(key: str) -> _Result:
        definition = definitions[prompt[key]["class_type"]]
        linked = {source: results.results[signatures[source]].values for source in sources[key]}
        try:
            with around(key):
                instance = results.instance(key, definition.node_class)
                return _compute(instance, definition, _arguments(key, prompt[key], definition, linked, hidden))
        except Exception as error:
            raise NodeFailure(key, prompt[key], error) from error

    record: list[Done] = []
    for key in order:
        started = time.perf_counter()
        number = signatures[key]
        cached = number in results.results
        if not cached:
            results.results[number] = compute(key)
        readers.subtract(signatures[source] for source in sources[key])
        if cache is None:
            for used in {number, *(signatures[source] for source in sources[key])}:
                if not readers[used]:
                    results.results[used].values = []
        seconds = time.perf_counter() - started
        node, ui = prompt[key], results.results[number].ui
        record.append(Done(key, title_of(node), node["class_type"], seconds, cached, ui))
        finished(record[-1])
    return record


def _order(sources: Mapping[str, set[str]], outputs: Collection[str]) -> list[str]:
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
        arguments = _arguments(key, node, definition, nothing, hidden)
        try:
            parts.append(_freeze([is_changed(**call) for call in _calls(arguments, definition.takes_lists)]))
        except Exception:  # as in the host: who cannot tell has changed
            parts.append(object())
    return tuple(parts)


def _freeze(value: Any) -> Hashable:
    """A value as what compares equal only to the same value; NaN and what JSON cannot write equal nothing."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, default=bytes.hex)
    except (TypeError, ValueError):
        return object()


def _arguments(
    key: str,
    node: Mapping[str, Any],
    definition: Definition,
    linked: Mapping[str, list[list[Any]] | None],
    hidden: Mapping[str, Any],
) -> Arguments:
    """Every argument as the list of values that it takes one after another; None for a source without values."""
    arguments: Arguments = {}
    for name, value in node["inputs"].items():
        if link := link_of(value):
            values = linked[link[0]]
            arguments[name] = [None] if values is None else values[link[1]]
        elif name in definition.inputs:  # the host ignores constants that it does not know
            arguments[name] = [constant_of(value)]
    for name, kind in definition.hidden.items():
        arguments[name] = [key if kind == "UNIQUE_ID" else hidden[kind]]
    return arguments


def _calls(arguments: Arguments, takes_lists: bool) -> list[dict[str, Any]]:
    """The keyword arguments of each call: up to the longest list, shorter ones repeat their last value."""
    if takes_lists:
        return [dict(arguments)]
    for name, values in arguments.items():
        if not values:
            raise ValueError(f"input {show(name)}: expected at least one value, found an empty list")
    length = max((len(values) for values in arguments.values()), default=1)
    return [{name: v[min(i, len(v) - 1)] for name, v in arguments.items()} for i in range(length)]


def _compute(instance: Any, definition: Definition, arguments: Arguments) -> _Result:
    function = getattr(instance, definition.node_class.FUNCTION)
    slots = len(definition.outputs)
    as_list: Sequence[bool] = getattr(definition.node_class, "OUTPUT_IS_LIST", ()) or [False] * slots
    result = _Result([[] for _ in range(slots)], {})
    for call in _calls(arguments, definition.takes_lists):
        values, ui = _unpack(function(**call), slots)
        for gathered, value, several in zip(result.values, values, as_list, strict=True):
            if several and not is_list(value):
                raise TypeError(f"returned {type(value).__name__}, expected a list, as OUTPUT_IS_LIST says")
            gathered.extend(value if several else [value])
        for name, shown in ui.items():
            result.ui.setdefault(name, []).extend(shown)
    return result


def _unpack(returned: Any, slots: int) -> tuple[Iterable[Any], Mapping[str, Iterable[Any]]]:
    """A return value (a tuple, `{"ui": {...}, "result": (...)}`, None where there is no output) as outputs and ui."""
    ui: Mapping[str, Iterable[Any]] = {}
    values = returned
    if is_object(returned):
        if "expand" in returned:
            raise TypeError("expanding into other nodes is not supported outside ComfyUI's server")
        ui, values = returned.get("ui", {}), returned.get("result")
    if values is None and not slots:
        return (), ui
    if is_tuple(values) and len(values) == slots:
        return values, ui
    found = f"a tuple of {len(values)}" if is_tuple(values) else type(values).__name__
    raise TypeError(f"returned {found}, expected a tuple of {slots}")
