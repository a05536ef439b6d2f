"""Validation: the loss of examples that are held out of training, the same ones at the same noise every time."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from . import sharded
from .loop import drawn_by
from .task import Task

BATCHES = 8
NAME = "validation"  # of the number in a log
SEED = zlib.crc32(b"validation")


@torch.no_grad()
def validate(task: Task[Any, Any], seed: int) -> float:
    """The mean error over BATCHES batches of what the task holds out; all noise counts alike.

    It is a function of the weights and the seed alone. The module is left as it was, and so is torch's own generator.
    """
    module, was_training = task.module, task.module.training
    total = 0.0
    module.eval()
    with task.held_out():
        for number in range(BATCHES):
            random = np.random.default_rng((seed, SEED, number))
            with drawn_by(random, module):
                total += task.loss(random)["denoising"].item() / BATCHES
    module.train(was_training)
    return sharded.mean({NAME: total})[NAME]


def has_ended(validations: Mapping[int, float], patience: int) -> bool:
    """Whether the last `patience` of these, by their steps, were no better than the best before them; 0: never."""
    values = list(validations.values())
    return 0 < patience < len(values) and min(values[-patience:]) >= min(values[:-patience])
