"""Inputs that stand for others: what a choice of a dynamic combo brings, and a group that grows as it is used.

`format` with the choice "mp4" brings `format.codec`; the group `images` has `images.image0`, `images.image1`, ... Both
may stand in each other.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from .definition import DYNAMIC_COMBO, GROWING, MATCHING, Definition, Input
from .wording import is_list, is_object

_ORDINAL = re.compile(r"\d+$")
_MOST_GROWN = 100  # inputs of a group, the editor's own bound


def unfold(inputs: Iterable[Input], choose: Callable[[Input], Any], used: Collection[str]) -> Iterator[Input]:
    """The inputs that a node has, in their order.

    `choose` gives the value of a dynamic combo, and is asked after the combo itself has been given. `used` are the
    names that the node's file or prompt has: a group is as long as they need. What is not understood is given as it is
    declared.
    """
    for entry in inputs:
        if entry.type == GROWING and entry.is_understood:
            yield from unfold(_grown(entry, used), choose, used)
        elif entry.type == MATCHING:
            yield replace(entry, declared=_matched(entry))
        else:
            yield entry
            if entry.type == DYNAMIC_COMBO:
                yield from unfold(_brought(entry, choose(entry)), choose, used)


def unfolds(definition: Definition) -> bool:
    """Whether the inputs of such nodes differ from node to node."""
    return any(entry.type in (DYNAMIC_COMBO, GROWING) for entry in definition.inputs.values())


def inputs_of(definition: Definition, given: Mapping[str, Any]) -> Mapping[str, Input]:
    """The inputs of a node of a prompt, by name; `given` are its values."""
    if not any(entry.type in (DYNAMIC_COMBO, GROWING, MATCHING) for entry in definition.inputs.values()):
        return definition.inputs
    found = unfold(definition.inputs.values(), lambda entry: given.get(entry.name, entry.default), given.keys())
    return {entry.name: entry for entry in found}


def put(definition: Definition, given: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The values of a node of a prompt with one put in: what another choice of a dynamic combo brings comes with it."""
    values = {**given, name: value}
    entry = inputs_of(definition, given).get(name)
    if entry is None or entry.type != DYNAMIC_COMBO:
        return values
    entries, start = inputs_of(definition, values), f"{name}."
    values = {known: held for known, held in values.items() if not known.startswith(start) or known in entries}
    own = {e.name: e.default for e in entries.values() if e.name.startswith(start) and e.has_widget}
    return {**values, **{new: default for new, default in own.items() if new not in values}}


def _brought(combo: Input, choice: Any) -> Iterator[Input]:
    """The inputs that a choice of a dynamic combo brings; none for what is no choice."""
    for entry in combo.brings.get(choice, ()) if isinstance(choice, str) else ():
        yield replace(entry, name=f"{combo.name}.{entry.name}")


def _grown(group: Input, used: Collection[str]) -> Iterator[Input]:
    """The inputs of a group: those that it begins with, and those up to the last that is used."""
    template: Mapping[str, Any] = group.options["template"]
    names: Any = template.get("names")
    start = f"{group.name}."
    least = _whole(template.get("min"), 1)
    most = len(names) if is_list(names) else _whole(template.get("max"), _MOST_GROWN)
    needed = [_ordinal(name.removeprefix(start), names) + 1 for name in used if name.startswith(start)]
    entries = group.brings[""]
    for ordinal in range(min(most, max(least + 1, *needed, 1))):
        for entry in entries:
            stem = template.get("prefix", "") if len(entries) == 1 else entry.name
            name = names[ordinal] if is_list(names) else f"{stem}{ordinal}"
            yield replace(entry, name=f"{group.name}.{name}", required=entry.required and ordinal < least)


def _whole(value: Any, otherwise: int) -> int:
    return min(value, _MOST_GROWN) if isinstance(value, int) else otherwise


def _ordinal(name: str, names: Any) -> int:
    """The place of a name in its group, from 0; -1 for what does not belong to it."""
    if is_list(names):
        return names.index(name) if name in names else -1
    found = _ORDINAL.search(name)
    return int(found[0]) if found and len(found[0]) < 4 else -1


def _matched(entry: Input) -> str:
    template = entry.options.get("template")
    return str(template.get("allowed_types", "*")) if is_object(template) else "*"
