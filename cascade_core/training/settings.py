"""The settings of each kind of training. Their defaults are those of the official trainer, but for the batch.

Imports no torch: nodes and the command read from here what they offer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, cast

from ..errors import CascadeError
from ..libraries import install_command
from .plan import OPTIMIZERS, Plan
from .setting import ADDED, COMMAND, REQUIRED, lines_of, setting, settings_of, share

SCHEDULES = {"constant": 1.0, "cosine": 0.3, "linear": 0.0}  # share of the steps before the rate goes down to zero
LEAST_OF_PRODIGY = 0.1  # a learning rate below it was meant for another optimiser


@dataclass(frozen=True)
class TrainingSettings:
    """The settings that all trainings have."""

    size: int = setting(
        768,
        "Side at which the pictures are encoded, in pixels: 768 officially, for pictures of 1024; 192 for the"
        " built-in models. Other aspects get as many pixels.",
        built_in=192,
        least=64,
        most=2048,
        step=32,
        place=REQUIRED,
    )
    steps: int = setting(
        1000, "Steps in all. More can be asked for later.", least=1, most=1000000, may_change=True, place=REQUIRED
    )
    batch_size: int = setting(
        1, "Pictures in a batch: more are steadier, and need more memory.", least=1, most=256, place=REQUIRED
    )
    learning_rate: float = setting(
        1e-4,
        "How far a step goes: 0.0001 officially.",
        built_in=2e-3,
        least=1e-7,
        most=1.0,
        step=1e-5,
        round=1e-7,
        place=REQUIRED,
    )
    prompts: tuple[str, ...] = setting(
        (),
        "Prompts of the sample pictures that show how it goes, one in a line.",
        text="",
        several_lines=True,
        read=lines_of,
        may_change=True,
        place=REQUIRED,
    )
    sample_every: int = setting(
        100,
        "Make sample pictures after so many steps; 0: never.",
        least=0,
        most=100000,
        may_change=True,
        place=REQUIRED,
    )
    seed: int = setting(
        0,
        "What the training draws: order, times, noise. The samples have the seeds seed, seed + 1, ...",
        least=0,
        most=0xFFFFFFFFFFFFFFFF,
        is_seed=True,
        place=REQUIRED,
    )
    accumulate: int = setting(
        1, "Batches in a step: as a larger batch, for time instead of memory.", least=1, most=1024
    )
    schedule: str = setting(
        "constant",
        "The learning rate: constant, officially; cosine: after three tenths of the steps down to zero; linear: down to"
        " zero from the start. Both are finer, but fix the number of steps.",
        choices=tuple(SCHEDULES),
    )
    warmup: int = setting(1, "Steps in which the learning rate rises from zero.", least=1, most=100000)
    optimizer: str = setting(
        "adamw",
        "adamw, officially; adamw8bit needs bitsandbytes and keeps a quarter as much; adafactor keeps next to nothing;"
        " muon learns a new network in fewer steps; prodigy finds the rate itself: give it a `learning_rate` of 1;"
        " schedule_free averages the weights instead of a rate that goes down.",
        choices=OPTIMIZERS,
    )
    loss_weight: str = setting(
        "auto",
        "How errors count at different noise: p2, officially, counts nearly clean ones little; auto is that for the"
        " published models, and constant for the built-in ones; min_snr limits how much clean ones count; adaptive, as"
        " official fine-tuning has it, counts all noise alike.",
        choices=("auto", "p2", "constant", "min_snr", "adaptive"),
    )
    noisy_share: float = share(
        0.0,
        "Share of the times drawn from the noisiest tenth, where the layout is decided: 0 officially; 0.3 helps short"
        " trainings.",
    )
    caption_dropout: float = share(
        0.05, "Share of captions that are left out, so that guidance works: 0.05 officially."
    )
    image_dropout: float = share(
        0.9, "Share of the pictures whose image embedding is left out, with an image encoder: 0.9 officially."
    )
    checkpointing: bool = setting(
        True,
        "Compute each block twice instead of keeping what it computed: much less memory, for a third more time.",
        may_change=True,
    )
    save_every: int = setting(100, "Save the state after so many steps.", least=1, most=100000, may_change=True)
    sample_cfg: float = setting(
        4.0, "Guidance of the sample pictures.", least=0.0, most=50.0, step=0.1, round=0.01, may_change=True
    )

    ema: float = share(
        0.0,
        "Share of the averaged weights that stays when the new ones come in; the average is what the file has: 0.9"
        " officially; 0 keeps none.",
        place=COMMAND,
    )
    ema_every: int = setting(
        100, "Steps after which the average takes new weights in: 100 officially.", least=1, most=10000, place=COMMAND
    )
    ema_start: int = setting(
        5000,
        "Steps before which the average is the weights themselves: 5000 officially.",
        least=0,
        most=1000000,
        place=COMMAND,
    )
    ema_on_cpu: bool = setting(
        False, "Keep the average in the computer's memory, not the GPU's.", may_change=True, place=COMMAND
    )
    gradient_limit: float = setting(
        1.0,
        "Longest gradient that a step may take, longer ones are shortened to it: 1 officially; 0 is no limit.",
        least=0.0,
        most=1000.0,
        step=0.1,
        round=0.01,
        place=COMMAND,
    )

    held_out: float = share(
        0.0,
        "Share of the pictures that is not learned from, but tells how well others are predicted; 0: none.",
        place=ADDED,
    )
    validate_every: int = setting(
        100,
        "With `held_out`: steps after which these pictures are predicted, always at the same noise.",
        least=1,
        most=100000,
        may_change=True,
        place=COMMAND,
    )
    patience: int = setting(
        0,
        "With `held_out`: stop where so many validations in a row were no better, and write the best one's weights; 0:"
        " never.",
        least=0,
        most=1000,
        may_change=True,
        place=COMMAND,
    )

    shuffle_tags: bool = setting(
        False,
        "Bring the parts of a caption between commas into another order each time, so that the order means nothing.",
        place=COMMAND,
    )
    keep_tags: int = setting(
        1, "With `shuffle_tags`: so many parts stay in front, such as a new word.", least=0, most=100, place=COMMAND
    )
    unmasked_weight: float = share(
        1.0,
        "How much errors count outside of masks, which lie beside the pictures (`cat-masklabel.png`) or in their"
        " transparency: 1 is without masks, 0 learns nothing there.",
        place=ADDED,
    )

    wandb: bool = setting(
        False,
        "Log to wandb, too, where it is installed: losses, validation and samples, in the training's folder; nothing is"
        " sent before `wandb sync`.",
        may_change=True,
        place=COMMAND,
    )

    keep_every: int = setting(
        0,
        "Keep what would be the finished file after so many steps each, as NAME-000100.safetensors in the training's"
        " folder, to choose from; 0: none.",
        least=0,
        most=1000000,
        may_change=True,
        place=COMMAND,
    )

    def __post_init__(self) -> None:
        for name, each in settings_of(type(self)).items():
            each.check(getattr(self, name))
        self._check_optimizer()
        if self.wandb and find_spec("wandb") is None:
            raise CascadeError(
                f"wandb: it is not installed ({install_command('wandb')}): install it, or leave wandb out;"
                " the training's folder has the same numbers and pictures"
            )

    def _check_optimizer(self) -> None:
        """CascadeError for what an optimiser does in its own way."""
        if self.optimizer == "prodigy" and self.learning_rate < LEAST_OF_PRODIGY:
            raise CascadeError(
                "learning_rate: prodigy finds the rate itself and multiplies it by this: expected"
                f" {LEAST_OF_PRODIGY} to 1, best 1, found {self.learning_rate:g}"
            )
        if self.optimizer == "schedule_free" and self.ema:
            raise CascadeError("ema: schedule_free averages the weights itself: leave ema at 0")
        if self.optimizer == "schedule_free" and self.schedule != "constant":
            raise CascadeError(
                "schedule: schedule_free is for a rate that stays, which it averages the weights for: choose constant,"
                f" found {self.schedule}"
            )

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> TrainingSettings:
        """Settings from the values of widgets or options; what is not given keeps its default."""
        readers = {name: each.read for name, each in settings_of(cls).items() if each.read}
        return cls(**{name: readers[name](value) if name in readers else value for name, value in given.items()})

    def samples_after(self, step: int) -> bool:
        """Whether sample pictures are due after so many steps: every so often, and at the end."""
        due = self.sample_every and (step >= self.steps or step % self.sample_every == 0)
        return bool(self.prompts and due)

    def keeps_after(self, step: int) -> bool:
        """Whether the file of so many steps is kept."""
        return self.keep_every > 0 and step % self.keep_every == 0

    def validates_after(self, step: int) -> bool:
        """Whether what is held out is predicted after so many steps: every so often, and at the end."""
        return bool(self.held_out) and (step >= self.steps or step % self.validate_every == 0)

    def plan(self) -> Plan:
        return Plan(
            steps=self.steps,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            flat=SCHEDULES[self.schedule],
            straight=self.schedule == "linear",
            optimizer=self.optimizer,
            betas=(0.9, 0.999),
            accumulate=self.accumulate,
            clip=self.gradient_limit or math.inf,
            ema=self.ema or None,
            ema_every=self.ema_every,
            ema_start=self.ema_start,
            ema_on_cpu=self.ema_on_cpu,
            seed=self.seed,
        )

    def fixed(self) -> dict[str, Any]:
        """The settings that must stay as they are for a training to be resumed.

        The steps are among them where the learning rate goes down towards the last of them.
        """
        free = {name for name, each in settings_of(type(self)).items() if each.may_change}
        if SCHEDULES[self.schedule] < 1:
            free.discard("steps")
        return {name: value for name, value in asdict(self).items() if name not in free}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """In words, which settings differ; of settings that have parts, which parts."""
    found: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            parts = changed(cast(dict[str, Any], old), cast(dict[str, Any], new))
            found += [f"{name}.{part}" for part in parts]
        elif old != new:
            found.append(f"{name} was {old}, is {new}")
    return found
