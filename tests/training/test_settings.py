"""One description of a setting: its check, its place among a node's inputs, and what a resumed training compares.

Run: pytest tests/training
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.training.controlnet_settings import ControlNetSettings
from stable_cascade_nodes.cascade_core.training.kinds import TRAININGS, Model
from stable_cascade_nodes.cascade_core.training.lora_settings import LoraSettings, read_tokens
from stable_cascade_nodes.cascade_core.training.setting import ADDED, REQUIRED, setting, settings_of
from stable_cascade_nodes.cascade_core.training.settings import TrainingSettings


@dataclass(frozen=True)
class Later(LoraSettings):
    grain: float = setting(0.5, "How coarse.", least=0.0, most=2.0, step=0.1, round=0.01, place=ADDED)


def test_another_setting_is_one_field_and_comes_last() -> None:
    kind = replace(TRAININGS["lora"], settings=Later)
    assert list(kind.optional()) == [*TRAININGS["lora"].optional(), "grain"]
    assert kind.required() == TRAININGS["lora"].required()
    assert Later.read({"grain": 1.5, "prompts": "a\n\n b "}) == Later(grain=1.5, prompts=("a", "b"))
    with pytest.raises(CascadeError, match=r"grain: expected 0\.0 to 2\.0, found 3"):
        Later(grain=3)


@pytest.mark.parametrize("settings", [TrainingSettings, LoraSettings, ControlNetSettings])
def test_what_a_person_writes_by_default_reads_as_the_default(settings: Any) -> None:
    given = {name: each.default for name, each in settings_of(settings).items()}
    assert settings.read(given) == settings()


def test_models_come_before_settings() -> None:
    for kind in TRAININGS.values():
        order = [isinstance(each, Model) for each in kind.required().values()]
        assert order == sorted(order, reverse=True)
        assert all(each.place == REQUIRED for each in kind.required().values() if not isinstance(each, Model))


def test_what_may_change_when_a_training_goes_on() -> None:
    one, other = LoraSettings(), LoraSettings(steps=7, prompts=("a",), sample_every=3, sample_cfg=2.0, save_every=9)
    assert one.fixed() == other.fixed()
    assert one.fixed() != LoraSettings(rank=5).fixed()
    assert LoraSettings(schedule="cosine").fixed() != LoraSettings(schedule="cosine", steps=7).fixed()


def test_new_words_by_lines() -> None:
    assert read_tokens("[zig]=^star$\n\n[zag]") == (("[zig]", "^star$"), ("[zag]", ""))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "prodigy"}, r"learning_rate: prodigy finds the rate itself .* best 1, found 0\.0001"),
        (
            {"optimizer": "prodigy", "learning_rate": 1.0, "tokens": (("[a]", ""),), "token_rate": 5.0},
            "token_rate: prodigy has one rate for all: leave it at 1, found 5",
        ),
        ({"optimizer": "schedule_free", "ema": 0.9}, "ema: schedule_free averages the weights itself"),
        ({"optimizer": "schedule_free", "schedule": "cosine"}, "schedule: schedule_free is for a rate that stays"),
    ],
)
def test_what_does_not_go_with_an_optimiser(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CascadeError, match=message):
        LoraSettings(**settings)
