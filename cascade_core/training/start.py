"""Trainings by name: what nodes and the command call."""

from __future__ import annotations

from pathlib import Path

from ..hints import Detector
from ..models.handle import Handle
from .cache import Cache
from .controlnet import ControlNetSettings, ControlNetTask
from .dataset import Dataset
from .examples import TrainingModels
from .lora import LoraSettings, LoraTask
from .run import TrainingRun
from .settings import TrainingSettings
from .stages import StageBModels, StageBTask, StageCTask

CACHE = "cache"


def train_lora(
    models: TrainingModels, dataset: Dataset, settings: LoraSettings, folder: Path, target: Path
) -> tuple[TrainingRun, LoraTask]:
    """A run whose states lie in `folder` and whose result becomes `target`; nothing is computed yet."""
    task = LoraTask(models, dataset, settings, Cache(folder / CACHE))
    return TrainingRun(task, folder, target), task


def train_controlnet(
    models: TrainingModels,
    dataset: Dataset,
    settings: ControlNetSettings,
    folder: Path,
    target: Path,
    start: Handle | None = None,
    detector: Detector | None = None,
) -> TrainingRun:
    """The same of a ControlNet, from nothing or from `start`."""
    task = ControlNetTask(models, dataset, settings, Cache(folder / CACHE), start, detector)
    return TrainingRun(task, folder, target)


def train_stage_c(
    models: TrainingModels, dataset: Dataset, settings: TrainingSettings, folder: Path, target: Path
) -> TrainingRun:
    """The same of all of Stage C."""
    return TrainingRun(StageCTask(models, dataset, settings, Cache(folder / CACHE)), folder, target)


def train_stage_b(
    models: StageBModels, dataset: Dataset, settings: TrainingSettings, folder: Path, target: Path
) -> TrainingRun:
    """The same of all of Stage B."""
    return TrainingRun(StageBTask(models, dataset, settings, Cache(folder / CACHE)), folder, target)
