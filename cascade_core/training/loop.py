"""The training loop: a generator, so that logging, samples and stopping belong to the caller.

What happens in step n is a function of (weights after step n - 1, seed, n) alone: the loss gets a random generator
made from (seed, n). With the state saved by `state.py`, a stopped run goes on as if it had not been stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import sharded
from .optimizers import RATIO, learn, make_optimizers, shown
from .plan import Plan
from .state import load_state, save_state

Loss = Callable[[np.random.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class Progress:
    """The step that was taken, its losses and its learning rate."""

    step: int
    losses: dict[str, float]
    rate: float


class Averaged:
    """Exponential moving average of the weights (buffers are copied), by the plan's schedule.

    Without a decay there is none, and no memory taken: `tensors` are the module's own. What is shown is also what
    `optimizers` mean, of which some average by themselves.
    """

    def __init__(self, module: nn.Module, plan: Plan, optimizers: Sequence[torch.optim.Optimizer] = ()) -> None:
        self.plan, self._module, self._optimizers = plan, module, optimizers
        own = {} if plan.ema is None else module.state_dict()
        self.kept = {name: self._placed(tensor.detach().clone()) for name, tensor in own.items()}

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        return self._module.state_dict() if self.plan.ema is None else self.kept

    @torch.no_grad()
    def update(self, step: int) -> None:
        stays = self.plan.stays(step)
        if stays is None:
            return
        parameters = dict(self._module.named_parameters())
        for name, tensor in self._module.state_dict().items():
            if name in parameters:
                self.kept[name].lerp_(self._placed(tensor), 1 - stays)
            else:
                self.kept[name].copy_(tensor)

    @contextmanager
    def shown(self) -> Generator[None]:
        """The module has the average; afterwards its own weights, to the last bit."""
        with shown(self._module, self._optimizers):
            self._exchange()
            try:
                yield
            finally:
                self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        own = self._module.state_dict()
        for name, kept in self.kept.items():
            mine = own[name].clone()
            own[name].copy_(kept)
            kept.copy_(mine)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.cpu() if self.plan.ema_on_cpu else tensor


def train(
    module: nn.Module,
    loss: Loss,
    plan: Plan,
    state: Path,
    save_every: int = 500,
    origin: str = "",
    learned: Mapping[str, Tensor] | None = None,
) -> Iterator[tuple[Progress, Averaged]]:
    """Train `module` until `plan.steps`, from `state` if that file exists; yields after every step,
    and once where none is left.

    `loss(random)` returns named scalars; their sum is minimised. The state, with `origin` in it, is saved every
    `save_every` steps, at the end, and where the caller stops (closes the generator), under a temporary name first.
    learned: what the loss learns beside the module's weights, in place; saved with them.
    """
    optimizers = make_optimizers(
        module, plan.optimizer, plan.learning_rate, plan.weight_decay, plan.betas, faster=plan.faster
    )
    learn(optimizers)
    averaged = Averaged(module, plan, optimizers)
    done = saved = load_state(state, module, averaged.kept, optimizers, learned) if state.exists() else 0
    if done >= plan.steps:
        yield Progress(done, {}, 0.0), averaged

    for step in range(done, plan.steps):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = plan.rate(step) * group.get(RATIO, 1.0)
        losses = _backward(module, loss, plan, step)
        nn.utils.clip_grad_norm_(module.parameters(), plan.clip)
        for optimizer in optimizers:
            optimizer.step()
        module.zero_grad(set_to_none=True)
        averaged.update(step)
        if (step + 1) % save_every == 0 or step + 1 == plan.steps:
            save_state(state, step + 1, module, averaged.kept, optimizers, origin, learned)
            saved = step + 1
        try:
            yield Progress(step + 1, losses, plan.rate(step)), averaged
        except GeneratorExit:
            if saved != step + 1 and sharded.count() == 1:  # other processes may be in another step
                save_state(state, step + 1, module, averaged.kept, optimizers, origin, learned)
            raise


@contextmanager
def drawn_by(random: np.random.Generator, module: nn.Module) -> Generator[None]:
    """Within it torch's own generators, those of the module's devices too, go by `random`; afterwards as before."""
    devices = {parameter.device.index or 0 for parameter in module.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(sorted(devices)):  # pyright: ignore[reportUnknownMemberType]  (half typed)
        torch.manual_seed(int(random.integers(1 << 62)))  # pyright: ignore[reportUnknownMemberType]  (half typed)
        yield


def _backward(module: nn.Module, loss: Loss, plan: Plan, step: int) -> dict[str, float]:
    """The gradients of a step, and its losses. Part k of one that accumulates is a function of (seed, step, k)."""
    sums: dict[str, float] = {}
    for part in range(plan.accumulate):
        random = np.random.default_rng((plan.seed, step, part) if part else (plan.seed, step))
        with drawn_by(random, module):
            losses = loss(random)
            total = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(total):
                raise FloatingPointError(f"loss is not finite at step {step}: {losses}")
            torch.autograd.backward(total / plan.accumulate)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item() / plan.accumulate
    return sharded.mean(sums)
