"""The operations of an evaluation on a GPU, against diffusers', as benchmarks/counted.py counts them."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from stable_cascade_nodes.benchmarks import counted


@cache
def measured(kind: str, size: str) -> dict[str, Any]:
    """An evaluation at 1024 pixels in bfloat16, ours and diffusers', counted once."""
    return counted.measure(kind, size, 1024, torch.bfloat16)


@pytest.mark.parametrize(
    ("case", "most"),
    [
        (("stage_c", "1B"), 0.62),
        (("stage_b", "700M"), 0.68),
        (("stage_a", "published"), 0.9),
        pytest.param(("stage_c", "3.6B"), 0.62, marks=pytest.mark.slow),
        pytest.param(("stage_b", "1.5B"), 0.68, marks=pytest.mark.slow),
    ],
)
def test_fewer_than_diffusers(case: tuple[str, str], most: float) -> None:
    found = measured(*case)["operations"]
    assert found["ours"] <= most * found["diffusers"]
    assert found["ours"] > 100


def test_their_number_does_not_grow_with_the_picture() -> None:
    """As it did while the response norm was summed in chunks of tokens."""
    small = counted.measure("stage_c", "1B", 256, torch.bfloat16, diffusers=False)["operations"]
    assert small["ours"] == measured("stage_c", "1B")["operations"]["ours"]


def test_what_counts_as_an_operation() -> None:
    """Whatever writes memory, once; a view writes none, and neither does a dropout that is off."""
    x, layer, off = torch.zeros(4, 4), nn.Linear(4, 4), nn.Dropout().eval()

    def count(run: object) -> int:
        with torch.inference_mode():
            return counted.operations(run).total()

    assert count(lambda: x.transpose(0, 1)[None].flatten(0, 1).to(torch.float32)) == 0
    assert count(lambda: off(x)) == 0
    assert count(lambda: x.transpose(0, 1).contiguous()) == 1
    assert count(lambda: x.to(torch.bfloat16)) == 1
    assert count(lambda: layer(x)) == 1
    assert count(lambda: x.clone().add_(1)) == 2


def test_flops_are_those_of_the_formulas() -> None:
    """A guided step of Stage C 1B and B 700M and a decode at 1024 px, counted by hand from the layers' shapes."""
    assert measured("stage_c", "1B")["flops"] == pytest.approx(2.35e12, 0.01)
    assert measured("stage_b", "700M")["flops"] == pytest.approx(4.46e12, 0.01)
    assert measured("stage_a", "published")["flops"] == pytest.approx(2.19e12, 0.01)
