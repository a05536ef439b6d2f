"""A training in a folder of its own: it encodes, takes steps, logs them, makes samples, and writes the finished file.

The folder has `state.safetensors` (from which the same run goes on), `cache`, `curve.jsonl`, `curve.png` and `samples`;
with patience also `best`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CascadeError
from ..files.atomic import sweep
from ..memory import most_memory
from ..reading import parse_json
from . import sharded
from .best import Best, how_ended
from .data.dataset import differences
from .loop import Progress, train
from .report import write_report
from .run_log import CURVE_LINES, SAMPLES, RunLog, read_lines
from .settings import changed
from .state import Head, read_head
from .task import DTYPES, Task
from .validation import NAME as VALIDATION
from .validation import has_ended, validate

STATE = "state.safetensors"


class OtherTrainingError(CascadeError):
    """What is asked for began otherwise or is less than what its folder has, or would replace a file of another."""


@dataclass(frozen=True, eq=False)
class Report:
    """A step, and where samples were due their pictures (3, H, W) and files."""

    progress: Progress
    pictures: tuple[Tensor, ...] = ()
    files: tuple[Path, ...] = ()
    loss: float | None = None  # the sum of the losses, over the last steps
    validation: float | None = None  # the last one


class TrainingRun:
    """The steps of a task. Stopped at any moment, the same run goes on from its last state."""

    def __init__(self, task: Task[Any, Any], folder: Path, target: Path) -> None:
        """target: the finished file.

        OtherTrainingError where the folder has the state of something else, or has none while the file is there.
        """
        self.task, self.folder, self.target = task, folder, target
        self.origin = _plain({"what": task.kind, **task.origin()})
        self.state = folder / STATE
        self.done = self._check()
        self.is_finished = self.done > 0 and self._has_ended()  # before its first step
        self.told: dict[str, str] = {}  # facts for the report, of whoever begins it
        self._ended = ""  # in words, why
        self.notes: list[str] = []  # sentences for people, of how it ended and what was not as a run leaves it

    def encode(self) -> Iterator[int]:
        """Fill the cache; yields how much of `len(task.encode())` is there."""
        for done, (key, make) in enumerate(self.task.encode(), 1):
            if done % sharded.count() == sharded.rank():
                self.task.cache.fill(key, make)
            yield done
        sharded.wait()
        if remade := self.task.cache.remade:
            self.notes.append(f"{remade} damaged files in {self.task.cache.folder} were made again")

    def train(self) -> Generator[Report]:
        """All steps that are left, and the finished file after the last."""
        settings = self.task.settings
        if sharded.rank() == 0:
            sweep(self.folder, self.folder / SAMPLES, self.task.cache.folder)
        # The host runs nodes under inference_mode, of whose tensors no gradients are kept.
        with torch.inference_mode(False), torch.enable_grad(), self.task.begin():
            told = asdict(settings) if settings.wandb else None
            log = RunLog(self.folder, self.done, told) if sharded.rank() == 0 else None
            if log and log.odd:
                self.notes.append(f"{log.odd} lines in {self.folder} that no run wrote were left out of its curve")
            values = self._validations()
            best = Best(self.folder, values)
            plan = settings.plan()
            if has_ended(values, settings.patience):
                plan = replace(plan, steps=self.done)
            steps = train(
                self.task.module,
                self.task.loss,
                plan,
                self.state,
                settings.save_every,
                json.dumps(self.origin),
                self.task.learned(),
            )
            with closing(log) if log else nullcontext(), closing(steps):  # pyright: ignore[reportArgumentType]  (a generator closes)
                smooth = Smooth()
                started = time.monotonic()
                for progress, averaged in steps:
                    smooth.add(sum(progress.losses.values()))
                    more: dict[str, float] = {}
                    if progress.losses and settings.validates_after(progress.step):
                        with averaged.shown():
                            more = {VALIDATION: validate(self.task, settings.seed)}
                            if settings.patience and best.takes(more[VALIDATION]):
                                best.keep(progress.step, self.task.write)
                        values[progress.step] = more[VALIDATION]
                    last = progress.step >= plan.steps or has_ended(values, settings.patience)
                    if log and progress.losses:
                        log.add(progress, seconds=round(time.monotonic() - started, 4), **more)
                        best.tidy(max(self.done, progress.step // settings.save_every * settings.save_every))
                    keeps = bool(progress.losses) and settings.keeps_after(progress.step)
                    is_shown = last or keeps or settings.samples_after(progress.step)
                    with averaged.shown() if is_shown else nullcontext():
                        report = self._sample(progress, log)
                        if keeps:
                            self.task.write(self.folder / f"{self.target.stem}-{progress.step:06}.safetensors")
                        if last:
                            self._finish(progress.step, best)
                    if log and (last or progress.step % settings.save_every == 0):
                        log.save_curve()
                        write_report(self.folder, self.target.stem, log.lines, asdict(settings), self._facts())
                    yield replace(report, loss=smooth.value, validation=next(reversed(values.values()), None))
                    if last:
                        break
                    started = time.monotonic()
            sharded.wait()

    def _sample(self, progress: Progress, log: RunLog | None) -> Report:
        """The report of a step, with sample pictures where they are due."""
        if not self.task.settings.samples_after(progress.step):
            return Report(progress)
        with torch.no_grad():
            pictures = self.task.samples()
        files = log.save_samples(progress.step, pictures) if log else []
        return Report(progress, tuple(pictures), tuple(files))

    def _facts(self) -> dict[str, str]:
        """What the report tells beside the log: of the data, the weights and the memory."""
        parameters = sum(parameter.numel() for parameter in self.task.module.parameters())
        facts = {"ended": self._ended or "not yet", "trained": f"{self.task.kind}, {parameters:,} values"}
        facts |= {**self.task.facts(), **self.told}
        if memory := most_memory():
            facts["memory at most"] = memory
        return facts

    def _finish(self, step: int, best: Best) -> None:
        """Write the finished file after the last step: with patience the one of the best validation."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        patience = self.task.settings.patience
        if not patience or best.step is None:
            self.task.write(self.target)
        elif sharded.rank() == 0:
            best.copy_to(self.target)
        told = how_ended(step, self.task.settings.steps, patience, best) if patience else ""
        self.notes += [told] if told else []
        self._ended = told or f"after all {step} steps"

    def _has_ended(self) -> bool:
        settings = self.task.settings
        return self.done >= settings.steps or has_ended(self._validations(), settings.patience)

    def _validations(self) -> dict[int, float]:
        """The validations of the steps so far, by the log."""
        lines, _ = read_lines(self.folder / CURVE_LINES)
        found = (line for line in lines if VALIDATION in line and line["step"] <= self.done)
        return {int(line["step"]): line[VALIDATION] for line in found}

    def _origin_of(self, head: Head) -> dict[str, Any]:
        """The origin that a state tells of; CascadeError for one of another version."""
        try:
            origin: Any = parse_json(head.origin)
            if not all(isinstance(origin.get(part, {}), dict) for part in ("settings", "models", "data")):
                raise ValueError("it does not tell what it was made of")
            return origin
        except (ValueError, AttributeError) as error:
            raise CascadeError(
                f"{self.state} is a state of another version ({error}): choose another name, or delete that folder to"
                " start over"
            ) from error

    def _check(self) -> int:
        """Steps done so far; CascadeError where they were taken with something else."""
        if not self.state.exists():
            if self.target.exists():
                raise OtherTrainingError(
                    f"{self.target} is there already, and {self.folder} has no training that made it: choose another"
                    " name, or move that file away"
                )
            return 0
        head = read_head(self.state)
        before = self._origin_of(head)
        # A setting that the state's version did not have yet was as it is by default.
        default = _plain(asdict(type(self.task.settings)()))
        fixed = {name: default[name] for name in self.task.settings.fixed()}
        before["settings"] = fixed | before.get("settings", {})
        reasons = [
            *changed(*_flat(before, self.origin)),
            *differences(before.get("data", {}), self.origin.get("data", {})),
        ]
        if reasons:
            raise OtherTrainingError(
                f"{self.folder} has a training of {head.step} steps that began otherwise: {'; '.join(reasons)}. Choose"
                " another name, or delete that folder to start over"
            )
        if head.step > self.task.settings.steps:
            raise OtherTrainingError(
                f"{self.folder} has a training of {head.step} steps already, and {self.task.settings.steps} are asked"
                " for: ask for more, or choose another name"
            )
        return head.step


class Smooth:
    """A moving mean of a loss, of all its values at first and of about the last fifty later."""

    def __init__(self) -> None:
        self.value, self._count = 0.0, 0

    def add(self, value: float) -> None:
        self._count += 1
        self.value += max(0.02, 1 / self._count) * (value - self.value)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it, and with it a state: tuples become lists."""
    return json.loads(json.dumps(values))


def _flat(*origins: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings and models of each by name; the data is compared apart.

    A model is its digest, or its weights' type where that is another in each.
    """
    types: list[dict[str, str]] = [origin.get(DTYPES, {}) for origin in origins]
    found: list[dict[str, Any]] = []
    for origin, own in zip(origins, types, strict=True):
        values = {name: value for name, value in origin.items() if name not in ("models", "settings", "data", DTYPES)}
        for name, digest in origin.get("models", {}).items():
            differ = len({each.get(name) for each in types}) == len(types) and all(name in each for each in types)
            values[f"the dtype of {name}" if differ else f"the model {name}"] = own[name] if differ else digest
        found.append(origin.get("settings", {}) | values)
    return found
