"""The metadata entry `cascade`, in which a file says itself what it holds: any kind, at any width.

{"kind", "family", "config": {...}, "target", "x0_clamp", "vocabulary"}; all but kind and config may be left out.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, cast

from ..errors import CascadeError
from ..models.config import PRESETS
from ..models.handle import Target
from ..reading import parse_json
from .fields import fit

METADATA_KEY = "cascade"
PUBLISHED_FAMILY = "stable-cascade"
SHAPELESS = {"dropout", "eos_token_id", "scale"}


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
        entry: Any = parse_json(text)
        if not isinstance(entry, dict):
            raise ValueError("expected a JSON object")
        entry = cast(dict[str, Any], entry)
        kind = entry["kind"]
        if kind not in PRESETS:
            raise ValueError(f"kind: expected one of {', '.join(PRESETS)}, found {kind!r:.80}")
        cls = cast(type[Any], type(next(iter(PRESETS[kind].values()))))
        return fit(Entry, entry | {"config": fit(cls, entry["config"], "config.")}, strict=False)
    except json.JSONDecodeError as error:
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
