"""What `tiny fast (built-in)` draws in one or two steps, beside the stages without it and their teacher.

Run: pytest tests/builtin/test_few_steps.py -m "slow or not slow" -s
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stable_cascade_nodes.cascade_core.builtin import lora_path, weights_path
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.recipes.tiny import few_steps
from stable_cascade_nodes.recipes.tiny.data import is_reserved, training_scene
from stable_cascade_nodes.recipes.tiny.few_steps_judge import (
    TEACHER,
    Drawn,
    draw,
    few,
    frechet,
    rms,
    row,
    scenes_to_judge,
    with_fast,
)
from stable_cascade_nodes.recipes.tiny.judge import Studio, told
from stable_cascade_nodes.recipes.tiny.reader import read

WAYS = {(fast, steps): few(steps, "lcm", fast) for fast in (False, True) for steps in (1, 2)}
MOST_BYTES = 20_000_000  # of all built-in weights
LATER = {1: 0.05, 2: 0.02}  # by which fewer pictures may be right than the teacher's, by Stage C's steps
CLOSER = {
    1: 0.5,
    2: 0.75,
}  # of the undistilled stages' Frechet distance; of 2,000 pictures, which tell more, .18 and .34
SHORT, LONG = 24, 400  # pictures


@pytest.fixture(scope="module")
def fast(studio: Studio) -> Studio:
    return with_fast(studio, lora_path("fast"))


def test_the_weights_together_are_small() -> None:
    folder = weights_path("stage_c").parent
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MOST_BYTES


def test_it_never_saw_what_it_is_judged_by(tmp_path: Path) -> None:
    few_steps.write_prompts(tmp_path / "prompts.txt")
    lines = (tmp_path / "prompts.txt").read_text().splitlines()
    assert len(lines) == few_steps.PROMPTS
    assert not {*told(scenes_to_judge(400))} & {*lines}
    assert not any(is_reserved(training_scene(index)) for index in range(200))


def test_evaluations_are_counted_as_they_are_made(studio: Studio, fast: Studio) -> None:
    for way, own in ((TEACHER, studio), (WAYS[True, 2], fast), (WAYS[True, 1], fast)):
        counted = {"stage_c": 0, "stage_b": 0}

        def count(module: torch.nn.Module, args: tuple[torch.Tensor, ...], counted: dict[str, int] = counted) -> None:
            counted["stage_c" if module.in_channels == 16 else "stage_b"] += len(args[0])

        layers = [getattr(own.cascade, stage).module.embedding[1] for stage in counted]
        hooks = [layer.register_forward_pre_hook(count) for layer in layers]
        draw(own, way, scenes_to_judge(4)[:2])
        for hook in hooks:
            hook.remove()
        assert (counted["stage_c"] / 2, counted["stage_b"] / 2) == way.calls, way.name


def test_frechet_of_normal_distributions() -> None:
    """By hand for variances along the axes: |m - n|² + sum (s - t)²; and the same after a rotation."""
    random = np.random.default_rng(0)
    one = random.normal(size=(20000, 3))
    one = (one - one.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(one, rowvar=False))).T  # exactly standard
    other = one * (1, 2, 3) + (1, 0, 2)
    assert frechet(one, other) == pytest.approx(5 + 0 + 1 + 4)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    assert frechet(one @ turn, other @ turn) == pytest.approx(10)
    assert frechet(one, one) == pytest.approx(0, abs=1e-8)


def test_distance_of_pictures() -> None:
    black, white = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 255, np.uint8)
    assert rms(black, white) == 255 and rms(white, white) == 0


def test_a_sample_of_pictures(studio: Studio, fast: Studio) -> None:
    """More of them are right than without it, and they lie nearer the teacher's."""
    scenes = scenes_to_judge(SHORT)
    taught = draw(studio, TEACHER, scenes)
    for steps in (1, 2):
        with_it, without = (
            row(WAYS[own], draw(who, WAYS[own], scenes), taught, scenes)
            for own, who in (((True, steps), fast), ((False, steps), studio))
        )
        assert with_it["right"] >= row(TEACHER, taught, taught, scenes)["right"] - 0.1, with_it
        assert with_it["apart"] < without["apart"] and with_it["Frechet"] < without["Frechet"], (with_it, without)


def test_the_workflow_draws_what_it_says(new_program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One choice serves both nodes, and neither warns of the other's half of the file."""
    assert main(["run", "few_steps", "--device", "cpu"]) == 0
    out, told = capsys.readouterr()
    reading = read(np.asarray(Image.open(out.strip()).convert("RGB")))
    assert {(shape.color, shape.shape, shape.size) for shape in reading.shapes} == {
        ("red", "star", "large"),
        ("blue", "circle", "small"),
    }
    assert reading.background == "white" and "found no place" not in told


@pytest.mark.slow
def test_400_pictures(studio: Studio, fast: Studio) -> None:
    scenes = scenes_to_judge(LONG)
    taught = draw(studio, TEACHER, scenes)
    right = row(TEACHER, taught, taught, scenes)["right"]
    for steps in (1, 2):
        found: dict[bool, dict[str, float]] = {}
        for own, who in ((True, fast), (False, studio)):
            drawn: Drawn = draw(who, WAYS[own, steps], scenes)
            found[own] = row(WAYS[own, steps], drawn, taught, scenes)
            print(WAYS[own, steps].name, found[own])
        assert found[True]["right"] >= right - LATER[steps]
        assert found[True]["Frechet"] <= CLOSER[steps] * found[False]["Frechet"]
