"""Optimisers by name; some need a package that not everybody has."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import nn

from ..errors import CascadeError
from ..libraries import install_command
from .plan import OPTIMIZERS

RATIO = "ratio"  # key of a group: its learning rate over the others'
RATES = ("lr", RATIO)  # keys of a group that the loop sets
INSTEAD = "choose adamw"
PACKAGES = {
    "adamw8bit": ("bitsandbytes", "choose adamw, or adafactor, which keeps even less"),
    "prodigy": ("prodigyopt", INSTEAD),
    "schedule_free": ("schedulefree", INSTEAD),
}


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
        return package_of(name).optim.AdamW8bit(groups, lr=rate, betas=betas)
    if name == "prodigy":
        # Its estimate must not take a warm-up for small steps that were enough (`safeguard_warmup`).
        return package_of(name).Prodigy(groups, lr=rate, betas=betas, safeguard_warmup=True)
    if name == "schedule_free":
        return package_of(name).AdamWScheduleFree(groups, lr=rate, betas=betas)
    raise CascadeError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, found {name!r}")


def package_of(name: str) -> Any:
    """The package of an optimiser, None for torch's own; CascadeError where it is not installed."""
    if name not in PACKAGES:
        return None
    package, instead = PACKAGES[name]
    try:
        return import_module(package)
    except ImportError as error:
        raise CascadeError(
            f"optimizer: {name} needs {package}, which is not installed ({install_command(package)}): {instead}"
        ) from error


def learn(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Optimisers that average weights have two ways of keeping them: this is the one in which steps are taken."""
    for optimizer in _averaging(optimizers):
        optimizer.train()


@contextmanager
def shown(module: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Generator[None]:
    """The module has the weights that the optimisers mean; afterwards those that they learn by, to the last bit."""
    averaging = _averaging(optimizers)
    own = [parameter.detach().clone() for parameter in module.parameters()] if averaging else []
    for optimizer in averaging:
        optimizer.eval()
    try:
        yield
    finally:
        learn(optimizers)
        with torch.no_grad():
            for parameter, before in zip(module.parameters(), own, strict=bool(own)):
                parameter.copy_(before)  # what the way there and back has rounded


def _averaging(optimizers: Sequence[torch.optim.Optimizer]) -> list[Any]:
    return [optimizer for optimizer in optimizers if hasattr(optimizer, "eval")]


def numbers_of(optimizer: torch.optim.Optimizer) -> list[dict[str, bool | int | float]]:
    """The plain numbers of each group that are other than they began, such as Prodigy's estimate; without the rates."""
    return [
        {
            name: value
            for name, value in group.items()
            if isinstance(value, bool | int | float) and name not in RATES and value != optimizer.defaults.get(name)
        }
        for group in optimizer.param_groups
    ]
