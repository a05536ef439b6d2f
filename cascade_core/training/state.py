"""The state of a training run in one safetensors file: weights, their average, the optimiser, the step.

A state says what it was made of, so that a run goes on only with what it began with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import CascadeError, is_out_of_memory
from ..files.save import save_tensors
from ..reading import open_file, parse_json
from ..wording import printable
from . import sharded
from .optimizers import numbers_of

Optimizers = Sequence[torch.optim.Optimizer]
Tensors = Mapping[str, Tensor]


def save_state(
    path: Path,
    step: int,
    module: nn.Module,
    averaged: Tensors,
    optimizers: Optimizers,
    origin: str = "",
    learned: Tensors | None = None,
) -> None:
    """Write the state after `step` steps; the old one stays until the new one is whole.

    origin: any text. learned: what the loss knows of the steps so far.
    """
    tensors = {f"weights.{name}": tensor for name, tensor in sharded.whole_state(module).items()}
    tensors |= {f"averaged.{name}": sharded.whole(tensor) for name, tensor in averaged.items()}
    tensors |= {f"learned.{name}": tensor for name, tensor in (learned or {}).items()}
    numbers: list[str] = []  # names of values that an optimiser holds as plain numbers
    for number, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            for name, value in entries.items():
                key = f"optimizer.{number}.{index}.{name}"
                tensors[key] = sharded.whole(value) if isinstance(value, Tensor) else torch.tensor(value)
                if not isinstance(value, Tensor):
                    numbers.append(key)
    if sharded.rank() > 0:
        return
    try:
        groups = json.dumps([numbers_of(optimizer) for optimizer in optimizers])
        metadata = {"step": str(step), "numbers": json.dumps(numbers), "groups": groups, "origin": origin}
        save_tensors(path, tensors, metadata)
    except CascadeError as error:
        before = f"the state of step {read_head(path).step} is kept" if path.exists() else "there was no state yet"
        raise CascadeError(
            f"The state after step {step} was not saved: {error}; {before}. Make room, and run the same again"
        ) from error


@dataclass(frozen=True)
class Head:
    """The head of a state: its step, its origin, the names of its plain numbers, and those of optimisers' groups."""

    step: int
    origin: str
    numbers: frozenset[str]
    groups: Any = None  # for each optimiser and group, numbers by name; None: of before these were kept


def read_head(path: Path) -> Head:
    """The head of a state, without reading a tensor; CascadeError for a file that is no state."""
    try:
        with open_file(path):  # a pipe would never end
            pass
        with cast(Any, safe_open)(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
        step, numbers = int(metadata["step"]), parse_json(metadata["numbers"])
        if step < 0 or not isinstance(numbers, list):
            raise ValueError("its step or its numbers are none")
        groups = parse_json(metadata["groups"]) if "groups" in metadata else None
        return Head(step, metadata.get("origin", ""), frozenset(map(str, cast(list[Any], numbers))), groups)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _unreadable(path, error) from error


def load_state(
    path: Path, module: nn.Module, averaged: Tensors, optimizers: Optimizers, learned: Tensors | None = None
) -> int:
    """Fill module, average, optimisers and what was learned beside from `path`; returns the number of steps done."""
    head = read_head(path)
    try:
        _fill(path, head, module, {"averaged": averaged, "learned": learned or {}}, optimizers)
    except CascadeError:
        raise
    except (OSError, SafetensorError, LookupError, ValueError, RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise _unreadable(path, error) from error
    return head.step


def _unreadable(path: Path, error: Exception) -> CascadeError:
    said = printable(str(error).partition("\n")[0])
    return CascadeError(
        f"{path} is no state of a training that can be read, or of another version of it ({said}): delete it to start"
        " over"
    )


def _fill(path: Path, head: Head, module: nn.Module, kept: Mapping[str, Tensors], optimizers: Optimizers) -> None:
    states: list[dict[int, dict[str, Any]]] = [{} for _ in optimizers]
    weights: dict[str, Tensor] = {}
    with cast(Any, safe_open)(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (a safetensors file is no dict)
            part, name = key.split(".", 1)
            value: Tensor = file.get_tensor(key)
            if part == "weights":
                weights[name] = value
            elif part in kept:
                kept[part][name].copy_(sharded.part_of(value, kept[part][name]))
            else:
                number, index, entry = name.split(".", 2)
                plain = value.item() if key in head.numbers else value
                states[int(number)].setdefault(int(index), {})[entry] = plain
    now = module.state_dict()
    module.load_state_dict({name: sharded.part_of(tensor, now[name]) for name, tensor in weights.items()})
    for number, (optimizer, entries) in enumerate(zip(optimizers, states, strict=True)):
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for index, own in entries.items():
            for name, value in own.items():
                if f"optimizer.{number}.{index}.{name}" not in head.numbers:
                    own[name] = sharded.part_of(value, parameters[index])
        groups: Any = optimizer.state_dict()["param_groups"]
        if head.groups is not None:
            for group, kept_numbers in zip(groups, head.groups[number], strict=True):
                group.update(kept_numbers)
        optimizer.load_state_dict({"state": entries, "param_groups": groups})
