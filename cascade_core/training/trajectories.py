"""Trajectories: the teacher's ways from noise to a latent, drawn once, of which a student learns.

A sampler that adds no noise leads from every place to one end, whatever came before (the probability flow of Song et
al. 2021). So one trajectory teaches all of the student's times at once, and needs no picture: prompts will do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..models.handle import Handle
from ..models.text import TextEncoder
from ..pipeline import last
from ..sampling.activations import text_bytes
from ..sampling.condition import Condition
from ..sampling.latent import Latent
from ..sampling.noise import Noise, image_seeds, stage_b_seed
from ..sampling.settings import SamplerSettings
from ..sampling.sizes import CELL, stage_b_size_of
from ..sampling.stages import Run, sample_stage_b, sample_stage_c
from .data.cache import Cache, Entry, fingerprint, key_of
from .distill_settings import DistillSettings
from .models import StageCModels

GROUP = 16  # trajectories that are drawn together, and lie in a file
ROWS = 4  # of a file in a batch
WHOLE_B = 16  # cells of Stage B that one token of its deepest level stands for, along each side
STAGE_C_DRAFT = SamplerSettings(steps=6, cfg=1.0, shift=2.0, sampler="dpmpp_2m")  # what Stage B is given


@dataclass(frozen=True, eq=False)
class Points:
    """Places on trajectories, all float32, with the student's times there, and what it shall say."""

    prompts: list[str]
    stage_c: Tensor | None  # (B, 16, h, w): what Stage B is given
    x: Tensor  # (B, C, h, w)
    steps: Tensor  # (B,): which of the student's times
    goal: Tensor  # (B, C, h, w): the clean latent


class Trajectories:
    """Those of `stage`, one for each prompt."""

    def __init__(
        self, models: StageCModels, stage: Handle, prompts: Sequence[str], settings: DistillSettings, cache: Cache
    ) -> None:
        self.models, self.stage, self.prompts, self.settings, self.cache = models, stage, prompts, settings, cache
        names = ("stage_c", "text_encoder", stage.kind)
        self.fingerprints = {name: fingerprint(models.named()[name].module) for name in dict.fromkeys(names)}
        self.groups = [range(i, min(i + GROUP, len(prompts))) for i in range(0, len(prompts), GROUP)]
        cells = settings.size // CELL
        self.stage_c_shape = (models.stage_c.config.channels, cells, cells)
        side = max(stage_b_size_of((cells, cells))[0] // WHOLE_B, 1) * WHOLE_B
        self.shape = self.stage_c_shape if stage.kind == "stage_c" else (stage.config.channels, side, side)

    def tasks(self) -> list[tuple[str, Callable[[], Entry]]]:
        return [(self._key(group), partial(self._draw, group)) for group in self.groups]

    def points(self, random: np.random.Generator, count: int) -> Points:
        """`count` random places, a few of each of some files."""
        chosen: list[tuple[int, dict[str, Tensor]]] = []
        while len(chosen) < count:
            group = self.groups[int(random.integers(len(self.groups)))]
            entry = self.cache.get(self._key(group))
            rows = random.permutation(len(group))[: min(ROWS, count - len(chosen))]
            chosen += [(group[row], {name: tensor[row].float() for name, tensor in entry.items()}) for row in rows]
        steps = torch.as_tensor(random.integers(self.settings.student_steps, size=count))
        found = [(entry, int(step)) for (_, entry), step in zip(chosen, steps, strict=True)]
        return Points(
            [self.prompts[number] for number, _ in chosen],
            torch.stack([entry["stage_c"] for entry, _ in found]) if "stage_c" in found[0][0] else None,
            torch.stack([entry["x"][step] for entry, step in found]),
            steps,
            torch.stack([entry["goal"][min(step, len(entry["goal"]) - 1)] for entry, step in found]),
        )

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> Condition:
        """A batch of prompts as one condition, cut at the encoder's length, float32 on the CPU."""
        encoder = self.models.text_encoder
        encoder.acquire(text_bytes(encoder.config, len(prompts), encoder.dtype))
        sequence, pooled = cast(TextEncoder, encoder.module).encode(prompts, truncate=True)
        return Condition(sequence.float().cpu(), pooled.float().cpu(), family=encoder.family)

    def _key(self, group: range) -> str:
        asked = (self.settings.teacher, self.settings.student_steps, self.settings.learns, self.settings.sample_cfg)
        prompts = [self.prompts[i] for i in group]
        return key_of("trajectories", *self.fingerprints.values(), self.shape, self._seed(group), prompts, asked)

    def _seed(self, group: range) -> int:
        return int(np.random.default_rng((self.settings.seed, group.start)).integers(1 << 62))

    def _draw(self, group: range) -> Entry:
        models, seed, count = self.models, self._seed(group), len(group)
        positive, negative = [self.condition([self.prompts[i] for i in group])], [self.condition([""])]
        empty, seeds = Latent(torch.zeros(count, *self.stage_c_shape)), image_seeds(seed, range(count))
        sample_c = partial(sample_stage_c, models.stage_c, positive, negative, empty, seed=seed)
        if self.stage.kind == "stage_c":
            return self._trajectory(sample_c(settings=self.settings.teacher), seeds)
        draft = last(sample_c(settings=replace(STAGE_C_DRAFT, cfg=self.settings.sample_cfg))).float().cpu()
        given, empty = Latent(draft), Latent(torch.zeros(count, *self.shape))
        run = sample_stage_b(self.stage, positive, negative, given, empty, seed=seed, settings=self.settings.teacher)
        return {**self._trajectory(run, [stage_b_seed(one) for one in seeds]), "stage_c": draft.half()}

    def _trajectory(self, run: Run, seeds: Sequence[int]) -> Entry:
        """Places `x` (N, S, C, h, w) at the student's times, and each one's `goal`: its own, or one for all."""
        first = Noise(seeds, self.shape, torch.device("cpu"))()  # as the sampler draws it
        steps = [(step.x.cpu(), step.x0.cpu()) for step in run]
        kept = slice(None, None, run.total // self.settings.student_steps)
        places = [first, *(x for x, _ in steps[:-1])][kept]
        goals = [x0 for _, x0 in (steps[kept] if self.settings.learns == "guidance" else steps[-1:])]
        return {name: torch.stack(each, 1).half() for name, each in (("x", places), ("goal", goals))}
