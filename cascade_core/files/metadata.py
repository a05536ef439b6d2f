"""The metadata entry `cascade`, in which a file says itself what it holds: any kind, at any width.

{"kind", "family", "config": {...}, "target", "x0_clamp", "vocabulary"}; all but kind and config may be left out.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ..errors import CascadeError
from ..models.config import PRESETS
from ..models.handle import Target

METADATA_KEY = "cascade"
PUBLISHED_FAMILY = "stable-cascade"
TARGETS: tuple[Target, ...] = ("epsilon", "v")
SHAPELESS = {"dropout", "eos_token_id", "scale"}
Fields = TypeVar("Fields")


@dataclass(frozen=True)
class Entry:
    kind: str
    config: Any  # the kind's dataclass of models/config.py
    family: str = PUBLISHED_FAMILY
    target: Target = "epsilon"
    x0_clamp: float | None = None
    vocabulary: tuple[str, ...] | None = None  # a text encoder's own words


def read_entry(text: str, file: str) -> Entry:
    """The entry as a value; raises CascadeError for one that does not say what a file is."""
    try:
        entry: Any = json.loads(text)
        if not isinstance(entry, dict):
            raise ValueError("expected a JSON object")
        entry = cast(dict[str, Any], entry)
        kind = entry["kind"]
        if kind not in PRESETS:
            raise ValueError(f"kind: expected one of {', '.join(PRESETS)}, found {kind!r:.80}")
        cls = cast(type[Any], type(next(iter(PRESETS[kind].values()))))
        config = fit(cls, entry["config"], "config.")
        target = entry.get("target", "epsilon")
        if target not in TARGETS:
            raise ValueError(f"target: expected one of {', '.join(TARGETS)}, found {target!r:.80}")
        return Entry(
            kind,
            config,
            _fitted(entry.get("family", PUBLISHED_FAMILY), str, "family"),
            target,
            _fitted(entry.get("x0_clamp"), float | None, "x0_clamp"),
            _fitted(entry.get("vocabulary"), tuple[str, ...] | None, "vocabulary"),
        )
    except (json.JSONDecodeError, RecursionError) as error:
        raise CascadeError(f"{file}: the metadata entry `{METADATA_KEY}` cannot be used: it is no JSON") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else error
        raise CascadeError(f"{file}: the metadata entry `{METADATA_KEY}` cannot be used: {reason}") from error


def write_entry(entry: Entry) -> str:
    """The text that `read_entry` reads."""
    return json.dumps({name: value for name, value in asdict(entry).items() if value is not None})


def preset_of(kind: str, config: Any) -> str:
    """The name of the PRESETS[kind] with these tensors, or "custom": what shapes no tensor may differ."""
    shape = _shape_of(config)
    return next((name for name, known in PRESETS[kind].items() if _shape_of(known) == shape), "custom")


def _shape_of(config: Any) -> dict[str, Any]:
    """The fields that shape tensors; heads count where a level has attention."""
    fields = {name: value for name, value in asdict(config).items() if name not in SHAPELESS}
    if "level_config" in fields:
        heads = zip(fields["nhead"], fields["level_config"], strict=False)
        fields["nhead"] = [count for count, letters in heads if "A" in letters]
    return fields


def fit(cls: type[Fields], values: Mapping[str, Any], prefix: str = "") -> Fields:
    """A JSON object as a dataclass, every field checked against its declared type; a ValueError names the field."""
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{prefix}{', '.join(unknown)} is no field of {cls.__name__}")
    return cls(**{name: _fitted(value, hints[name], prefix + name) for name, value in values.items()})


def _fitted(value: Any, hint: Any, name: str) -> Any:
    """A JSON value as the declared type: lists become tuples, whole numbers may stand for floats."""
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _fitted(value, hint, name)
    if get_origin(hint) is tuple and isinstance(value, list):
        items = cast(list[Any], value)
        each = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
        if len(each) == len(items):
            return tuple(_fitted(item, one, name) for item, one in zip(items, each, strict=True))
    elif hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"{name}: expected {getattr(hint, '__name__', hint)}, found {value!r:.80}")
