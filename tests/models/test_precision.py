"""Sixteen-bit weights, outside autocast: every network runs, answers in its own type, and stays near float32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.benchmarks.peers import alive
from stable_cascade_nodes.cascade_core.models.body import embed_ratio
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.effnet import Effnet
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

from . import test_stage_b, test_stage_c


def run_stage_c(module: nn.Module, dtype: torch.dtype) -> Tensor:
    given = test_stage_c.inputs(test_stage_c.SMALL, size=(5, 7), images=2)
    control = [torch.randn(2, 32, 3, 4).to(dtype)]
    return module(**_cast(given, dtype), control=control)


def run_stage_b(module: nn.Module, dtype: torch.dtype) -> Tensor:
    return module(**_cast(test_stage_b.inputs(test_stage_b.SMALL, size=(18, 22)), dtype))


def _cast(given: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    return {name: value if name == "r" else value.to(dtype) for name, value in given.items()}


NETWORKS: dict[str, tuple[Any, Any, Callable[[Any, torch.dtype], Tensor]]] = {
    "stage_c": (StageC, test_stage_c.SMALL, run_stage_c),
    "stage_b": (StageB, test_stage_b.SMALL, run_stage_b),
    "stage_a encode": (
        StageA,
        PRESETS["stage_a"]["tiny"],
        lambda module, dtype: module.encode(torch.rand(2, 3, 24, 32).to(dtype)),
    ),
    "stage_a decode": (
        StageA,
        PRESETS["stage_a"]["tiny"],
        lambda module, dtype: module.decode(torch.randn(2, 4, 6, 8).to(dtype)),
    ),
    "effnet": (Effnet, PRESETS["effnet"]["tiny"], lambda module, dtype: module(torch.rand(2, 3, 64, 96).to(dtype))),
    "previewer": (
        Previewer,
        PRESETS["previewer"]["tiny"],
        lambda module, dtype: module(torch.randn(2, 16, 3, 4).to(dtype)),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_is_near_float32(name: str) -> None:
    network, config, run = NETWORKS[name]
    module = alive(network, config)
    torch.manual_seed(0)
    expected = run(module, torch.float32)
    torch.manual_seed(0)
    found = run(module.to(torch.bfloat16), torch.bfloat16)
    assert (expected.dtype, found.dtype) == (torch.float32, torch.bfloat16)
    assert (found.float() - expected).square().mean().sqrt() < 0.05 * expected.square().mean().sqrt()


def test_timesteps_stay_float32() -> None:
    """Rounded to bfloat16, 0.95 * 10000 becomes 9472, and the embedding that of another time."""
    module, r = alive(StageC, test_stage_c.SMALL), torch.tensor([0.95])
    assert (embed_ratio(r, 64) - embed_ratio((r * 10000).bfloat16().float() / 10000, 64)).abs().max() > 1
    expected = module.modulate(r)
    for exact, rounded in zip(expected, module.to(torch.bfloat16).modulate(r), strict=True):
        assert rounded.dtype == torch.bfloat16
        assert (rounded.float() - exact).abs().max() < 0.02 * exact.abs().max()
