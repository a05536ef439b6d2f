"""The recipe by the clock, for a GPU that is there for minutes: each part has its share of the seconds.

Pictures are drawn first, by all cores; then everything lies in the GPU's memory, and the host only gives orders. What a
part has learned is shipped and brought at once, so that a run that is cut off brings what was finished.
"""

from __future__ import annotations

import json
import math
import tarfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...cascade_core.builtin import CONTROLS, control_path, weights_path
from ...cascade_core.builtin.world import KIND_WEIGHTS
from ...cascade_core.training.optimizers import RATIO, make_optimizers
from .data import test_scenes
from .judge import Studio, nearness
from .muon import FOREACH, StackedMuon
from .recipe import PARTS
from .training_data import Amounts, Data
from .training_part import Part

SHARES: dict[str, float] = {
    "compressor": 38,
    "stage_b": 12,
    "stage_b_refined": 5,
    "stage_a_decoder": 7,
    "previewer": 3,
    "stage_c": 22,
    "canny": 3.5,
    "inpainting": 3.5,
    "super_resolution": 2.5,
    "identity": 3.5,
}
"""The parts in order, and their shares of the time."""

FILES: dict[str, tuple[str, ...]] = {
    "compressor": ("effnet", "stage_b"),
    "stage_b_refined": ("stage_b",),
    "stage_a_decoder": ("stage_a",),
}  # what a part ships, where it is not the network of its own name
RESOLUTION = 10_000  # of the schedule: the time as steps of a plan
WARM_UP = 0.02  # share of the time in which the learning rate rises
UNTIMED = 3  # first steps, in which everything is compiled
REPORTS = 12  # of a part


@dataclass(frozen=True)
class Clock:
    """The seconds that are left for all."""

    end: float

    @staticmethod
    def of(seconds: float) -> Clock:
        return Clock(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        return self.end - time.monotonic()


def train_timed(data: Data, parts: Sequence[str], seconds: float, out: Path, checked: int) -> None:
    """Train parts (all of SHARES if none are named) within about so many seconds, and bring their weights to `out`.

    out: `weights.tar` with what is shipped, `earlier.tar` with Stage B as it was between its parts, and `curves.jsonl`
    with the losses and samples a second of each part. checked: how many pictures of each kind are judged in the end.
    """
    out.mkdir(parents=True, exist_ok=True)
    log = _Log(out / "curves.jsonl")
    clock = Clock.of(seconds)
    began = time.monotonic()
    data.draw_ahead()
    log({"part": "data", "pictures": data.amounts.pictures, "seconds": time.monotonic() - began})
    names = list(parts or SHARES)
    trained: list[str] = []
    for number, name in enumerate(names):
        share = SHARES[name] / sum(SHARES[other] for other in names[number:])
        own = Clock.of(clock.left * share)
        if _attempted(name, data, own, log):
            trained += [file for file in _files(name) if file not in trained]
            _bring(out, name, trained)
    if checked:
        scenes = [scene for kind in KIND_WEIGHTS for scene in test_scenes(kind, checked)]
        log({"part": "check", "pictures": len(scenes)} | nearness(Studio.load(), "stage_b", scenes))


def _attempted(name: str, data: Data, clock: Clock, log: Callable[[Mapping[str, Any]], None]) -> bool:
    """Train and ship a part; where that fails, without the compiler again if there is time, and else what was stays."""
    for _ in range(2):
        try:
            part = PARTS[name][0](data, RESOLUTION)
            averaged = train_until(part, clock, lambda row: log({"part": name, **row}))
            part.module.load_state_dict(averaged)
            part.ship(part.module.eval())
            return True
        except Exception as error:
            traceback.print_exc()
            log({"part": name, "error": f"{type(error).__name__}: {error}"[:500]})
            if not data.compiled:
                return False
            print("without the compiler from here on", flush=True)
            data.compiled = False
    return False


def train_until(part: Part[Any], clock: Clock, report: Callable[[Mapping[str, Any]], None]) -> dict[str, Tensor]:
    """Train a part until its clock has run out; returns the average of its weights.

    The learning rate follows the part's plan by the time. The losses stay on the device until they are reported.
    """
    began, whole = time.monotonic(), clock.left
    module = part.module.train()
    plan = replace(part.plan, steps=RESOLUTION, warmup=max(1, round(RESOLUTION * WARM_UP)))
    optimizers = _optimizers(part)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    averaged = _Averaged(module, plan.ema or 0.0)
    sums: list[Tensor] = []
    names: list[str] = []
    since, reported, timed = 0, 0.0, began
    for step in count():
        if step == UNTIMED:
            _wait(trained[0].device)
            timed, since, sums = time.monotonic(), step, []
            report({"compiling": timed - began})
        progress = 0.0 if step < UNTIMED else (time.monotonic() - timed) / max(began + whole - timed, 1e-3)
        rate = plan.rate(min(round(progress * RESOLUTION), RESOLUTION - 1))
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate * group.get(RATIO, 1.0)
        losses = part.loss(np.random.default_rng((plan.seed, step)))
        values = torch.stack(list(losses.values()))
        torch.autograd.backward(values.sum())
        nn.utils.clip_grad_norm_(trained, plan.clip)
        for optimizer in optimizers:
            optimizer.step()
        module.zero_grad(set_to_none=True)
        averaged.update(step)
        names = list(losses)
        sums = [values.detach() if not sums else sums[0] + values.detach()]
        if step >= UNTIMED and (progress - reported >= 1 / REPORTS or progress >= 1):
            means = (sums[0] / (step + 1 - since)).tolist()  # here the device is waited for
            elapsed = time.monotonic() - timed
            report(
                {"step": step + 1, "seconds": time.monotonic() - began, "rate": rate}
                | {"samples": (step + 1) * part.batch, "samples_a_second": (step + 1 - UNTIMED) * part.batch / elapsed}
                | dict(zip(names, means, strict=True))
            )
            if not all(math.isfinite(mean) for mean in means):
                raise FloatingPointError(f"a loss is not finite at step {step + 1}")
            since, reported, sums = step + 1, progress, []
        if progress >= 1:
            break
    return averaged.tensors


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


def _optimizers(part: Part[Any]) -> list[torch.optim.Optimizer]:
    """The plan's, with Muon for many matrices at once."""
    plan = part.plan
    optimizers = make_optimizers(
        part.module, plan.optimizer, plan.learning_rate, plan.weight_decay, plan.betas, muon=plan.muon
    )
    made: list[torch.optim.Optimizer] = []
    for optimizer in optimizers:
        if isinstance(optimizer, torch.optim.Muon):
            matrices = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            made.append(StackedMuon(matrices, lr=plan.learning_rate, weight_decay=plan.weight_decay))
        else:
            for group in optimizer.param_groups:
                group["fused"], group["foreach"] = True, False
            made.append(optimizer)
    return made


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _files(name: str) -> tuple[str, ...]:
    return FILES.get(name, (name,))


def _path(name: str) -> Path:
    return control_path(name) if name in CONTROLS else weights_path(name)


def _bring(out: Path, part: str, trained: Sequence[str]) -> None:
    """Write all that was trained, and apart what a later part will train further."""
    partial = out / "partial"
    with tarfile.open(partial, "w") as tar:
        for name in trained:
            tar.add(_path(name), _path(name).name)
    partial.replace(out / "weights.tar")
    if part in ("compressor", "stage_b"):
        with tarfile.open(out / "earlier.tar", "a") as tar:
            tar.add(weights_path("stage_b"), f"{part}/{weights_path('stage_b').name}")


class _Log:
    """Lines of JSON, shown as well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = time.monotonic()

    def __call__(self, row: Mapping[str, Any]) -> None:
        head = {"at": round(time.monotonic() - self.began, 1)}
        rounded = {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in row.items()}
        line = json.dumps(head | rounded)
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def gpu_amounts(pictures: int) -> Amounts:
    """Amounts for a GPU, whose memory holds all and which encodes in seconds what takes a CPU an hour."""
    return Amounts(pictures, pictures, pictures, max(pictures // 4, 1), max(pictures // 2, 1))
