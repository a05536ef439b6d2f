"""A task is what a run trains: its module, its loss, its samples and its finished file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from torch import Tensor, nn

from ..sampling.activations import training_bytes
from .data.buckets import CELL
from .data.cache import Cache, Entry
from .data.dataset import Dataset
from .data.examples import Batches, Examples
from .data.latent_set import LatentSet
from .models import StageBModels, StageCModels, TrainingModels
from .settings import TrainingSettings

DTYPES = "dtypes"  # in an origin: what the models' weights were, for messages alone
Settings = TypeVar("Settings", bound=TrainingSettings)
Module = TypeVar("Module", bound=nn.Module)


class Task(ABC, Generic[Settings, Module]):
    """Everything that a run needs to know of what is trained."""

    kind: ClassVar[str]  # a word for messages and states
    module: Module  # the trained weights, all of their state, and nothing else

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.settings, self.cache = settings, cache

    @abstractmethod
    def origin(self) -> Mapping[str, Any]:
        """Everything that decides, beside the seed and the step, what is learned; JSON."""

    @abstractmethod
    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        """Keys that have to be in the cache before the first step, and how their entries are computed."""

    def learned(self) -> Mapping[str, Tensor]:
        """What is learned beside the module's weights, and is kept with them in a state; changed in place."""
        return {}

    def facts(self) -> dict[str, str]:
        """What a report tells of what is learned from, by name."""
        return {}

    def held_out(self) -> AbstractContextManager[None]:
        """Within it, losses are of what is held out of training."""
        return nullcontext()

    @abstractmethod
    def begin(self) -> AbstractContextManager[None]:
        """Bring everything to where it computes; in the end leave every model as it was."""

    @abstractmethod
    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        """The losses of one batch by name, under gradients."""

    @abstractmethod
    def samples(self) -> list[Tensor]:
        """Sample pictures (3, H, W), made with what is trained."""

    @abstractmethod
    def write(self, path: Path) -> None:
        """Write the finished file, whole or not at all."""


class SourceTask(Task[Settings, Module]):
    """The shared part of those that learn from a data set by frozen models, in batches of a source."""

    LEARNS_BY: ClassVar[tuple[str, ...]] = ("stage_c", "text_encoder", "effnet", "image_encoder")

    def __init__(
        self,
        models: StageCModels | StageBModels,
        dataset: Dataset | LatentSet,
        source: Batches,
        settings: Settings,
        cache: Cache,
    ) -> None:
        super().__init__(settings, cache)
        self.dataset, self.source = dataset, source
        self.fingerprints, self._dtypes = models.fingerprints(*self.LEARNS_BY), models.dtypes(*self.LEARNS_BY)

    def origin(self) -> Mapping[str, Any]:
        return {
            "settings": self.settings.fixed(),
            "models": self.fingerprints,
            DTYPES: self._dtypes,
            "data": self.dataset.fingerprints(),
        }

    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        return self.source.tasks()

    def learned(self) -> Mapping[str, Tensor]:
        return self.source.loss_weight.learned

    def facts(self) -> dict[str, str]:
        facts = {"data": self.dataset.in_words()}
        if self.settings.held_out:
            held, learned = (sum(len(set(group)) for group in self.source.groups(side)) for side in (True, False))
            facts["held out"] = f"{held} of {held + learned}"
        return facts

    def held_out(self) -> AbstractContextManager[None]:
        return self.source.held_out()


class PictureTask(SourceTask[Settings, Module]):
    """The shared part of those that learn from pictures alone."""

    def __init__(
        self,
        models: TrainingModels | StageBModels,
        dataset: Dataset,
        settings: Settings,
        cache: Cache,
        text: bool = True,
    ) -> None:
        """text: cache the captions' encodings."""
        self.examples = Examples(models, dataset, settings, cache, text=text)
        super().__init__(models, dataset, self.examples, settings, cache)


def stage_c_bytes(models: TrainingModels, settings: TrainingSettings, batch: int) -> int:
    """Memory that a training through Stage C takes beside the weights."""
    config = models.stage_c.config
    cells = settings.size // CELL
    tokens = models.text_encoder.config.max_positions + 2 * config.c_clip_seq
    return training_bytes(config, (cells, cells), batch, tokens, models.stage_c.dtype, settings.checkpointing)
