"""A LoRA on a network: which change belongs to which weight, as branches, and an account of what found no place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CascadeError
from ..kinds import KINDS
from ..models.adapters import SMALLEST_LENGTH, Branch, Dense, adaptable, merged
from ..models.handle import Handle
from ..models.linear import Weight
from ..wording import first_of
from .changes import Change
from .lora import Lora
from .names import Place, changeable, find, is_of_text, meant_for, places
from .order import OFFICIAL, official_order, possible_orders


class AmbiguousNumbersError(CascadeError):
    """Several sets of weights have the shapes of an official file's numbers."""


@dataclass(frozen=True)
class LoraReport:
    """The fate of a file's changes, by the file's own names."""

    matched: tuple[str, ...]
    unused: tuple[str, ...]  # changes of the text encoder where a stage is asked, and the other way round
    unmatched: tuple[str, ...]  # changes of no weight here, or of no kind that is read
    elsewhere: tuple[str, ...] = ()  # changes of the other stage, in a file that is for both

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} matched"]
        parts += [f"{len(self.unused)} for another part ({first_of(self.unused)})"] if self.unused else []
        parts += [f"{len(self.elsewhere)} for the other stage"] if self.elsewhere else []
        parts += [f"{len(self.unmatched)} unmatched ({first_of(self.unmatched)})"] if self.unmatched else []
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Fitted:
    branches: Mapping[str, list[Branch]]  # by weight, or bias, or other parameter
    report: LoraReport


def fit(lora: Lora, handle: Handle, strength: float = 1.0) -> Fitted:
    """The LoRA's branches for the handle's network, times `strength`.

    Raises CascadeError where a change has a place but not its shape, as for a network of another size. That nothing at
    all has a place is the caller's to judge: see the report.
    """
    weights = changeable(handle.module)
    found = place(lora, handle)
    branches: dict[str, list[Branch]] = {}
    for name, (weight, rows) in found.items():
        change, tensor = lora.changes[name], weights[weight]
        if not fits(change, tensor, rows):
            has = " x ".join(map(str, change.shape))
            wanted = " x ".join(map(str, _shape(tensor, rows)))
            raise CascadeError(
                f"LoRA {lora.name} was trained for another model: {name} changes a weight of {has}, but {weight} of"
                f" {KINDS[handle.kind].name} {handle.name} has {wanted}: choose the model that it was trained on"
            )
        branches.setdefault(weight, []).append(branch_of(change, tensor, rows, strength, handle.dtype))
    meant, of_text = meant_for(handle.kind, lora.changes), handle.kind == "text_encoder"
    elsewhere = [name for name in lora.changes if name not in set(meant) and not is_of_text(name)]
    left = [name for name in lora.changes if name not in found and name not in set(elsewhere)]
    unused = [name for name in left if lora.numbered or is_of_text(name) != of_text]
    unmatched = [name for name in left if name not in set(unused)]
    report = LoraReport(tuple(found), tuple(unused), (*unmatched, *lora.others), tuple(elsewhere))
    return Fitted(branches, report)


def place(lora: Lora, handle: Handle) -> dict[str, Place]:
    """The place in this model of each of the LoRA's changes, by the file's names; without those of other models."""
    if lora.numbered:
        return _numbered(lora, handle)
    known = places(handle.kind, handle.module)
    asked = ((name, find(handle.kind, known, name)) for name in meant_for(handle.kind, lora.changes))
    return {name: place for name, place in asked if place is not None}


def _numbered(lora: Lora, handle: Handle) -> dict[str, Place]:
    """The weights that an official file's numbers mean: by the filters that are told, else by all that may be meant."""
    if handle.kind != "stage_c":
        return {}
    weights = adaptable(handle.module)
    numbers = [str(i) for i in range(len(lora.changes))]
    if lora.filters is None:
        tried = possible_orders(handle.module, len(numbers))
    else:
        tried = iter([(lora.filters, official_order(handle.module, lora.filters))])
    found = {
        filters: order
        for filters, order in tried
        if len(order) == len(numbers)
        and all(
            n in lora.changes and fits(lora.changes[n], weights[w], None) for n, w in zip(numbers, order, strict=True)
        )
    }
    if len(found) > 1:
        sets = [f"{' and '.join(filters)!r} ({order[0]}, ...)" for filters, order in found.items()]
        raise AmbiguousNumbersError(
            f"LoRA {lora.name} numbers {len(numbers)} weights and does not tell which; {len(sets)} sets of weights of"
            f" {handle.name} have their shapes: {first_of(sets)}: write the `module_filters` of its training's"
            " configuration into `filters`"
        )
    for order in found.values():
        return {number: (weight, None) for number, weight in zip(numbers, order, strict=True)}
    told, filters = lora.filters is not None, lora.filters or OFFICIAL
    usual = official_order(handle.module, filters)
    out, inner = next(iter(lora.changes.values())).shape[:2]
    first = f", the first of {' x '.join(map(str, weights[usual[0]].shape))}" if usual else ""
    raise CascadeError(
        f"LoRA {lora.name} numbers {len(numbers)} weights (the first of {out} x {inner}), which are"
        f" {'not those' if told else 'no set'} of {KINDS[handle.kind].name} {handle.name}: the filters"
        f" {' and '.join(map(repr, filters))} choose {len(usual)} there{first}: choose the Stage C that the LoRA was"
        f" trained on{', and the `module_filters` of its training' if told else ''}"
    )


def fits(change: Change, weight: Weight, rows: tuple[int, int] | None) -> bool:
    """Has the change the shape of the weight, or of these rows of it?"""
    return change.fits(_shape(weight, rows))


def _shape(weight: Weight, rows: tuple[int, int] | None) -> tuple[int, ...]:
    """The shape of the weight, or of these rows of it."""
    return (weight.shape[0] if rows is None else rows[1] - rows[0], *weight.shape[1:])


def branch_of(
    change: Change, weight: Weight, rows: tuple[int, int] | None, strength: float, dtype: torch.dtype
) -> Branch:
    """The branch for a change of `weight`, or of these rows of it, times `strength`."""
    part = weight if rows is None else weight[slice(*rows)]
    if change.magnitude is None:
        return change.branch(part, strength, dtype, rows)
    return Dense((strength * dora(change, part)).to(dtype), rows)


def dora(change: Change, weight: Weight) -> Tensor:
    """The change by DoRA of a weight (out, in[, height, width]), in float32.

    magnitude * (W + D) / |W + D| - W, with the length of each row, or of each column (Liu et al. 2024, eq. 5).
    """
    assert change.magnitude is not None
    before = weight.float()
    changed = merged(before, [change.branch(before, 1.0, torch.float32, None)])
    by_row = change.magnitude.shape[0] == weight.shape[0]
    axes = tuple(range(1, weight.ndim)) if by_row else (0, *range(2, weight.ndim))
    length = changed.square().sum(axes, keepdim=True).sqrt().clamp_min(SMALLEST_LENGTH)
    wanted = change.magnitude.to(before.device).reshape(length.shape)
    return wanted * changed / length - before
