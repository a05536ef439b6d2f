"""Activations stay token-major, (B, H, W, C) without gaps, from end to end: a copy in every block would cost much."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.benchmarks.peers import alive
from stable_cascade_nodes.cascade_core.models.blocks import AttnBlock, ResBlock, TimestepBlock
from stable_cascade_nodes.cascade_core.models.stage_a import MixingResidualBlock, StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

from . import test_stage_a, test_stage_b, test_stage_c

BLOCKS = (ResBlock, TimestepBlock, AttnBlock)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def gaps(module: nn.Module, kinds: tuple[type[nn.Module], ...], **layout: Any) -> list[str]:
    """Names of the blocks that are given or give anything else; filled while the module runs."""
    found: list[str] = []
    for name, block in module.named_modules():
        if isinstance(block, kinds):

            def check(_: nn.Module, given: tuple[Any, ...], result: Tensor, name: str = name) -> None:
                found.extend(name for tensor in (given[0], result) if not tensor.is_contiguous(**layout))

            block.register_forward_hook(check)
    return found


@DTYPES
@pytest.mark.parametrize("size", [(32, 48), (18, 22)], ids=["even", "odd at some level"])
def test_stage_b_stays_token_major(size: tuple[int, int], dtype: torch.dtype) -> None:
    module = alive(StageB, test_stage_b.SMALL).to(dtype)
    found, given = gaps(module, BLOCKS), test_stage_b.inputs(test_stage_b.SMALL, size=size)
    module(**{name: value if name == "r" else value.to(dtype) for name, value in given.items()})
    assert found == []


@DTYPES
@pytest.mark.parametrize("name", ["repeats", "levels of half the size"])
def test_stage_c_stays_token_major(name: str, dtype: torch.dtype) -> None:
    module = alive(StageC, test_stage_c.CONFIGS[name]).to(dtype)
    found, given = gaps(module, BLOCKS), test_stage_c.inputs(module.config, size=(7, 9))
    module(**{name: value if name == "r" else value.to(dtype) for name, value in given.items()})
    assert found == []


@DTYPES
def test_stage_a_stays_token_major(dtype: torch.dtype) -> None:
    module = alive(StageA, test_stage_a.SMALL).to(dtype)
    found = gaps(module, (MixingResidualBlock,), memory_format=torch.channels_last)
    module.decode(module.encode(torch.rand(2, 3, 24, 40).to(dtype)))
    assert found == []
