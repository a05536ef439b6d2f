"""JSON objects as frozen dataclasses, every value checked against the field's declared type.

A validator of our own, since a message is one sentence with the field's name, what was expected and what was found; and
since JSON has no tuples, and whole numbers may stand for floats, but texts and booleans for no numbers.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Fields = TypeVar("Fields")


def fit(cls: type[Fields], values: Mapping[str, Any], prefix: str = "", strict: bool = True) -> Fields:
    """The dataclass `cls` with these values; fields that are not among them keep their defaults.

    prefix: stands before a field's name in messages. strict: False leaves out names that are no fields. Raises
    ValueError for an unknown name or a value of another type, and TypeError where a field without a default is missing
    or `values` is no JSON object.
    """
    if not isinstance(cast(Any, values), Mapping):
        raise TypeError(f"expected a JSON object, found {values!r:.80}")
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown and strict:
        raise ValueError(f"{prefix}{', '.join(unknown)} is no field of {cls.__name__}")
    known = {name: value for name, value in values.items() if name in hints}
    return cls(**{name: _fitted(value, hints[name], prefix + name, strict) for name, value in known.items()})


def _fitted(value: Any, hint: Any, name: str, strict: bool) -> Any:
    """A JSON value as the declared type."""
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _fitted(value, hint, name, strict)
    if get_origin(hint) is Literal:
        if value not in arguments:
            raise ValueError(f"{name}: expected one of {', '.join(arguments)}, found {value!r:.80}")
        return value
    if get_origin(hint) is tuple and isinstance(value, list):
        items = cast(list[Any], value)
        each = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
        if len(each) == len(items):
            return tuple(_fitted(item, one, name, strict) for item, one in zip(items, each, strict=True))
    elif is_dataclass(hint) and isinstance(value, dict):
        return fit(cast(type[Any], hint), cast(dict[str, Any], value), f"{name}.", strict)
    elif hint is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    elif hint is Any or (isinstance(hint, type) and type(value) is hint):
        return value
    raise ValueError(f"{name}: expected {getattr(hint, '__name__', hint)}, found {value!r:.80}")
