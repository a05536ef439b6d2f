"""The training loop: a generator, so that logging, samples and stopping belong to the caller.

What happens in step n is a function of (weights after step n - 1, seed, n) alone: the loss gets a random generator
made from (seed, n). With the state saved by `state.py`, a stopped run goes on as if it had not been stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .state import load_state, save_state

Loss = Callable[[np.random.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class Plan:
    """How long and how fast: warm-up, a flat stretch, then a cosine to zero."""

    steps: int
    learning_rate: float
    warmup: int = 100
    flat: float = 0.3  # share of the steps before the cosine begins
    weight_decay: float = 0.01
    muon: bool = False  # the blocks' matrices by Muon (Jordan 2024) instead of AdamW: dearer steps, fewer of them
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..."""
        progress = max(0.0, (step / self.steps - self.flat) / (1 - self.flat))
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * cosine


@dataclass(frozen=True)
class Progress:
    """What one step did."""

    step: int
    losses: dict[str, float]
    rate: float


class Averaged:
    """Exponential moving average of the weights (buffers are copied); its horizon grows with the steps done."""

    def __init__(self, module: nn.Module) -> None:
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int, decay: float) -> None:
        decay = min(decay, (1 + step) / (10 + step))
        parameters = dict(module.named_parameters())
        for name, tensor in module.state_dict().items():
            if name in parameters:
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)


def make_optimizers(module: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """AdamW, with weight decay for what has two dimensions or more; with `plan.muon`, Muon for the blocks' matrices.

    Muon's steps are scaled to AdamW's, so that both take the same learning rate (Liu et al. 2025).
    """
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [p for name, p in trained if plan.muon and p.ndim == 2 and "_blocks." in name and "mapper" not in name]
    taken = {id(p) for p in matrices}
    others = [p for _, p in trained if id(p) not in taken]
    groups = [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.99))]
    if matrices:
        muon = torch.optim.Muon(
            matrices, lr=plan.learning_rate, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        optimizers.append(muon)
    return optimizers


def train(
    module: nn.Module, loss: Loss, plan: Plan, state: Path, save_every: int = 500
) -> Iterator[tuple[Progress, Averaged]]:
    """Train `module` until `plan.steps`, from `state` if that file exists; yields after every step,
    and once where none is left.

    `loss(random)` returns named scalars; their sum is minimised. The state is saved every `save_every` steps and at
    the end, under a temporary name first.
    """
    optimizers = make_optimizers(module, plan)
    averaged = Averaged(module)
    done = load_state(state, module, averaged.tensors, optimizers) if state.exists() else 0
    if done >= plan.steps:
        yield Progress(done, {}, 0.0), averaged

    for step in range(done, plan.steps):
        random = np.random.default_rng((plan.seed, step))
        torch.manual_seed(int(random.integers(1 << 62)))  # pyright: ignore[reportUnknownMemberType]  (half typed)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = plan.rate(step)
        losses = loss(random)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(f"loss is not finite at step {step}: {losses}")
        module.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(module.parameters(), plan.clip)
        for optimizer in optimizers:
            optimizer.step()
        averaged.update(module, step, plan.ema)
        if (step + 1) % save_every == 0 or step + 1 == plan.steps:
            save_state(state, step + 1, module, averaged.tensors, optimizers)
        yield Progress(step + 1, {name: value.item() for name, value in losses.items()}, plan.rate(step)), averaged
