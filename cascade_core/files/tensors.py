"""Tensors out of files and into files, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from .dtypes import TYPES
from .header import Header, open_tensors
from .layouts import Shape, Source

AT_ONCE = 256 * 2**20  # bytes; a mapped file's pages count as this process's memory until it is closed


def read_pieces(header: Header, sources: Iterable[Source]) -> Iterator[list[Tensor]]:
    """The pieces of each source, in order, to be used before the next is asked for.

    The file is opened again every AT_ONCE bytes, so that what was read does not stay in memory.
    """
    waiting = list(sources)
    while waiting:
        with open_tensors(header) as get:
            size = 0
            while waiting and size < AT_ONCE:
                pieces = list(waiting.pop(0).pieces(get))
                size += sum(piece.nbytes for piece in pieces)
                yield pieces


def write_tensors(
    path: Path,
    specs: Mapping[str, tuple[str, Shape]],
    read: Callable[[Sequence[str]], Iterable[Sequence[Tensor]]],
    metadata: Mapping[str, str],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a safetensors file: the header from `specs` (name -> type's name, shape), then tensor after tensor.

    read: names, in the order of `specs` -> the pieces of each, from top to bottom; cast to the type of the spec.
    progress: is told how many bytes each tensor has. Raises OSError.
    """
    # Wide types first: then each tensor begins at a multiple of its type's size.
    order = sorted(specs, key=lambda name: -TYPES[specs[name][0]].itemsize)
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    starts: dict[str, int] = {}
    end = 0
    for name in order:
        dtype, shape = specs[name]
        starts[name], end = end, end + prod(shape) * TYPES[dtype].itemsize
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [starts[name], end]}
    raw = json.dumps(entries, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for name, pieces in zip(specs, read([*specs]), strict=True):
            file.seek(8 + len(raw) + starts[name])
            written = 0
            for piece in pieces:
                data = piece.detach().to("cpu", TYPES[specs[name][0]]).contiguous().flatten()
                written += file.write(data.view(torch.uint8).numpy().data)
            if progress:
                progress(written)
