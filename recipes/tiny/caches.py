"""Tables of what is computed once of the training scenes: in files beside a CPU, in the memory of a GPU.

A table's row i is of scene i. In a file it is filled front to back, and continued where it stops; what networks make
has their weights' mark in its name.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

DRAWN_AT_ONCE = 256  # rows that a process draws before it takes more
COMPUTED_AT_ONCE = 512  # rows of a GPU


class Cache:
    """Rows computed once, in order, kept in a file; `filled` rows can be read."""

    def __init__(self, path: Path, rows: int, shape: tuple[int, ...], dtype: Any) -> None:
        self.path = path
        self.counter = path.with_suffix(".filled")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            open_memmap(path, mode="w+", dtype=dtype, shape=(rows, *shape)).flush()
        self.rows = open_memmap(path, mode="r+")

    @property
    def filled(self) -> int:
        return int(self.counter.read_text()) if self.counter.exists() else 0

    def fill(self, make: Callable[[range], np.ndarray], rows: int, batch: int = 64) -> None:
        """Compute what is missing of the first `rows` with `make(indices)`; can be stopped and continued."""
        for start in range(self.filled, rows, batch):
            indices = range(start, min(start + batch, rows))
            self.rows[indices.start : indices.stop] = make(indices)
            partial = self.counter.with_suffix(".partial")
            partial.write_text(str(indices.stop))
            partial.replace(self.counter)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self.rows[indices]


class Tables:
    """Tables by name, as tensors of the device that indices on that device can pick rows of."""

    def __init__(self, work: Path, device: torch.device) -> None:
        self.work, self.device = work, device
        self._host: dict[str, np.ndarray] = {}
        self._kept: dict[str, tuple[str, Tensor]] = {}

    def draw(self, makers: Mapping[str, Callable[[int], np.ndarray]], rows: int) -> None:
        """Make tables of `maker(index)` in memory at once, by as many processes as there are cores.

        They are forked from this one, which shall not have used its GPU yet.
        """
        tables: dict[str, np.ndarray] = {}
        for name, make in makers.items():
            example = make(0)
            shared = mmap.mmap(-1, rows * example.nbytes)
            tables[name] = np.frombuffer(shared, example.dtype).reshape(rows, *example.shape)
        context = multiprocessing.get_context("fork")
        taken = context.Value("q", 0)

        def work() -> None:
            while True:
                with taken.get_lock():
                    start = taken.value
                    taken.value += DRAWN_AT_ONCE
                if start >= rows:
                    return
                for index in range(start, min(start + DRAWN_AT_ONCE, rows)):
                    for name, make in makers.items():
                        tables[name][index] = make(index)

        processes = [context.Process(target=work) for _ in range(os.cpu_count() or 1)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError("the pictures could not be drawn: a process failed, see its message")
        self._host |= tables

    def drawn(self, name: str, rows: int, make: Callable[[int], np.ndarray]) -> Tensor:
        """A table of `make(index)`, arrays of one shape."""
        if name in self._kept:
            return self._kept[name][1]
        if name in self._host:
            table = torch.as_tensor(self._host.pop(name)).to(self.device)
        elif self.device.type == "cpu":
            example = make(0)
            cache = Cache(self.work / f"{name}.npy", rows, example.shape, example.dtype)
            cache.fill(lambda indices: np.stack([make(index) for index in indices]), rows)
            table = torch.as_tensor(cache.rows)
        else:
            table = torch.as_tensor(np.stack([make(index) for index in range(rows)])).to(self.device)
        self._kept[name] = "", table
        return table

    @torch.no_grad()
    def computed(self, name: str, mark: str, rows: int, make: Callable[[Tensor], Tensor], kept: torch.dtype) -> Tensor:
        """A table of what networks make of indices (B,), kept in this type; `mark`: of their weights."""
        if name in self._kept and self._kept[name][0] == mark:
            return self._kept[name][1]
        self._kept.pop(name, None)  # before the memory is needed again

        def rows_of(indices: range) -> Tensor:
            return make(torch.arange(indices.start, indices.stop, device=self.device)).to(kept)

        if self.device.type == "cpu":
            example = rows_of(range(1))
            cache = Cache(self.work / f"{name}-{mark}.npy", rows, tuple(example.shape[1:]), example.numpy().dtype)
            cache.fill(lambda indices: rows_of(indices).numpy(), rows, 32)
            table = torch.as_tensor(cache.rows)
        else:
            starts = range(0, rows, COMPUTED_AT_ONCE)
            table = torch.cat([rows_of(range(start, min(start + COMPUTED_AT_ONCE, rows))) for start in starts])
        self._kept[name] = mark, table
        return table
