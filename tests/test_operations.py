"""The operations of an evaluation on a GPU, against diffusers', as benchmarks/operations.py counts them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

FILE = Path(__file__).parents[1] / "benchmarks" / "operations.py"


@pytest.fixture(scope="module")
def operations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("operations", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("case", "most"),
    [
        ("stage_c 1B", 0.62),
        ("stage_b 700M", 0.68),
        ("stage_a", 0.9),
        pytest.param("stage_c 3.6B", 0.62, marks=pytest.mark.slow),
        pytest.param("stage_b 1.5B", 0.68, marks=pytest.mark.slow),
    ],
)
def test_fewer_than_diffusers(operations: ModuleType, case: str, most: float) -> None:
    found = operations.measure(case, 1024, torch.bfloat16)
    assert found["ratio"] <= most
    assert found["ours"] > 100


def test_their_number_does_not_grow_with_the_picture(operations: ModuleType) -> None:
    """As it did while the response norm was summed in chunks of tokens."""
    counts = {operations.measure("stage_c 1B", size, torch.bfloat16)["ours"] for size in (256, 1024)}
    assert len(counts) == 1


def test_what_counts_as_an_operation(operations: ModuleType) -> None:
    """Whatever writes memory, once; a view writes none, and neither does a dropout that is off."""
    x, layer, off = torch.zeros(4, 4), nn.Linear(4, 4), nn.Dropout().eval()

    def count(run: object) -> int:
        with torch.inference_mode():
            return operations.count(run).total()

    assert count(lambda: x.transpose(0, 1)[None].flatten(0, 1).to(torch.float32)) == 0
    assert count(lambda: off(x)) == 0
    assert count(lambda: x.transpose(0, 1).contiguous()) == 1
    assert count(lambda: x.to(torch.bfloat16)) == 1
    assert count(lambda: layer(x)) == 1
    assert count(lambda: x.clone().add_(1)) == 2
