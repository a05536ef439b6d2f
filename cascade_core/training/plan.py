"""The plan of a training: its steps and its learning rate. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

OPTIMIZERS = ("adamw", "adamw8bit", "adafactor")


@dataclass(frozen=True)
class Plan:
    """Steps and learning rate: warm-up, a flat stretch, then a cosine to zero."""

    steps: int
    learning_rate: float
    warmup: int = 100
    flat: float = 0.3  # share of the steps before the cosine begins; 1: it never does
    weight_decay: float = 0.01
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.99)
    muon: bool = False  # the blocks' matrices by Muon (Jordan 2024) instead of AdamW: dearer steps, fewer of them
    accumulate: int = 1  # losses whose gradients make one step
    clip: float = 1.0
    ema: float | None = 0.999  # None keeps no average of the weights
    seed: int = 0
    faster: Mapping[str, float] = field(default_factory=dict[str, float])  # parameters with other rates, see optimizers

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..."""
        warm = self.learning_rate * min(1.0, (step + 1) / self.warmup)
        if self.flat >= 1:
            return warm
        progress = max(0.0, (step / self.steps - self.flat) / (1 - self.flat))
        return warm * 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
