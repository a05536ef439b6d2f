"""The header of one safetensors file, checked as strictly as safetensors does before it gives out a tensor.

The file is eight bytes with the header's length, the header (JSON: name -> dtype, shape, data_offsets, and the text
entries under `__metadata__`), then the tensors without gaps. Nothing behind the header is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import CascadeError
from ..reading import parse_json
from ..wording import printable, size_in_words
from .tensor_info import BITS, TensorInfo
from .wording import damaged

OFFICIAL_LONGEST = 100_000_000  # bytes of a header; safetensors' own limit
LONGEST_HEADER = 32 * 2**20  # bytes that are read; a published model's header has less than one million
MOST_TENSORS = 100_000
MOST_SIDES, LONGEST_SIDE = 64, 2**63 - 1  # of a shape; torch's own
LONGEST_NAME = 4096  # characters of a tensor's; those of latents are paths
METADATA = "__metadata__"


def begins_safetensors(start: bytes) -> bool:
    """Is a file with these first bytes a safetensors file, whole or not?"""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= OFFICIAL_LONGEST


def read_safetensors(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Tensors and metadata of the open `file` of `size` bytes; CascadeError if it is damaged or cut short."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if 8 + length > size:
        raise CascadeError(
            damaged(path.name, f"it has {size:,} bytes, of which its table of contents alone takes {8 + length:,}")
        )
    try:
        if length > LONGEST_HEADER:
            raise ValueError(f"it has {size_in_words(length)}, expected {size_in_words(LONGEST_HEADER)} at most")
        entries = _parse(file.read(length))
        metadata = _metadata(entries.pop(METADATA, {}))
        if len(entries) > MOST_TENSORS:
            raise ValueError(f"it has {len(entries):,} tensors, expected {MOST_TENSORS:,} at most")
        tensors = {name: _tensor(name, entry, path) for name, entry in entries.items()}
        end = 8 + length + _end_of_tensors(entries, tensors)
        starts = {name: 8 + length + entries[name]["data_offsets"][0] for name in tensors}
    except ValueError as error:
        raise CascadeError(damaged(path.name, f"its header is wrong: {error}")) from error
    if end != size:
        found = (
            f"it has {size:,} of {end:,} bytes, {100 * size // end} %"
            if end > size
            else f"it has {size - end:,} bytes too many"
        )
        raise CascadeError(damaged(path.name, found))
    return {name: replace(tensor, start=starts[name]) for name, tensor in tensors.items()}, metadata


def _parse(raw: bytes) -> dict[str, Any]:
    """The JSON object; a name that comes twice is refused, for nobody knows which one is meant."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name comes twice")
        "".join(found).encode("utf-8")  # half a surrogate pair is no name
        return found

    try:
        found = parse_json(raw.decode("utf-8"), unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON from character {error.pos:,} on") from error
    except UnicodeError as error:
        raise ValueError("it is no text") from error
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return cast(dict[str, Any], found)


def _metadata(entries: Any) -> dict[str, str]:
    if not isinstance(entries, dict) or not all(type(value) is str for value in cast(Any, entries).values()):
        raise ValueError(f"{METADATA} holds something other than texts")
    return cast(dict[str, str], entries)


def _tensor(name: str, entry: Any, path: Path) -> TensorInfo:
    if not isinstance(entry, dict) or not cast(Any, entry).keys() >= {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{printable(name)} has no type, shape or place")
    dtype, shape = cast(Any, entry["dtype"]), cast(Any, entry["shape"])
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"{printable(name)} has the unknown type {dtype!r:.20}")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"{printable(name)} is a name of {len(name):,} characters")
    if not _are_counts(shape) or len(shape) > MOST_SIDES or max(shape, default=0) > LONGEST_SIDE:
        raise ValueError(f"{printable(name)} has the shape {shape!r:.40}")
    return TensorInfo(dtype, tuple(shape), path)


def _end_of_tensors(entries: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> int:
    """The end of the last tensor, in bytes behind the header; each must begin where the one before it ends."""
    for name, entry in entries.items():
        if not _are_counts(entry["data_offsets"]) or len(entry["data_offsets"]) != 2:
            raise ValueError(f"{printable(name)} has the place {entry['data_offsets']!r:.40}")
    end = 0
    for name in sorted(entries, key=lambda name: entries[name]["data_offsets"]):
        start, stop = entries[name]["data_offsets"]
        bits = BITS[tensors[name].dtype] * prod(tensors[name].shape)
        if start != end or 8 * (stop - start) != bits:
            raise ValueError(
                f"{printable(name)} lies at {start!r:.20} to {stop!r:.20}, expected {end:,} to {end + bits // 8!r:.20}"
            )
        end = stop
    return end


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in cast(list[Any], values))
