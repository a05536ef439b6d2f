"""A part trained by the clock: the learning rate follows the time that has passed, and a GPU is never waited for.

A step of these small networks is a few thousand short operations, which a host gives more slowly than a GPU takes them.
So once a step has been taken a few times, it is recorded as a CUDA graph, and from then on is one order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...cascade_core.training.optimizers import make_optimizers
from .muon import FOREACH, StackedMuon
from .training_part import Part

RESOLUTION = 10_000  # of the schedule: the time as steps of a plan
WARM_UP = 0.02  # share of the time in which the learning rate rises
FIRST = 3  # steps before the clock counts: everything is compiled, measured and allocated in them
LEAST = 1.5  # seconds that a part is trained after these, however late it is
REPORTS = 12  # of a part

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Clock:
    """The time when something has to be done."""

    end: float

    @staticmethod
    def of(seconds: float) -> Clock:
        """As long from now on."""
        return Clock(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


def train_until(part: Part[Any], clock: Clock, report: Report, recorded: bool = True) -> dict[str, Tensor]:
    """Train a part until its clock has run out; returns the average of its weights.

    The learning rate follows the part's plan, with time for steps. recorded: on a GPU, as a CUDA graph. The losses stay
    on the device until they are reported. FloatingPointError where one is not finite.
    """
    began = time.monotonic()
    plan = replace(part.plan, steps=RESOLUTION, warmup=round(RESOLUTION * WARM_UP))
    with _own_stream(next(part.module.parameters()).device) as stream:
        part.module.train()
        step = _Step(part)
        averaged = _Averaged(part.module, plan.ema or 0.0)
        counted, timed, end, reported, sums = 0, began, clock.end, 0.0, torch.zeros(())
        since = 0, began  # number and time of the last report
        for number in count():
            if recorded and stream is not None and number >= FIRST and step.can_be_recorded:
                step.record(stream)
            if number == FIRST:
                _wait(stream)
                timed = time.monotonic()
                end = max(end, timed + LEAST)
                since = number, timed
                report({"first_steps": timed - began})
            progress = 0.0 if number < FIRST else (time.monotonic() - timed) / (end - timed)
            rate = plan.rate(min(round(progress * RESOLUTION), RESOLUTION - 1))
            losses = step(rate, number)
            averaged.update(number)
            sums = losses + sums if counted else losses.clone()
            counted += 1
            if number >= FIRST and (progress - reported >= 1 / REPORTS or progress >= 1):
                means = dict(zip(step.names, (sums / counted).tolist(), strict=True))  # here the device is waited for
                now = time.monotonic()
                speed = (number + 1 - since[0]) * part.batch / (now - since[1])
                row = {"step": number + 1, "samples": (number + 1) * part.batch, "a_second": round(speed)}
                report(row | {"recorded": step.is_recorded, "seconds": now - began, "rate": rate} | means)
                if not all(math.isfinite(mean) for mean in means.values()):
                    raise FloatingPointError(f"a loss is not finite at step {number + 1}: {means}")
                counted, reported, since = 0, progress, (number + 1, now)
            if progress >= 1:
                break
        _wait(stream)
    return averaged.tensors


class _Step:
    """A step of training: the losses, their gradients, and what the optimisers make of them."""

    def __init__(self, part: Part[Any]) -> None:
        self.part = part
        self.names: list[str] = []
        self.is_recorded = False
        self._trained = [parameter for parameter in part.module.parameters() if parameter.requires_grad]
        self._optimizers = _optimizers(part, self._trained[0].device)
        self._graph: Any = None
        self._losses = torch.zeros(())

    def __call__(self, rate: float, number: int) -> Tensor:
        """Take the step of this number; the losses (n,), which the next step may overwrite."""
        for group in (group for optimizer in self._optimizers for group in optimizer.param_groups):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        if self.is_recorded:
            self._graph.replay()
            return self._losses
        return self._take(np.random.default_rng((self.part.plan.seed, number)))

    def _take(self, random: np.random.Generator) -> Tensor:
        self.part.module.zero_grad(set_to_none=True)
        losses = self.part.loss(random)
        self.names = list(losses)
        each = torch.stack(list(losses.values()))
        torch.autograd.backward(each.sum())
        nn.utils.clip_grad_norm_(self._trained, self.part.plan.clip)
        for optimizer in self._optimizers:
            optimizer.step()
        return each.detach()

    @property
    def can_be_recorded(self) -> bool:
        """Will every further step be the same, and was none recorded yet?"""
        warm_up = self.part.warm_up
        return not self.is_recorded and (warm_up is None or warm_up.over)

    def record(self, stream: torch.cuda.Stream) -> None:
        """Record the step as a CUDA graph. Where that fails, torch's generators and memory are left unusable."""
        self.part.module.zero_grad(set_to_none=True)  # the recorded gradients have memory of their own
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self._losses = self._take(np.random.default_rng(0))
        self._graph, self.is_recorded = graph, True


class _Averaged:
    """Exponential moving average of the weights, as in the core's loop, in few launches."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._module = module
        self._own = [parameter.detach() for parameter in module.parameters()]
        self._kept = [parameter.clone() for parameter in self._own]

    @torch.no_grad()
    def update(self, step: int) -> None:
        FOREACH._foreach_lerp_(self._kept, self._own, 1 - min(self.decay, (1 + step) / (10 + step)))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The averages, and the buffers as they are."""
        names = [name for name, _ in self._module.named_parameters()]
        return self._module.state_dict() | dict(zip(names, self._kept, strict=True))


def _optimizers(part: Part[Any], device: torch.device) -> list[torch.optim.Optimizer]:
    """The plan's, in few launches; on a GPU as a recorded step needs them, with tensors for learning rates."""
    plan = part.plan
    made: list[torch.optim.Optimizer] = []
    for optimizer in make_optimizers(part.module, plan.optimizer, plan.learning_rate, plan.weight_decay, plan.betas):
        if isinstance(optimizer, torch.optim.Muon):
            matrices = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            made.append(StackedMuon(matrices, lr=plan.learning_rate, weight_decay=plan.weight_decay))
        else:
            for group in optimizer.param_groups:
                group["fused"], group["foreach"] = True, False
                group["capturable"] = device.type == "cuda"
            made.append(optimizer)
    if device.type == "cuda":
        for group in (group for optimizer in made for group in optimizer.param_groups):
            group["lr"] = torch.tensor(plan.learning_rate, device=device)
    return made


@contextmanager
def _own_stream(device: torch.device) -> Iterator[torch.cuda.Stream | None]:
    """On a GPU a stream of its own, which a recorded step has to have been taken on before."""
    if device.type != "cuda":
        yield None
        return
    torch.cuda.synchronize(device)
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        yield stream


def _wait(stream: torch.cuda.Stream | None) -> None:
    if stream is not None:
        stream.synchronize()
