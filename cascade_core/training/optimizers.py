"""Optimisers by name; some need a package that not everybody has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import nn

from ..errors import CascadeError
from .plan import OPTIMIZERS

RATIO = "ratio"  # key of a group: its learning rate over the others'


def make_optimizers(
    module: nn.Module,
    name: str,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    faster: Mapping[str, float] | None = None,
) -> list[torch.optim.Optimizer]:
    """One for all that is trained, with weight decay for what has two dimensions or more.

    faster: parameters by name, and how many times the others' learning rate they have (RATIO in their group).
    By `muon` the blocks' matrices go to Muon (Jordan 2024), for dearer steps and fewer of them, the rest to AdamW; its
    steps are scaled to AdamW's, so that both take the same learning rate (Liu et al. 2025). CascadeError where a
    package is missing.
    """
    trained = [(key, p) for key, p in module.named_parameters() if p.requires_grad]
    matrices = [p for key, p in trained if name == "muon" and p.ndim == 2 and "_blocks." in key and "mapper" not in key]
    taken = {id(p) for p in matrices}
    others = [p for _, p in trained if id(p) not in taken]
    ratios = {id(module.get_parameter(parameter)): ratio for parameter, ratio in (faster or {}).items()}
    groups = [
        {"params": [p for p in others if p.ndim >= 2 and id(p) not in ratios], "weight_decay": weight_decay},
        {"params": [p for p in others if p.ndim < 2 and id(p) not in ratios], "weight_decay": 0.0},
        *({"params": [p], "weight_decay": 0.0, RATIO: ratios[id(p)]} for p in others if id(p) in ratios),
    ]
    optimizers = [_make(name, [group for group in groups if group["params"]], learning_rate, betas)]
    if matrices:
        optimizers.append(
            torch.optim.Muon(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return optimizers


def _make(
    name: str, groups: Sequence[dict[str, Any]], rate: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    if name in ("adamw", "muon"):
        return torch.optim.AdamW(groups, lr=rate, betas=betas)
    if name == "adafactor":
        return torch.optim.Adafactor(groups, lr=rate)
    if name == "adamw8bit":
        try:
            bitsandbytes: Any = import_module("bitsandbytes")
        except ImportError as error:
            raise CascadeError(
                "optimizer: adamw8bit needs bitsandbytes, which is not installed (pip install bitsandbytes): choose"
                " adamw, or adafactor, which keeps even less"
            ) from error
        return bitsandbytes.optim.AdamW8bit(groups, lr=rate, betas=betas)
    raise CascadeError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, found {name!r}")
