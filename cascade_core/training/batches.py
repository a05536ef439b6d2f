"""Which pictures a step learns from: a function of the seed and the step alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


class Batches:
    """Batches of equal size, of one bucket each; in an epoch each picture is seen once, in an order of its own.

    A bucket's last batch is filled up from the front of its own order.
    """

    def __init__(self, buckets: Sequence[Hashable], size: int, seed: int) -> None:
        """buckets: of each picture."""
        groups: dict[Hashable, list[int]] = {}
        for index, bucket in enumerate(buckets):
            groups.setdefault(bucket, []).append(index)
        self._groups = list(groups.values())
        self._size, self._seed = size, seed
        self.per_epoch = sum(-(-len(group) // size) for group in self._groups)
        self._known: tuple[int, list[list[int]]] = (-1, [])

    def __getitem__(self, number: int) -> list[int]:
        """Indices of the pictures in batch 0, 1, ..."""
        epoch, place = divmod(number, self.per_epoch)
        if self._known[0] != epoch:
            self._known = epoch, self._epoch(epoch)
        return self._known[1][place]

    def _epoch(self, epoch: int) -> list[list[int]]:
        random = np.random.default_rng((self._seed, epoch, 1))
        batches: list[list[int]] = []
        for group in self._groups:
            order = [group[i] for i in random.permutation(len(group))]
            starts = range(0, len(order), self._size)
            batches += [[order[(start + i) % len(order)] for i in range(self._size)] for start in starts]
        return [batches[i] for i in random.permutation(len(batches))]
