"""The state of a training run in one safetensors file: weights, their average, the optimiser, the step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]  (half typed)
from torch import Tensor, nn


def save_state(
    path: Path, step: int, module: nn.Module, averaged: dict[str, Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Write the state after `step` steps, under a temporary name first."""
    tensors = {f"weights.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"averaged.{name}": tensor for name, tensor in averaged.items()}
    for number, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{index}.{name}": tensor for name, tensor in entries.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    contiguous = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(contiguous, temporary, metadata={"step": str(step)})
    os.replace(temporary, path)


def load_state(
    path: Path, module: nn.Module, averaged: dict[str, Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> int:
    """Fill module, average and optimiser from `path`; returns the number of steps done."""
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    weights: dict[str, Tensor] = {}
    with cast(Any, safe_open)(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        for key in file.keys():  # noqa: SIM118 (a safetensors file is no dict)
            part, name = key.split(".", 1)
            if part == "weights":
                weights[name] = file.get_tensor(key)
            elif part == "averaged":
                averaged[name].copy_(file.get_tensor(key))
            else:
                number, index, entry = name.split(".", 2)
                states[int(number)].setdefault(int(index), {})[entry] = file.get_tensor(key)
    module.load_state_dict(weights)
    for optimizer, entries in zip(optimizers, states, strict=True):
        groups: Any = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": entries, "param_groups": groups})
    return step
