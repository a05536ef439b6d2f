"""The order in which the official LoRA numbers weights: its files have no names.

N counts the weights that the trainer's filters chose, in the order of its generator's modules; within an attention the
output's weight comes before the fused rows of q, k and v (official code at 7a7d341, modules/lora.py and
train/train_c_lora.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from torch import nn

from ..models.adapters import adaptable

FIRST = ("clip_txt_mapper", "clip_txt_pooled_mapper", "clip_img_mapper", "embedding")  # made before the blocks there
OFFICIAL = (".attn",)
"""The filters of the official configurations."""


def official_order(module: nn.Module, filters: Sequence[str]) -> list[str]:
    """The names of the weights that these filters choose, in order: entry N is the file's number N.

    A filter chooses a module whose path contains it.
    """
    return _chosen(_all_in_order(module), filters)


def possible_orders(module: nn.Module, count: int) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Filters that choose `count` weights, and these weights in order; each set once, by its plainest filters.

    Tried are the official filters, with and without kv_mapper, no filter at all, every part of a module's path, and
    every word of such a part.
    """
    names = _all_in_order(module)
    paths = dict.fromkeys(name.rpartition(".")[0] for name in names)
    runs = dict.fromkeys(run for path in paths for run in _runs(path))
    words = dict.fromkeys(word for path in paths for part in path.split(".") for word in part.split("_"))
    seen: set[tuple[str, ...]] = set()
    for filters in (
        OFFICIAL,
        (*OFFICIAL, "kv_mapper"),
        ("",),
        *((run,) for run in sorted(runs, key=len)),
        *((word,) for word in words if word.isalpha()),
    ):
        order = _chosen(names, filters)
        if len(order) == count and tuple(order) not in seen:
            seen.add(tuple(order))
            yield filters, order


def _all_in_order(module: nn.Module) -> list[str]:
    names: list[str] = []
    for name in adaptable(module):
        if name.endswith(".attn.out_proj.weight"):  # here it follows the fused rows, there it comes before them
            names.insert(len(names) - 1, name)
        else:
            names.append(name)
    return sorted(
        names, key=lambda name: FIRST.index(name.split(".")[0]) if name.split(".")[0] in FIRST else len(FIRST)
    )


def _chosen(names: Sequence[str], filters: Sequence[str]) -> list[str]:
    return [name for name in names if any(part in name.rpartition(".")[0] for part in filters)]


def _runs(path: str) -> Iterator[str]:
    """Neighbours in a module's path, never numbers alone."""
    parts = path.split(".")
    runs = (".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1))
    return filter(re.compile("[a-z]").search, runs)
