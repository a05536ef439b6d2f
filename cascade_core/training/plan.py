"""The plan of a training: its steps and its learning rate. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

OPTIMIZERS = ("adamw", "adamw8bit", "adafactor", "muon", "prodigy", "schedule_free")
"""By muon go the blocks' matrices, the rest by adamw."""
OWN_RATES = {"prodigy": 1.0}  # learning rates of those that find theirs, which this multiplies
WHOLE = ("muon", "prodigy", "schedule_free")  # they are for weights that one process has all of


@dataclass(frozen=True)
class Plan:
    """Steps and learning rate: warm-up, a flat stretch, then a cosine, or a straight line, to zero."""

    steps: int
    learning_rate: float
    warmup: int = 100
    flat: float = 0.3  # share of the steps before the way down begins; 1: it never does
    straight: bool = False  # the way down is a line
    weight_decay: float = 0.01
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.99)
    accumulate: int = 1  # losses whose gradients make one step
    clip: float = 1.0
    ema: float | None = 0.999  # share of the average that stays; None keeps no average of the weights
    ema_every: int = 1  # steps
    ema_start: int | None = None  # the average is the weights until then; None: it forgets less and less from the start
    ema_on_cpu: bool = False
    seed: int = 0
    faster: Mapping[str, float] = field(default_factory=dict[str, float])  # parameters with other rates, see optimizers

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..."""
        warm = self.learning_rate * min(1.0, (step + 1) / self.warmup)
        if self.flat >= 1:
            return warm
        progress = min(max(0.0, (step / self.steps - self.flat) / (1 - self.flat)), 1.0)
        return warm * (1 - progress if self.straight else 0.5 * (1 + math.cos(math.pi * progress)))

    def stays(self, step: int) -> float | None:
        """Share of the average that stays after step 0, 1, ...; None where nothing is taken in."""
        if self.ema is None or (step + 1) % self.ema_every:
            return None
        if self.ema_start is None:
            return min(self.ema, (1 + step) / (10 + step))
        return self.ema if step + 1 > self.ema_start else 0.0
