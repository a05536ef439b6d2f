"""The published networks, at full size without their gigabytes: counts, names and shapes of every tensor."""

from typing import Any

import pytest
import torch
from torch import nn

from stable_cascade_nodes.benchmarks.peers import paella, translate, unet
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

PUBLISHED = [  # network, preset, parameters, tensors, tensors with q, k and v apart
    pytest.param(StageC, "stage_c", "3.6B", 3_589_103_632, 1294, 1550, id="C 3.6B"),
    pytest.param(StageC, "stage_c", "1B", 1_030_785_040, 654, 782, id="C 1B"),
    pytest.param(StageB, "stage_b", "1.5B", 1_562_941_136, 1454, 1726, id="B 1.5B"),
    pytest.param(StageB, "stage_b", "700M", 699_471_248, 826, 970, id="B 700M"),
]


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(("network", "kind", "preset", "parameters", "tensors", "split"), PUBLISHED)
def test_published_sizes_are_diffusers(
    network: Any, kind: str, preset: str, parameters: int, tensors: int, split: int
) -> None:
    with torch.device("meta"):
        module, other = network(PRESETS[kind][preset]), unet(PRESETS[kind][preset])
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert len(module.state_dict()) == tensors
    translated = {name: tuple(tensor.shape) for name, tensor in translate(module.state_dict(), network).items()}
    assert len(translated) == split
    assert translated == shapes(other)


def test_published_stage_a_is_diffusers() -> None:
    with torch.device("meta"):
        module, other = StageA(PRESETS["stage_a"]["published"]), paella(PRESETS["stage_a"]["published"])
    assert sum(p.numel() for p in module.parameters()) == 18_406_894
    assert sum(b.numel() for b in module.buffers()) == 9
    assert (len(module.state_dict()), len(list(module.parameters()))) == (122, 119)
    translated = {name: tuple(tensor.shape) for name, tensor in translate(module.state_dict(), StageA).items()}
    assert translated == shapes(other)


@pytest.mark.parametrize(("network", "kind"), [(StageC, "stage_c"), (StageB, "stage_b")])
def test_names_are_the_official_files(network: Any, kind: str) -> None:
    """One of each kind of tensor, spelled out: diffusers shares only most of them."""
    with torch.device("meta"):
        names = set(network(next(iter(PRESETS[kind].values()))).state_dict())
    attention, residual = {"stage_c": ("0.2", "1.0"), "stage_b": ("2.2", "1.0")}[kind]
    assert names >= {
        f"down_blocks.{attention}.attention.attn.in_proj_weight",
        f"down_blocks.{attention}.attention.attn.in_proj_bias",
        f"down_blocks.{attention}.attention.attn.out_proj.bias",
        f"down_blocks.{attention}.kv_mapper.1.weight",
        f"up_blocks.{residual}.depthwise.weight",
        f"up_blocks.{residual}.channelwise.0.weight",
        f"up_blocks.{residual}.channelwise.2.gamma",
        f"up_blocks.{residual}.channelwise.4.bias",
        "down_blocks.0.1.mapper.weight",
        "down_blocks.0.1.mapper_sca.bias",
        "embedding.1.weight",
        "clf.1.weight",
    }
    own = {
        "stage_c": {
            "clip_txt_mapper.weight",
            "clip_txt_pooled_mapper.bias",
            "clip_img_mapper.weight",
            "down_blocks.0.1.mapper_crp.weight",
            "down_downscalers.1.1.blocks.0.weight",
            "up_upscalers.0.1.blocks.1.bias",
        },
        "stage_b": {
            "clip_mapper.weight",
            "effnet_mapper.2.weight",
            "pixels_mapper.0.bias",
            "down_downscalers.3.1.weight",
            "up_upscalers.2.1.weight",
            "up_repeat_mappers.0.1.weight",
        },
    }
    assert names >= own[kind]
