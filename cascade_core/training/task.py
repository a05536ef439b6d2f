"""A task is what a run trains: its module, its loss, its samples and its finished file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from torch import Tensor, nn

from ..sampling.activations import training_bytes
from .buckets import CELL
from .cache import Cache, Entry
from .dataset import Dataset
from .examples import Examples
from .models import StageBModels, TrainingModels
from .settings import TrainingSettings

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


class PictureTask(Task[Settings, Module]):
    """The shared part of those that learn from a data set by frozen models."""

    LEARNS_BY: ClassVar[tuple[str, ...]] = ("stage_c", "text_encoder", "effnet", "image_encoder")

    def __init__(
        self,
        models: TrainingModels | StageBModels,
        dataset: Dataset,
        settings: Settings,
        cache: Cache,
        text: bool = True,
    ) -> None:
        """text: cache the captions' encodings."""
        super().__init__(settings, cache)
        self.dataset = dataset
        self.examples = Examples(models, dataset, settings, cache, text=text)
        self.fingerprints = models.fingerprints(*self.LEARNS_BY)

    def origin(self) -> Mapping[str, Any]:
        return {"settings": self.settings.fixed(), "models": self.fingerprints, "data": self.dataset.fingerprints()}

    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        return self.examples.tasks()


def stage_c_bytes(models: TrainingModels, settings: TrainingSettings, batch: int) -> int:
    """Memory that a training through Stage C takes beside the weights."""
    config = models.stage_c.config
    cells = settings.size // CELL
    tokens = models.text_encoder.config.max_positions + 2 * config.c_clip_seq
    return training_bytes(config, (cells, cells), batch, tokens, models.stage_c.dtype, settings.checkpointing)
