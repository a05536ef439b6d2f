"""The parts that make pictures crisp: a deeper decoder, what counts as near an outline, and one step of each part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.recipes.tiny import refining_parts
from stable_cascade_nodes.recipes.tiny.networks import shipped
from stable_cascade_nodes.recipes.tiny.refining_parts import deepened
from stable_cascade_nodes.recipes.tiny.training_data import Amounts, Data, near_outlines


def test_a_deeper_decoder_begins_where_the_other_ended() -> None:
    torch.manual_seed(0)
    shallow = StageA(replace(PRESETS["stage_a"]["tiny"], bottleneck_blocks=2)).eval()
    for name, parameter in shallow.named_parameters():
        if name.endswith("gammas"):
            parameter.data.normal_(0, 0.3)
    deep = deepened(shallow)
    pixels = torch.rand(1, 3, 64, 64)
    latent = shallow.encode(pixels)
    assert len(deep.up_blocks) == len(shallow.up_blocks) + 4
    assert torch.equal(deep.eval().encode(pixels), latent)
    apart, size = (deep.decode(latent) - shallow.decode(latent)).std(), shallow.decode(latent).std()
    assert 0 < apart < 0.2 * size


def test_near_an_outline() -> None:
    pixels = torch.zeros(1, 3, 20, 40)
    pixels[..., 20:] = 1
    near = near_outlines(pixels)[0, 0]
    assert near[5].nonzero().flatten().tolist() == list(range(16, 24))
    assert not near_outlines(torch.full((1, 3, 20, 20), 0.7)).any()


@pytest.fixture
def few(tmp_path: Path) -> Data:
    return Data(tmp_path, amounts=Amounts(pictures=8, latents=8, estimates=4, small=8))


def test_stage_b_estimates_three_times(few: Data) -> None:
    part = refining_parts.stage_b_refined(few, 10)
    losses = part.loss(np.random.default_rng(0))
    assert list(losses) == ["first", "early", "late", "v"] and all(0 < loss.item() < 1 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for name, parameter in part.module.named_parameters() if "clf" in name)


def test_the_decoder_alone_learns(few: Data) -> None:
    part = refining_parts.stage_a_decoder(few, 10)
    losses = part.loss(np.random.default_rng(0))
    torch.stack(list(losses.values())).sum().backward()
    learning = {name.split(".")[0] for name, parameter in part.module.named_parameters() if parameter.grad is not None}
    assert learning == {"up_blocks", "out_block"}
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.equal(part.module.eval().encode(pixels), shipped(StageA).encode(pixels))
