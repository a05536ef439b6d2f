"""The table of economies: what it counts."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stable_cascade_nodes.benchmarks import economy
from stable_cascade_nodes.recipes.tiny.data import test_scenes as scenes_of
from stable_cascade_nodes.recipes.tiny.judge import Studio


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio.load()


@pytest.mark.parametrize("recipe", ["ddpm, 20 + 10", "C guided in 0 to 0.5", "B at cfg 1", "C in 4 steps"])
def test_evaluations_are_those_that_a_run_makes(studio: Studio, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = economy.RECIPES[recipe]
    found = {"stage_c": 0, "stage_b": 0}

    def counting(kind: str, evaluate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def count(x: torch.Tensor, *rest: object) -> torch.Tensor:
            found[kind] += len(x)
            return torch.zeros_like(x)

        return count

    for kind in found:
        module = getattr(studio.cascade, kind).module
        monkeypatch.setattr(module, "evaluate", counting(kind, module.evaluate))
    economy.pictures(economy.with_recipe(studio, settings), ["a red circle"])
    assert found["stage_c"] == economy.evaluations(studio.cascade.stage_c, settings.c)
    assert found["stage_b"] == economy.evaluations(studio.cascade.stage_b, settings.b)


def test_work_is_counted_in_turns_where_levels_are_reused(studio: Studio) -> None:
    work = economy.work(studio)
    assert 0 < work.b_reusing < work.b
    assert work.of(2, 5, False) == 2 * work.c + 5 * work.b + work.a
    assert work.of(2, 5, True) == 2 * work.c + 3 * work.b + 2 * work.b_reusing + work.a


def test_distance_of_equal_and_of_other_pictures() -> None:
    (scene,) = scenes_of("one", 1)
    grey = np.full((1, 256, 256, 3), 128, np.uint8)
    assert economy.distance(grey, grey, [scene]) == (economy.MOST, 0.0)
    decibels, _ = economy.distance(grey, grey + np.uint8(51), [scene])  # a fifth of the range
    assert decibels == pytest.approx(-20 * np.log10(0.2), abs=1e-3)
