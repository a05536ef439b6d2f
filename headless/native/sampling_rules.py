"""The host's rules of sampling, where they differ from those of our own nodes.

The whole batch has its noise from one generator, and that of the steps from another, of the next seed; guidance is
plain; the result is where the last step leads to, and a latent with noise in it travels as x / a.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...cascade_core.errors import CascadeError
from ...cascade_core.sampling.guidance import Guidance
from ...cascade_core.sampling.samplers import SAMPLERS, Sampler
from ...cascade_core.sampling.schedules import SCHEDULES, SigmaTable, for_sampler, scheduled_sigmas
from ...cascade_core.sampling.settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS
from ...cascade_core.sampling.times import Time
from ...nodes import sockets
from .one_batch import arrange

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...cascade_core.models.handle import Handle
    from ...cascade_core.sampling.condition import Condition
    from ...cascade_core.sampling.course import Course, RunNoise
    from ...cascade_core.sampling.stages import Run

PRIOR = "stable_cascade_prior"  # in CONDITIONING, native: the latent of Stage C, for Stage B
NO_END = 10000  # `end_at_step` of a run to its end
ON_GPU = "_gpu"  # ending of the host's samplers that draw their noise there
SAMPLER_NAMES = [*SAMPLERS, *(f"{name}{ON_GPU}" for name, sampler in SAMPLERS.items() if sampler.brownian)]
SCHEDULER_NAMES = [name for name in SCHEDULES if name != "cosine"]


@dataclass(frozen=True)
class NoiseRule:
    """Where a run has its noise from."""

    seed: int
    add: bool  # False: the given latent has its noise
    batch_index: Sequence[int] | None  # which of the generator's latents an image gets; None: in order
    kept_drawn: bool  # what a mask keeps gets other noise, of seed + 1, as by the host's ddim

    def of_run(self, span: tuple[float, float] | None, shape: tuple[int, ...], device: torch.device) -> RunNoise:
        """span: the smallest and the largest sigma, where the steps' noise is Brownian. shape: (N, C, h, w)."""
        import torch

        from ...cascade_core.sampling.course import RunNoise
        from ...cascade_core.sampling.noise import BrownianNoise, upload

        first = self._first(shape) if self.add else torch.zeros(shape)
        kept = first
        if self.kept_drawn:
            kept = torch.randn(shape, generator=torch.Generator().manual_seed(self.seed + 1 & 2**64 - 1))
        generator = torch.Generator().manual_seed(self.seed + 1 & 2**64 - 1)  # with the same it would be `first` again

        def fresh() -> Tensor:
            return upload(torch.randn(shape, generator=generator), device)

        draw = fresh if span is None else BrownianNoise([self.seed], shape, span, device)
        return RunNoise(first.to(device), kept.to(device), draw)

    def _first(self, shape: tuple[int, ...]) -> Tensor:
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        if self.batch_index is None:
            return torch.randn(shape, generator=generator)
        drawn = torch.cat([torch.randn((1, *shape[1:]), generator=generator) for _ in range(max(self.batch_index) + 1)])
        return drawn[list(self.batch_index)]


def start(
    model: Handle,
    latent: sockets.Latent,
    *,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: sockets.Conditioning,
    negative: sockets.Conditioning,
    denoise: float = 1.0,
    noise: bool = True,
    span: tuple[int, int] = (0, NO_END),
    leftover: bool = False,
) -> Run | None:
    """A run by the settings of the host's nodes; None where no step is to be taken.

    span: the first step and the one that is not taken any more. leftover: a run that ends before the last step keeps
    the noise that is left. CascadeError where the inputs do not fit.
    """
    from ...cascade_core.sampling.stages import run_stage_b, run_stage_c

    sampler = _sampler(sampler_name, scheduler)
    shift = _shift(model)
    sigmas = _sigmas(scheduler, steps, denoise, shift, sampler, span, leftover)
    if len(sigmas) < 2:
        return None
    given = sockets.to_latent("latent_image", latent, model.config.channels)
    if given.noise_mask is not None:
        given = replace(given, noise_mask=_fit_mask(given.noise_mask, given.samples))

    def course() -> Course:
        places = None if given.batch_index is None else given.places
        return _course(model, sampler, sigmas, cfg, NoiseRule(seed, noise, places, sampler_name == "ddim"))

    images = len(given.samples)
    sides = arrange(_conditions("positive", positive, images), _conditions("negative", negative, images), cfg != 1)
    if model.kind == "stage_b":
        return run_stage_b(model, *sides, given, course)
    return run_stage_c(model, *sides, given, course, even_images=False)


def fitting(model: Handle, latent: sockets.Latent) -> sockets.Latent:
    """The latent; one of zeros gets as many channels as the model has, as in the host."""
    samples: Tensor = latent["samples"]
    channels: int = model.config.channels
    if samples.shape[1] == channels or samples.is_meta or samples.any():
        return latent
    return {**latent, "samples": samples.new_zeros(len(samples), channels, *samples.shape[2:])}


def _sampler(name: str, scheduler: str) -> Sampler:
    """The sampler of that name; CascadeError for what only the host has."""
    from ...cascade_core.sampling.noise import check_brownian

    fields = ("sampler_name", name, SAMPLER_NAMES), ("scheduler", scheduler, SCHEDULER_NAMES)
    for field, choice, choices in fields:  # those that are linked, which nobody has checked
        if choice not in choices:
            raise CascadeError(
                f"`{field}`: without ComfyUI, expected one of {', '.join(choices)}, found {choice}: choose one of them"
            )
    sampler = SAMPLERS["euler" if name == "ddim" else name.removesuffix(ON_GPU)]  # the host's ddim is euler
    if sampler.brownian:
        check_brownian(name)
    return sampler


def _shift(model: Handle) -> float:
    if model.shift is not None:
        return model.shift
    return (STAGE_B_DEFAULTS if model.kind == "stage_b" else STAGE_C_DEFAULTS).shift


def _sigmas(
    scheduler: str,
    steps: int,
    denoise: float,
    shift: float,
    sampler: Sampler,
    span: tuple[int, int],
    leftover: bool,
) -> list[float]:
    """The sigmas of a run; fewer than two where no step is to be taken."""
    if denoise <= 0:
        return []
    sigmas = scheduled_sigmas(scheduler, steps, denoise, shift, sampler)
    first, last = span
    if last < len(sigmas) - 1:
        sigmas = sigmas[: last + 1]
        if not leftover:
            sigmas[-1] = 0.0
    return sigmas[first:]


def _course(model: Handle, sampler: Sampler, sigmas: Sequence[float], cfg: float, rule: NoiseRule) -> Course:
    import torch

    from ...cascade_core.sampling import course as core
    from ...cascade_core.sampling.stages import process_of

    shift = _shift(model)
    process = process_of(model)
    table = SigmaTable(shift)

    def time_of(sigma: float) -> Time:
        time = process.time_of(sigma, shift)
        return replace(time, condition=float(table.time(torch.tensor(sigma)))) if sigma else time  # its rounding, too

    times = for_sampler(sampler, [time_of(sigma) for sigma in sigmas], time_of)
    most = float(table.sigmas[-1])
    whole = math.isclose(most, sigmas[0], rel_tol=1e-5) or sigmas[0] > most

    def noise(shape: tuple[int, int, int, int], device: torch.device) -> RunNoise:
        return rule.of_run(core.span(times) if sampler.brownian else None, shape, device)

    def begin(original: Tensor, first: Tensor) -> Tensor:
        return times[0].a * original + (1.0 if whole else times[0].b) * first

    return core.Course(sampler, times, Guidance(cfg, rescale=0.0), noise, begin)


def _fit_mask(mask: Tensor, samples: Tensor) -> Tensor:
    """A noise mask of any size for latents (N, C, h, w): (N, 1, h, w), by the host's blend."""
    import torch
    import torch.nn.functional as F

    fitted = F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]).float(), samples.shape[-2:], mode="bilinear")
    return fitted[torch.arange(len(samples), device=fitted.device) % len(fitted)]


def _conditions(name: str, conditioning: sockets.Conditioning, images: int) -> list[Condition]:
    """Every entry of an input, with the latent of Stage C that travels with it, as many times as there are images."""
    import torch

    conditions = sockets.to_conditions(name, conditioning)
    for index, (_, options) in enumerate(conditioning):
        prior: Tensor | None = options.get(PRIOR)
        if prior is not None:
            places = torch.arange(images, device=prior.device) % len(prior)
            conditions[index] = replace(conditions[index], stage_c=prior[places])
    return conditions
