"""Do the built-in cascade's pictures show what their prompts say?

Run: pytest tests/builtin/test_meaning.py -m "slow or not slow" -s

The prompts were never trained on, and the reader knows nothing of the networks. Every level asserted is the shipped
one less five points; the long form prints the table that the recipe's README shows.
"""

from dataclasses import replace

import pytest

from stable_cascade_nodes.cascade_core.builtin import NAME, built_in
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.recipes.tiny.data import test_scenes as scenes_of
from stable_cascade_nodes.recipes.tiny.judge import Studio, judge, nearness, told
from stable_cascade_nodes.recipes.tiny.reader import is_right

KINDS = ("one", "relation", "count", "face")
SLACK = 0.05
SAMPLE = {"one": 1.0, "relation": 0.958, "count": 0.958, "face": 1.0}  # right of the first 24 prompts
SHIPPED = {
    ("one", False): 1.0,
    ("relation", False): 0.955,
    ("count", False): 0.98,
    ("face", False): 0.99,
    ("one", True): 0.865,
    ("relation", True): 0.74,
    ("count", True): 0.725,
    ("face", True): 0.715,
}  # right of 200 prompts; True: of combinations held out of training
NEAR = {"decibels": 28.51, "outline": 1.02}  # of the first 4 drawn pictures of each kind


@pytest.fixture
def quick(studio: Studio) -> Studio:
    """The cascade in half of its steps, which draws as well what is asked here."""
    settings_c, settings_b = (replace(own, steps=own.steps // 2) for own in (studio.settings_c, studio.settings_b))
    return replace(studio, settings_c=settings_c, settings_b=settings_b)


@pytest.mark.parametrize("kind", KINDS)
def test_sample_of_prompts(quick: Studio, kind: str) -> None:
    shares = judge(quick, "whole", scenes_of(kind, 24))
    assert shares["right"] >= SAMPLE[kind] - SLACK, shares


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_200_prompts(studio: Studio, kind: str, held_out: bool) -> None:
    scenes = scenes_of(kind, 200, held_out)
    assert len(scenes) == 200
    shares = judge(studio, "whole", scenes)
    print(kind, "held out" if held_out else "", {name: round(share, 3) for name, share in shares.items()})
    assert shares["right"] >= SHIPPED[kind, held_out] - SLACK, shares


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "lost"), [("int8", 0.01), ("int4", 0.04)])
def test_prompts_with_quantised_weights(studio: Studio, dtype: str, lost: float) -> None:
    """Of 100 prompts of each kind, in the mean."""

    def right(studio: Studio) -> float:
        return sum(judge(studio, "whole", scenes_of(kind, 100))["right"] for kind in KINDS) / len(KINDS)

    stages = {kind: load(kind, built_in(kind)[NAME], name=NAME, dtype=dtype) for kind in ("stage_c", "stage_b")}
    assert right(replace(studio, cascade=replace(studio.cascade, **stages))) >= right(studio) - lost


def test_drawn_pictures_come_back_near(studio: Studio) -> None:
    """Through effnet, Stage B and Stage A; most of what lies off is not Stage A's."""
    scenes = [scene for kind in KINDS for scene in scenes_of(kind, 4)]
    near = nearness(studio, "stage_b", scenes)
    assert near["decibels"] >= NEAR["decibels"] - 0.5 and near["outline"] <= NEAR["outline"] + 0.1, near
    assert nearness(studio, "stage_a", scenes)["outline"] < 0.5 * near["outline"]


def test_the_prompt_decides(quick: Studio) -> None:
    """Pictures of other prompts are wrong: the levels above are not the reader's kindness."""
    scenes = scenes_of("one", 16)
    pixels = quick.decode(quick.latents(told(scenes), 0), told(scenes), 0)
    others = [*scenes[1:], scenes[0]]
    fooled = [is_right(p.permute(1, 2, 0).numpy(), other) for p, other in zip(pixels, others, strict=True)]
    assert sum(fooled) <= 1
