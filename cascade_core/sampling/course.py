"""The course of a run: its times, its sampler, its guidance, where its noise comes from and where it starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .guidance import Guidance
from .noise import BrownianNoise, Noise, check_brownian
from .process import Process
from .samplers import SAMPLERS, Sampler
from .schedules import for_sampler, scheduled_sigmas
from .settings import SamplerSettings
from .solvers.trace import Draw
from .times import END, Time


@dataclass(frozen=True)
class RunNoise:
    """The noise of a run, float32 on its device."""

    first: Tensor  # (N, C, h, w)
    kept: Tensor  # (N, C, h, w), that on what a mask keeps
    draw: Draw  # of the steps


@dataclass(frozen=True)
class Course:
    """All of a run that is not the network and its conditions."""

    sampler: Sampler
    times: Sequence[Time]  # as the sampler needs them; see `for_sampler`
    guidance: Guidance
    noise: Callable[[tuple[int, int, int, int], torch.device], RunNoise]  # for latents (N, C, h, w)
    start: Callable[[Tensor, Tensor], Tensor]  # the given latent and the first noise to where the run starts
    reuse_from: int = 0  # as in SamplerSettings


def make_course(settings: SamplerSettings, process: Process, seeds: Sequence[int]) -> Course:
    """The course by a person's settings, with one seed for each image; CascadeError where it cannot be run."""
    sampler = SAMPLERS[settings.sampler]
    if sampler.brownian:
        check_brownian(settings.sampler)

    def time_of(sigma: float) -> Time:
        return process.time_of(sigma, settings.shift)

    if settings.schedule == "cosine":
        # The result is the last x0, so that the official end, where a little noise is left, is as good as the very end.
        times = [*process.timesteps(settings.steps, settings.denoise, settings.shift)[:-1], END]
    else:
        sigmas = scheduled_sigmas(settings.schedule, settings.steps, settings.denoise, settings.shift, sampler)
        times = [time_of(sigma) for sigma in sigmas]
    times = for_sampler(sampler, times, time_of)

    def noise(shape: tuple[int, int, int, int], device: torch.device) -> RunNoise:
        fresh = Noise(seeds, shape[1:], device)
        first = fresh()
        draw = BrownianNoise(seeds, shape[1:], span(times), device) if sampler.brownian else fresh
        return RunNoise(first, first, draw)

    def start(original: Tensor, first: Tensor) -> Tensor:
        if settings.denoise == 1:
            return first
        return process.diffuse(original, first, torch.tensor([times[0].r]), settings.start_shift)

    return Course(sampler, times, settings.guidance, noise, start, settings.reuse_from)


def span(times: Sequence[Time]) -> tuple[float, float]:
    """The smallest sigma over 0, and the largest."""
    sigmas = [time.sigma for time in times if time.b > 0]
    return min(sigmas), max(sigmas)
