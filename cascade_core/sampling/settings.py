"""Sampler settings: what a person chooses of a run. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ..errors import CascadeError
from .guidance import Guidance, RescaleOver
from .samplers import SAMPLERS
from .schedules import SCHEDULES


@dataclass(frozen=True)
class SamplerSettings:
    """A run of `steps` steps; CascadeError names what is impossible.

    The names are those of the nodes' widgets; `Guidance` explains cfg and the four after `denoise`.
    """

    steps: int
    cfg: float
    shift: float  # over 1: more of the steps go to coarse structure
    sampler: str = "ddpm"
    denoise: float = 1.0  # share of the way from noise to picture; below 1 the run starts from the given latent
    cfg_rescale: float = 0.7
    rescale_over: RescaleOver = "image"
    cfg_start_percent: float = 0.0
    cfg_end_percent: float = 1.0
    noise_shift: Literal["same", "official"] = "same"  # see start_shift
    schedule: str = "cosine"
    reuse_from: int = 0  # level of Stage B from which every second evaluation takes the one before's; 0: none

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise CascadeError(f"sampler: expected one of {', '.join(SAMPLERS)}, found {self.sampler}")
        if self.schedule not in SCHEDULES:
            raise CascadeError(f"schedule: expected one of {', '.join(SCHEDULES)}, found {self.schedule}")
        if self.steps < 1:
            raise CascadeError(f"steps: expected at least 1, found {self.steps}")
        if not 0 < self.denoise <= 1:
            raise CascadeError(f"denoise: expected over 0 and at most 1, found {self.denoise}")
        if self.reuse_from < 0:
            raise CascadeError(f"reuse_from: expected 0 or a level of Stage B, found {self.reuse_from}")
        if self.shift <= 0:
            raise CascadeError(f"shift: expected over 0 (1 is no shift), found {self.shift}")
        if self.noise_shift not in ("same", "official"):
            raise CascadeError(f"noise_shift: expected same or official, found {self.noise_shift}")
        _ = self.guidance  # checks its own

    @cached_property
    def guidance(self) -> Guidance:
        return Guidance(self.cfg, self.cfg_rescale, self.rescale_over, self.cfg_start_percent, self.cfg_end_percent)

    @property
    def start_shift(self) -> float:
        """The shift of the noise on the given latent: the sampler's, or as in the official notebook none."""
        return self.shift if self.noise_shift == "same" else 1.0


STAGE_C_DEFAULTS = SamplerSettings(steps=20, cfg=4.0, shift=2.0)
STAGE_B_DEFAULTS = SamplerSettings(steps=10, cfg=1.1, shift=1.0)
"""The official settings of the two stages, which are the nodes' defaults."""
