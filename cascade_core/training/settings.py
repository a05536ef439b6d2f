"""What a person sets of a training. The defaults are those of the official trainer, but for the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import CascadeError
from .denoising import WEIGHTS
from .loop import Plan
from .optimizers import OPTIMIZERS

FREE = {"steps", "save_every", "samples", "checkpointing"}
"""What may be another when a training is resumed: nothing that was learned so far depends on it.

But for the steps where the learning rate goes down towards the last of them.
"""


SCHEDULES = {"constant": 1.0, "cosine": 0.3}  # the share of the steps before the learning rate goes down to zero


@dataclass(frozen=True)
class TrainingSamples:
    """The pictures that show how a training goes."""

    prompts: tuple[str, ...] = ()
    every: int = 100  # steps; 0: none
    seed: int = 0  # of the first picture; the next have the next ones
    cfg: float = 4.0


@dataclass(frozen=True)
class TrainingSettings:
    """What all trainings have."""

    size: int = 768  # side of the pictures as the effnet encodes them; one cell of the latent for 32 pixels
    steps: int = 1000
    batch_size: int = 1
    accumulate: int = 1  # batches whose gradients make one step
    learning_rate: float = 1e-4
    warmup: int = 1  # steps
    schedule: str = "constant"
    optimizer: str = "adamw"
    loss_weight: str = "auto"
    noisy_share: float = 0.0  # of the times, drawn from the noisiest tenth, where the layout is decided
    caption_dropout: float = 0.05  # share of captions that are left out
    image_dropout: float = 0.9  # share of image embeddings that are left out, where there are any
    checkpointing: bool = True  # compute each block's activations twice instead of keeping them
    seed: int = 0
    save_every: int = 100
    samples: TrainingSamples = TrainingSamples()

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "warmup", "save_every"):
            if getattr(self, name) < 1:
                raise CascadeError(f"{name}: expected at least 1, found {getattr(self, name)}")
        for name in ("caption_dropout", "image_dropout", "noisy_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise CascadeError(f"{name}: expected 0 to 1, found {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise CascadeError(f"learning_rate: expected over 0, found {self.learning_rate}")
        for name, choices in (("optimizer", OPTIMIZERS), ("loss_weight", WEIGHTS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise CascadeError(f"{name}: expected one of {', '.join(choices)}, found {getattr(self, name)!r}")

    def plan(self) -> Plan:
        return Plan(
            steps=self.steps,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            flat=SCHEDULES[self.schedule],
            optimizer=self.optimizer,
            betas=(0.9, 0.999),
            accumulate=self.accumulate,
            ema=None,
            seed=self.seed,
        )

    def fixed(self) -> dict[str, Any]:
        """What must stay as it is for a training to be resumed."""
        free = FREE if SCHEDULES[self.schedule] == 1 else FREE - {"steps"}
        return {name: value for name, value in asdict(self).items() if name not in free}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """In words, which settings differ."""
    return [
        f"{name} was {before.get(name)}, is {after.get(name)}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
