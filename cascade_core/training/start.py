"""A training of any kind, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ..hints import Detector
from ..models.handle import Handle
from .controlnet import ControlNetTask
from .data.cache import Cache
from .data.dataset import Dataset
from .distill import TASKS as DISTILLATIONS
from .lora import LoraTask
from .lora_settings import LoraSettings
from .models import TrainingModels
from .optimizers import package_of
from .run import TrainingRun
from .stages import StageBTask, StageCTask
from .task import Task

CACHE = "cache"
TASKS: dict[str, Callable[[Any, Any, Any, Cache], Task[Any, Any]]] = {
    "lora": LoraTask,
    "stage_c": StageCTask,
    "stage_b": StageBTask,
    **DISTILLATIONS,
}


def start_training(
    kind: str,
    models: Any,
    dataset: Any,
    settings: Any,
    folder: Path,
    target: Path,
    start: Handle | None = None,
    detector: Detector | None = None,
) -> TrainingRun:
    """A run whose states lie in `folder` and whose result becomes `target`; nothing is computed yet.

    kind: a key of `kinds.TRAININGS`, which says of what classes models and settings are. dataset: a Dataset, a
    LatentSet for Stage C, Prompts for a distillation. start: a ControlNet to go on from. detector: of faces, for a
    ControlNet of identity hints. CascadeError where these do not go together.
    """
    package_of(settings.optimizer)
    cache = Cache(folder / CACHE)
    task: Task[Any, Any]
    if kind == "controlnet":
        task = ControlNetTask(models, cast(Dataset, dataset), settings, cache, start, detector)
    else:
        task = TASKS[kind](models, dataset, settings, cache)
    return TrainingRun(task, folder, target)


def train_lora(
    models: TrainingModels, dataset: Dataset, settings: LoraSettings, folder: Path, target: Path
) -> tuple[TrainingRun, LoraTask]:
    """A run of a LoRA, and its task, which gives the LoRA at any time; nothing is computed yet."""
    run = start_training("lora", models, dataset, settings, folder, target)
    return run, cast(LoraTask, run.task)
