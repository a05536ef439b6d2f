"""A LoRA's file in another dialect. Which network its names and shapes mean is found out; no weights are needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from ..errors import CascadeError
from ..files.header import Header
from ..files.load import build
from ..files.metadata import PUBLISHED_FAMILY
from ..files.model_part import Part
from ..files.shards import SAFETENSORS
from ..memory import StayPut
from ..models.config import PRESETS
from ..models.handle import Handle
from .fit import AmbiguousNumbersError, fits, place
from .lora import PATHS, Lora, with_filters
from .names import changeable
from .read import read_lora
from .write import save_lora


def convert_lora(
    source: Path, target: Path, dialect: str, dtype: str = "float32", overwrite: bool = False, filters: str = ""
) -> None:
    """Write the LoRA in `source`, of whatever dialect, to `target`; see `save_lora`, and `with_filters` for `filters`.

    Raises CascadeError where no known network has its weights, and where the dialect has no place for it.
    """
    if target.suffix not in SAFETENSORS:
        raise CascadeError(f"{target}: expected a file name that ends in {SAFETENSORS[0]}; no loader finds others")
    if target.exists() and not overwrite:
        raise CascadeError(f"{target} exists: name another target, or say that it may be replaced")
    lora = with_filters(read_lora(source), filters)
    handles = find_networks(lora)
    if not handles:
        known = ", ".join(preset for kind in PATHS for preset in PRESETS[kind])
        raise CascadeError(
            f"{source.name} fits no network that is known ({known}): its names or sizes are another model's"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    save_lora(target, lora, handles, dialect=dialect, dtype=dtype)


def find_networks(lora: Lora) -> list[Handle]:
    """For each kind the network, without values, in which most of the LoRA has its place and shape."""
    found: list[Handle] = []
    for kind in PATHS:
        counted = [(_count(lora, handle), handle) for handle in _networks(kind)]
        best, handle = max(counted, key=lambda each: each[0])
        if best > 0:
            found.append(handle)
    # Names of Stage C and Stage B are alike: that of the other stage may have a few places, too. Of a file for both
    # each has its own.
    stages = [handle for handle in found if handle.kind != "text_encoder"]
    if len(stages) > 1 and not set(place(lora, stages[0])).isdisjoint(place(lora, stages[1])):
        found.remove(min(stages, key=lambda handle: _count(lora, handle)))
    return found


def _count(lora: Lora, handle: Handle) -> int:
    """The number of changes that have a place; 0 where one has the place but not the shape."""
    weights = changeable(handle.module)
    try:
        places = place(lora, handle)
    except AmbiguousNumbersError:
        raise
    except CascadeError:
        return 0
    sound = all(fits(lora.changes[name], weights[weight], rows) for name, (weight, rows) in places.items())
    return len(places) if sound else 0


def _networks(kind: str) -> Iterator[Handle]:
    header = Header(Path(), {}, {})
    for preset, config in PRESETS[kind].items():
        module = build(Part(header, kind, preset, config), preset)
        family = "tiny" if preset == "tiny" else PUBLISHED_FAMILY
        yield Handle(module, kind, preset, family, config, "epsilon", None, torch.float32, StayPut())
