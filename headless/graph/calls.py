"""Calls of a node's method: arguments as lists, one call for each of their values, and the results gathered.

The rules are ComfyUI's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...cascade_core.errors import Withheld
from .definition import Definition
from .prompt import constant_of, link_of
from .unfolding import inputs_of
from .wording import is_list, is_object, is_tuple, show

Arguments = dict[str, list[Any]]
Ui = dict[str, list[Any]]
Values = list[list[Any]]  # per output slot


@dataclass
class Result:
    """A node's output values, and what it shows to people."""

    values: Values
    ui: Ui
    calls: int  # of its method; what takes something withheld is not called


def gather_arguments(
    key: str,
    node: Mapping[str, Any],
    definition: Definition,
    linked: Mapping[str, Values | None],
    hidden: Mapping[str, Any],
) -> Arguments:
    """Every argument as the list of values that it takes one after another; None for a source without values."""
    arguments: Arguments = {}
    known = inputs_of(definition, node["inputs"])
    for name, value in node["inputs"].items():
        if link := link_of(value):
            values = linked[link[0]]
            arguments[name] = [None] if values is None else values[link[1]]
        elif name in known:  # the host ignores constants that it does not know
            arguments[name] = [constant_of(value)]
    for name, kind in definition.hidden.items():
        arguments[name] = [key if kind == "UNIQUE_ID" else hidden[kind]]
    return arguments


def split_calls(arguments: Arguments, takes_lists: bool) -> list[dict[str, Any]]:
    """The keyword arguments of each call: up to the longest list, shorter ones repeat their last value."""
    if takes_lists:
        return [dict(arguments)]
    for name, values in arguments.items():
        if not values:
            raise ValueError(f"input {show(name)}: expected at least one value, found an empty list")
    length = max((len(values) for values in arguments.values()), default=1)
    return [{name: v[min(i, len(v) - 1)] for name, v in arguments.items()} for i in range(length)]


def call(instance: Any, method: str, definition: Definition, arguments: Arguments) -> Result:
    """Whatever the method raises passes through; TypeError for what is no result of such a node."""
    function = getattr(instance, method)
    slots = len(definition.outputs)
    as_list: Sequence[bool] = getattr(definition.node_class, "OUTPUT_IS_LIST", ()) or [False] * slots
    result = Result([[] for _ in range(slots)], {}, 0)
    for keywords in split_calls(arguments, definition.takes_lists):
        if withheld := _withheld(keywords, definition.takes_lists):
            for gathered in result.values:
                gathered.append(withheld)
            continue
        result.calls += 1
        values, ui = _unpack(function(**keywords), slots)
        for gathered, value, several in zip(result.values, values, as_list, strict=True):
            listed = value if several and not isinstance(value, Withheld) else [value]
            if not is_list(listed):
                raise TypeError(f"returned {type(value).__name__}, expected a list, as OUTPUT_IS_LIST says")
            gathered.extend(listed)
        for name, shown in ui.items():
            result.ui.setdefault(name, []).extend(shown)
    return result


def _withheld(keywords: dict[str, Any], takes_lists: bool) -> Withheld | None:
    """The first argument that is withheld."""
    given = (one for value in keywords.values() for one in (value if takes_lists else [value]))
    return next((one for one in given if isinstance(one, Withheld)), None)


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
