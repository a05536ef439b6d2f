"""Samplers by name: how one prediction after another becomes a picture.

Each is a generator of (index, x0, x): the prediction of step `index` and the latent of the next time. The result is the
x0 of the last step. A sampler knows no network, no guidance and no schedule: `denoise(x, time)` returns (x0, eps) with
x = a x0 + b eps, `times` has a and b of each time (one more than there are steps), `noise()` draws standard noise anew.
A sampler that evaluates twice a step has a row in `second`: from the sigmas of a step's two ends that of the second
evaluation, which is then `second` of the step's first time, but for the step to the end.

Importing this needs no torch: names and help are read where nothing is computed. A new sampler is a generator in
solvers/ and its line in SAMPLERS; the help pages in web/docs name it too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .solvers.dpm_solver_pp import (
    dpmpp_2m,
    dpmpp_2m_sde,
    dpmpp_2s_ancestral,
    dpmpp_3m_sde,
    dpmpp_sde,
    halfway,
    halfway_down,
)
from .solvers.first_order import ddim, ddpm, euler, euler_ancestral, lcm
from .solvers.higher_order import dpm_2, dpm_2_ancestral, heun, lms
from .solvers.trace import Denoise, Draw, Times, Trace
from .solvers.uni_pc import uni_pc

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sampler:
    """A sampler as people choose it: `help` says in a few words what it is for."""

    run: Callable[[Denoise, Tensor, Times, Draw], Trace]
    help: str
    second: Callable[[float, float], float] | None = None
    brownian: bool = False  # noise(sigma, sigma_next) is an increment of a Brownian path
    skips_penultimate: bool = False  # schedules but cosine leave their last time before the end out, as in ComfyUI
    repeats: bool = False  # a step between two times of equal noise does no harm


SAMPLERS = {
    "ddpm": Sampler(ddpm, "the official one, adds fresh noise in every step", repeats=True),
    "ddim": Sampler(ddim, "adds none", repeats=True),
    "euler": Sampler(euler, "adds none and gives the same picture as ddim", repeats=True),
    "lcm": Sampler(lcm, "for distilled models", repeats=True),
    "euler_ancestral": Sampler(euler_ancestral, "gives the same picture as ddpm", repeats=True),
    "heun": Sampler(heun, "adds none, evaluates twice a step", lambda sigma, sigma_next: sigma_next),
    "dpm_2": Sampler(dpm_2, "adds none, evaluates twice a step", halfway, skips_penultimate=True),
    "dpm_2_ancestral": Sampler(
        dpm_2_ancestral, "adds noise, evaluates twice a step", halfway_down, skips_penultimate=True
    ),
    "lms": Sampler(lms, "adds none, goes by the last four predictions"),
    "dpmpp_2s_ancestral": Sampler(dpmpp_2s_ancestral, "adds noise, evaluates twice a step", halfway_down),
    "dpmpp_sde": Sampler(dpmpp_sde, "adds noise, evaluates twice a step", halfway, brownian=True),
    "dpmpp_2m": Sampler(dpmpp_2m, "adds none, goes by the last two predictions"),
    "dpmpp_2m_sde": Sampler(dpmpp_2m_sde, "adds noise, goes by the last two predictions", brownian=True),
    "dpmpp_3m_sde": Sampler(dpmpp_3m_sde, "adds noise, goes by the last three predictions", brownian=True),
    "uni_pc": Sampler(uni_pc, "adds none, corrects each step by the next prediction", skips_penultimate=True),
}
