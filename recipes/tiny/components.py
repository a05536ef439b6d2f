"""Connected components of a mask."""

from __future__ import annotations

import numpy as np


def components(mask: np.ndarray, smallest: int) -> list[np.ndarray]:
    """The 4-connected parts of a boolean mask (H, W) with at least ``smallest`` pixels, as masks, largest first.

    Parts that touch only by a bridge or tip up to two pixels wide count as separate.
    """
    # Labels are given to the mask's core, so that thin bridges part, and then grow back over what was cut off.
    labels = _grow(_label(_core(mask)), mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return [labels == label for label in np.argsort(-sizes, kind="stable") if sizes[label] >= smallest]


def dilate(mask: np.ndarray, steps: int) -> np.ndarray:
    """The mask widened by ``steps`` pixels in all eight directions."""
    padded = np.pad(mask, steps)
    height, width = mask.shape
    rows = np.zeros((height, width + 2 * steps), bool)
    for step in range(2 * steps + 1):
        rows |= padded[step : step + height]
    wide = np.zeros_like(mask)
    for step in range(2 * steps + 1):
        wide |= rows[:, step : step + width]
    return wide


def _core(mask: np.ndarray) -> np.ndarray:
    """The pixels whose eight neighbours belong to the mask too; the picture's edge does not count against them."""
    return ~dilate(~mask, 1) & mask


def _label(mask: np.ndarray) -> np.ndarray:
    """Numbers from 1 for the mask's 4-connected parts, 0 elsewhere: runs of pixels in rows are joined by union-find."""
    height = mask.shape[0]
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    firsts: list[int] = np.searchsorted(rows, list(range(height + 1))).tolist()
    run_starts, run_ends = starts.tolist(), ends.tolist()
    for row in range(1, height):
        above, here = firsts[row - 1], firsts[row]
        while above < firsts[row] and here < firsts[row + 1]:
            if run_starts[above] < run_ends[here] and run_starts[here] < run_ends[above]:
                parents[root(here)] = root(above)
            if run_ends[above] < run_ends[here]:
                above += 1
            else:
                here += 1
    roots = np.array([root(run) for run in range(len(parents))], np.int64)
    numbers = np.unique(roots, return_inverse=True)[1] + 1
    labels = np.zeros(mask.shape, np.int64)
    labels[mask] = np.repeat(numbers, ends - starts)
    return labels


def _grow(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The labels spread over two more pixels of the mask."""
    for _ in range(2):
        padded = np.pad(labels, 1)
        near = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]).max(axis=0)
        labels = np.where((labels == 0) & mask, near, labels)
    return labels
