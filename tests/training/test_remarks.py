"""What a person is told of a training before it begins. Run: pytest tests/training/test_remarks.py"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.cascade_core.training.data.dataset import read_dataset
from stable_cascade_nodes.cascade_core.training.lora_settings import LoraSettings
from stable_cascade_nodes.cascade_core.training.models import TrainingModels
from stable_cascade_nodes.cascade_core.training.remarks import remarks


def told(models: TrainingModels, pictures: Path, caption: str = "a [zig]", **settings: Any) -> list[str]:
    return remarks(models, read_dataset(pictures, caption), LoraSettings(**settings))


@pytest.mark.parametrize(
    ("tokens", "caption", "expected"),
    [
        ((("[zig]", "^star$"),), "a [ZIG]", []),
        ((), "a star", []),
        (
            (("[zgi]", "^star$"),),
            "a [zig]",
            ["tokens: [zgi] is in no caption; [zig] is in 3 captions and no word of the text encoder"],
        ),
        ((("[zig]", ""),), "a [zig]", ["tokens: [zig] starts from no word, and learns slowly: give it one, as in"]),
        ((("star", "^star$"),), "a star", ["tokens: star is a word of the text encoder, which means the new one"]),
    ],
)
def test_new_words_are_compared_with_captions_and_the_encoder(
    models: TrainingModels, pictures: Path, tokens: Any, caption: str, expected: list[str]
) -> None:
    found = told(models, pictures, caption, tokens=tokens)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"patience": 2}, "patience: nothing is held out, so that no validation ends this training"),
        ({"patience": 2, "held_out": 0.3}, None),  # of the three pictures, one
        ({"batch_size": 3}, None),
        ({"batch_size": 4}, "batch_size: a batch has 4 pictures, but 3 are learned from"),
        ({"batch_size": 3, "held_out": 0.3}, "batch_size: a batch has 3 pictures, but 2 are learned from"),
    ],
)
def test_settings_that_do_nothing(
    models: TrainingModels, pictures: Path, settings: dict[str, Any], expected: str | None
) -> None:
    found = told(models, pictures, "a star", **settings)
    assert [line.startswith(expected or "nothing") for line in found] == [True] * (expected is not None)


def test_prompts_want_what_shows_them(models: TrainingModels, pictures: Path) -> None:
    assert not told(models, pictures, "a star", prompts=("a star",))
    (line,) = told(replace(models, previewer=None), pictures, "a star", prompts=("a star",))
    assert line.startswith("prompts: no samples are made")
    assert not told(replace(models, previewer=None), pictures, "a star", prompts=("a star",), sample_every=0)
