"""Distillation: a LoRA, or all weights, by which a stage does in few steps, one pass each, what it did in many.

`steps`: of every place on the teacher's way the student says where it ends. That is what makes a consistency model
(Song et al. 2023), here taken from whole trajectories (Luhman and Luhman 2021) and not from one time to the next: what
is learned needs no bootstrapping, and as guidance is in the trajectory it is learned with it. `guidance`: it says what
the teacher's two passes said there (Meng et al. 2023), and still takes all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..lora.attach import beside
from ..lora.lora import Lora, lora_of
from ..lora.write import check_dialect, save_lora
from ..memory import StayPut
from ..models.adapters import adapted
from ..models.body import Body
from ..models.handle import Handle
from ..sampling.stages import process_of
from .branches import Branches
from .data.cache import Cache, Entry
from .data.prompts import Prompts, draw_prompts
from .denoising import Noised, denoising_loss, noised_at
from .distill_settings import DistillSettings
from .models import StageCModels
from .samples import paint
from .stages import save_as, to_train
from .task import DTYPES, Task
from .trajectories import Trajectories

SMALLEST_ERROR = 0.00054  # below it an error counts by its square (Song and Dhariwal 2023, for a mean over values)
EARLIEST, LATEST = 0.02, 0.98  # times at which distributions are matched, as there


class Student(nn.Module):
    """What is learned: the branches of the student, or all of it; and the critic's where distributions are matched."""

    def __init__(self, teacher: Handle, settings: DistillSettings) -> None:
        super().__init__()
        self.whole = to_train(teacher) if settings.whole else None
        self.branches = None if settings.whole else Branches(teacher.module, settings)
        self.critic = Branches(teacher.module, settings) if settings.matching else None


class DistillTask(Task[DistillSettings, Student]):
    """The shared part of both stages."""

    STAGE: ClassVar[str]

    def __init__(self, models: StageCModels, prompts: Prompts, settings: DistillSettings, cache: Cache) -> None:
        super().__init__(settings, cache)
        self.models, self.prompts = models, prompts
        self.teacher = models.named()[self.STAGE]
        drawn = draw_prompts(prompts.lines, settings.count)
        self.trajectories = Trajectories(models, self.teacher, drawn, settings, cache)
        self.process = process_of(self.teacher)
        times = self.process.timesteps(settings.student_steps, shift=settings.shift)[:-1]
        self.times = torch.tensor([[time.a, time.b, time.condition] for time in times])
        with torch.inference_mode(False), torch.no_grad():
            self.module = Student(self.teacher, settings)
            self.student = self._student()
            self.critic = None if self.module.critic is None else self._with(self.module.critic)

    def origin(self) -> Mapping[str, Any]:
        fingerprints = self.trajectories.fingerprints
        return {
            "settings": self.settings.fixed(),
            "models": fingerprints,
            DTYPES: self.models.dtypes(*fingerprints),
            "the prompts": self.prompts.digest(),
        }

    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        return self.trajectories.tasks()

    @contextmanager
    def begin(self) -> Generator[None]:
        self._acquire()
        yield

    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        device = self._acquire()
        points = self.trajectories.points(random, self.settings.batch_size)
        conditioning = self._conditioning(points.prompts, points.stage_c)
        a, b, condition = self.times[points.steps].T.to(device)
        x, goal = points.x.to(device), points.goal.to(device)
        prediction = self._predict(self.student, x, condition, conditioning)
        x0 = self.process.target.x0(x, prediction, a.view(-1, 1, 1, 1), b.view(-1, 1, 1, 1))
        squares = (x0 - goal).square().flatten(1).mean(1)
        losses = {self.settings.learns: ((squares + SMALLEST_ERROR**2).sqrt() - SMALLEST_ERROR).mean()}
        return losses if self.critic is None else losses | self._matching(self.critic, x0, conditioning)

    def samples(self) -> list[Tensor]:
        """None of Stage B: what it learns is finer than what a small sample shows."""
        return []

    def write(self, path: Path) -> None:
        if self.module.branches is None:
            save_as(path, self.student.module, self.teacher)
            return
        lora = lora_of(path.stem, {self.STAGE: self.module.branches.by_name()}, family=self.teacher.family)
        lora = replace(lora, filters=self.settings.filters)
        save_lora(path, lora, [self.teacher.root], dialect=self.settings.dialect)

    def _student(self) -> Handle:
        whole = self.module.whole
        if self.module.branches is not None:
            return self._with(self.module.branches)
        assert whole is not None
        cast(Body, whole).checkpointing = self.settings.checkpointing
        return replace(self.teacher, module=whole, placement=StayPut(), dtype=torch.float32, base=None)

    def _with(self, branches: Branches) -> Handle:
        student = adapted(self.teacher.module, branches.by_weight())
        cast(Body, student).checkpointing = self.settings.checkpointing
        return beside(self.teacher, student)

    def _acquire(self) -> torch.device:
        if self.module.whole is not None:  # beside the teacher, who is asked, too
            self.module.whole.to(self.teacher.acquire(0))
        device = self.student.acquire(0)
        if self.critic is not None:
            self.critic.acquire(0)
        return device

    def _predict(self, handle: Handle, x: Tensor, condition: Tensor, conditioning: Sequence[Tensor]) -> Tensor:
        """The network's own prediction, float32; on a GPU all of a student computes in bfloat16."""
        given = (each.to(x.device, handle.dtype) for each in conditioning)
        is_whole = handle.module is self.module.whole
        with torch.autocast(x.device.type, torch.bfloat16, enabled=is_whole and x.is_cuda):
            return handle.module(x.to(handle.dtype), condition, *given).float()

    def _matching(self, critic: Handle, x0: Tensor, conditioning: Sequence[Tensor]) -> dict[str, Tensor]:
        """The gradient that leads the student's latents towards those that the teacher thinks likely.

        It is how far, of a latent with noise, what the teacher makes of it lies from what the critic does, who learns
        what the student's latents are (Yin et al. 2024, eq. 7 and 8).
        """
        weight, process = self.settings.matching, self.process
        clean = x0.detach()
        times = torch.rand(len(clean)) * (LATEST - EARLIEST) + EARLIEST
        noised = noised_at(times, clean.cpu(), torch.randn(clean.shape), process).part(slice(None), clean.device)
        a, b = (each.to(clean.device) for each in process.coefficients(times))
        with torch.no_grad():
            predicted = self._guided(noised, conditioning)
            likely = process.split(noised.x, predicted, a, b)[0]
            own = self._predict(critic, noised.x, noised.condition, conditioning)
            push = process.split(noised.x, own, a, b)[0] - likely
            push = push / (clean - likely).abs().mean((1, 2, 3), keepdim=True)
        return {
            "matching": weight / 2 * (x0 - (clean - push)).square().mean(),
            "critic": denoising_loss(noised, lambda x, r: self._predict(critic, x, r, conditioning)),
        }

    def _guided(self, noised: Noised, conditioning: Sequence[Tensor]) -> Tensor:
        """The teacher's prediction, with its guidance."""
        guidance = self.settings.teacher.guidance
        told = self._predict(self.teacher, noised.x, noised.condition, conditioning)
        if guidance.cfg == 1:
            return told
        nothing = None if self.STAGE == "stage_c" else torch.zeros_like(conditioning[0])
        untold = self._conditioning([""] * len(told), nothing)
        return guidance.combine(told, self._predict(self.teacher, noised.x, noised.condition, untold))

    def _conditioning(self, prompts: Sequence[str], stage_c: Tensor | None) -> Sequence[Tensor]:
        """What the network takes beside x and its time. stage_c: what Stage B is given."""
        raise NotImplementedError


class DistillStageC(DistillTask):
    kind, STAGE = "distilled Stage C", "stage_c"

    def samples(self) -> list[Tensor]:
        settings = self.settings
        sizes = [(settings.size, settings.size)] * len(settings.prompts)
        return paint(self.models, settings, sizes, self.student, self.models.text_encoder, sampler=settings.student)

    def _conditioning(self, prompts: Sequence[str], stage_c: Tensor | None) -> Sequence[Tensor]:
        condition = self.trajectories.condition(prompts)
        return condition.sequence, condition.pooled


class DistillStageB(DistillTask):
    kind, STAGE = "distilled Stage B", "stage_b"

    def _conditioning(self, prompts: Sequence[str], stage_c: Tensor | None) -> Sequence[Tensor]:
        assert stage_c is not None
        return stage_c, self.trajectories.condition(prompts).pooled


TASKS = {"distill_stage_c": DistillStageC, "distill_stage_b": DistillStageB}


def undistilled_lora(kind: str, models: StageCModels, settings: DistillSettings, name: str) -> Lora:
    """The LoRA that a distillation begins with; CascadeError where it cannot begin, or not be written."""
    teacher = models.named()[TASKS[kind].STAGE]
    lora = lora_of(name, {teacher.kind: Branches(teacher.module, settings).by_name()}, family=teacher.family)
    check_dialect(replace(lora, filters=settings.filters), [teacher.root], settings.dialect)
    return lora
