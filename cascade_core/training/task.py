"""What a run needs to know of what is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from .cache import Cache, Entry
from .settings import TrainingSettings


class Task(Protocol):
    @property
    def kind(self) -> str:
        """In a word, for messages and states."""
        ...

    @property
    def settings(self) -> TrainingSettings: ...

    @property
    def cache(self) -> Cache: ...

    @property
    def module(self) -> nn.Module:
        """What is trained, all of its state, and nothing else."""
        ...

    def origin(self) -> Mapping[str, Any]:
        """What decides, beside the seed and the step, what is learned; JSON."""
        ...

    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        """What has to be in the cache before the first step."""
        ...

    def begin(self) -> AbstractContextManager[None]:
        """Bring everything to where it computes; in the end leave every model as it was."""
        ...

    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        """Of one batch, under gradients."""
        ...

    def show(self) -> list[Tensor]:
        """Sample pictures (3, H, W), made with what is trained."""
        ...

    def write(self, path: Path) -> None:
        """The finished file, whole or not at all."""
        ...
