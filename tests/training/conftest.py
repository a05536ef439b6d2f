"""What trainings of the built-in models learn with and from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.training.models import TrainingModels

TINY = "tiny (built-in)"


@pytest.fixture(scope="module")
def models() -> TrainingModels:
    kinds = ("stage_c", "text_encoder", "effnet", "previewer", "image_encoder")
    return TrainingModels(**{kind: load(kind, built_in(kind)[TINY], name=TINY) for kind in kinds})


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, (width, height) in enumerate([(64, 64), (80, 64), (64, 128)]):
        levels = np.random.default_rng(number).integers(255, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a [zig] {number}")
    return folder
