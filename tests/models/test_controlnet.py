"""ControlNets: the published counts and names, values against the definition written out, what a new one does.

tests/host/test_controlnet.py has them beside ComfyUI's.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive, deviation
from stable_cascade_nodes.cascade_core.files import load
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.config import PRESETS, ControlNetConfig
from stable_cascade_nodes.cascade_core.models.controlnet import ControlNet

CONTROLNETS = PRESETS["controlnet"]
PROJECTED = (0, 4, 8, 12, 51, 55, 59, 63)
SMALL = {
    "effnet": replace(CONTROLNETS["tiny inpainting"], c_proj=24, proj_blocks=(0, 3)),
    "simple": replace(CONTROLNETS["tiny identity"], c_in=10, c_wide=40, c_out=10, c_proj=24, proj_blocks=(1, 2)),
    "large": replace(
        CONTROLNETS["tiny super_resolution"], c_wide=48, c_blocks=20, c_out=12, c_proj=24, proj_blocks=(0, 2)
    ),
}


@pytest.mark.parametrize(
    ("mode", "parameters", "buffers", "tensors"),
    [
        ("canny", 54_255_776, 153_982, 796),
        ("inpainting", 54_256_424, 153_982, 796),
        ("super_resolution", 203_491_584, 0, 86),
        ("identity", 102_763_008, 0, 132),
    ],
)
def test_published_counts(mode: str, parameters: int, buffers: int, tensors: int) -> None:
    with torch.device("meta"):
        module = ControlNet(CONTROLNETS[mode])
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert sum(b.numel() for b in module.buffers()) == buffers
    assert len(module.state_dict()) == tensors
    assert module.config.proj_blocks == (tuple(range(64)) if mode == "identity" else PROJECTED)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("canny", {"backbone.0.0.weight": (24, 1, 3, 3), "backbone.7.0.weight": (1280, 256, 1, 1)}),
        ("inpainting", {"backbone.0.0.weight": (24, 4, 3, 3), "backbone.1.0.block.0.1.running_mean": (24,)}),
        (
            "super_resolution",
            {"backbone.0.weight": (16384, 16, 1, 1), "backbone.10.blocks.0.weight": (1024,),
             "backbone.3.blocks.5.weight": (1024, 1024, 3, 3), "backbone.11.bias": (1280,),
             "projections.7.0.weight": (1280, 1280, 1, 1), "projections.7.2.weight": (2048, 1280, 1, 1)},
        ),
        (
            "identity",
            {"backbone.0.weight": (2048, 512, 3, 3), "backbone.2.bias": (512,),
             "projections.63.2.weight": (2048, 512, 1, 1)},
        ),
    ],
)  # fmt: skip
def test_published_names(mode: str, expected: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        state = ControlNet(CONTROLNETS[mode]).state_dict()
    assert {name: tuple(state[name].shape) for name in expected} == expected
    assert not any(name.startswith("projections") and name.endswith("bias") for name in state)


def longhand(config: ControlNetConfig, w: dict[str, Tensor], hint: Tensor) -> dict[int, Tensor]:
    """A ControlNet without an EfficientNet, by the names of its tensors."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight = w[f"{name}.weight"]
        return F.conv2d(x, weight, w.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def norm_gelu(x: Tensor, name: str) -> Tensor:
        mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        scale, shift = (w[f"{name}.{end}"].view(1, -1, 1, 1) for end in ("weight", "bias"))
        return F.gelu((x - mean) / (var + 1e-5).sqrt() * scale + shift)

    x = conv(F.leaky_relu(conv(hint, "backbone.0"), 0.2), "backbone.2")
    if config.bottleneck == "large":
        for i in range(3, 3 + config.blocks):
            half = conv(norm_gelu(x, f"backbone.{i}.blocks.0"), f"backbone.{i}.blocks.2")
            x = x + conv(norm_gelu(half, f"backbone.{i}.blocks.3"), f"backbone.{i}.blocks.5")
        x = conv(x, f"backbone.{3 + config.blocks}")
    return {
        block: conv(F.leaky_relu(conv(x, f"projections.{k}.0"), 0.2), f"projections.{k}.2")
        for k, block in enumerate(config.proj_blocks)
    }


@pytest.mark.parametrize("bottleneck", ["simple", "large"])
def test_values_are_the_definition_s(bottleneck: str) -> None:
    config = SMALL[bottleneck]
    module = alive(ControlNet, config)
    hint = torch.randn(2, config.c_in, 5, 7, generator=torch.Generator().manual_seed(1))
    maps = module.project(hint)
    assert len(maps) == max(config.proj_blocks) + 1
    expected = longhand(config, module.state_dict(), hint)
    assert [block for block, one in enumerate(maps) if one is not None] == sorted(expected)
    for block, one in expected.items():
        found = maps[block]
        assert found is not None and found.shape == (2, 24, 5, 7)
        assert deviation(found, one) < 1e-5


def test_the_exchanged_first_convolution_has_no_padding() -> None:
    module = alive(ControlNet, SMALL["effnet"])
    hint = torch.rand(1, 4, 64, 96)
    first = module.backbone.get_submodule("0.0")
    assert first(hint).shape[-2:] == (31, 47)
    maps = module.project(hint)
    assert maps[1] is None and maps[0] is not None and maps[0].shape == (1, 24, 2, 3)
    three = alive(ControlNet, replace(SMALL["effnet"], c_in=3))  # an untouched EfficientNet
    assert three.backbone.get_submodule("0.0")(hint[:, :3]).shape[-2:] == (32, 48)


@pytest.mark.parametrize("bottleneck", sorted(SMALL))
def test_a_new_one_changes_nothing_and_can_learn(bottleneck: str) -> None:
    torch.manual_seed(0)
    config = SMALL[bottleneck]
    module = ControlNet(config)
    maps = [one for one in module.project(torch.rand(2, config.c_in, 32, 32)) if one is not None]
    assert len(maps) == 2 and all(not one.any() for one in maps)
    torch.stack([one.sum() for one in maps]).sum().backward()
    assert all(bool(p[-1].weight.grad.any()) for p in module.projections)


def test_an_unknown_bottleneck() -> None:
    with pytest.raises(ValueError, match="effnet, simple or large, found 'wide'"):
        ControlNet(replace(SMALL["simple"], bottleneck="wide"))


@pytest.mark.parametrize("bottleneck", sorted(SMALL))
def test_saved_and_loaded(bottleneck: str, tmp_path: Path) -> None:
    config = SMALL[bottleneck]
    module = alive(ControlNet, config)
    path = tmp_path / "net.safetensors"
    save(path, module, "controlnet", family="mine")
    handle = load.load("controlnet", path)
    assert (handle.kind, handle.config, handle.family) == ("controlnet", config, "mine")
    hint = torch.rand(1, config.c_in, 64, 64)
    for found, expected in zip(handle.module(hint), module(hint), strict=True):
        assert (found is None) == (expected is None)
        assert found is None or deviation(found, expected) < 1e-5
