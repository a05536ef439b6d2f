"""The effnet: torchvision's names and counts, the size of its latents, and in a host torchvision's own values."""

from pathlib import Path

import pytest
import torch

from stable_cascade_nodes.benchmarks.peers import alive, deviation
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.effnet import Effnet

from ..host.lanes import Lane
from .hosts import in_host

IN_TORCHVISION = """
import torch, torchvision
backbone = torchvision.models.efficientnet_v2_s().features
mapper = torch.nn.Sequential(torch.nn.Conv2d(1280, 16, 1, bias=False), torch.nn.BatchNorm2d(16, affine=False))
encoder = torch.nn.ModuleDict({"backbone": backbone, "mapper": mapper}).eval()
pixels = given.pop("pixels")
encoder.load_state_dict(given, strict=True)
normalize = torchvision.transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
with torch.no_grad():
    found = {"latent": mapper(backbone(normalize(pixels)))}
"""


def test_published_counts_and_names() -> None:
    with torch.device("meta"):
        module = Effnet(PRESETS["effnet"]["published"])
    state = module.state_dict()
    assert len(state) == 784
    assert len(list(module.parameters())) == 451
    assert sum(p.numel() for p in module.parameters()) == 20_197_968
    assert sum(b.numel() for b in module.buffers()) == 154_015
    expected = {
        "backbone.0.0.weight": (24, 3, 3, 3),
        "backbone.1.0.block.0.1.running_mean": (24,),
        "backbone.2.0.block.1.0.weight": (48, 96, 1, 1),
        "backbone.4.0.block.2.fc1.weight": (16, 256, 1, 1),
        "backbone.6.14.block.3.1.weight": (256,),
        "backbone.7.0.weight": (1280, 256, 1, 1),
        "mapper.0.weight": (16, 1280, 1, 1),
        "mapper.1.running_var": (16,),
    }
    assert {name: tuple(state[name].shape) for name in expected} == expected
    assert not {"mapper.1.weight", "mapper.0.bias"} & set(state)


@pytest.mark.parametrize(("height", "width", "cells"), [(32, 32, (1, 1)), (65, 96, (3, 3)), (50, 33, (2, 2))])
def test_a_cell_per_32_pixels_rounded_up(height: int, width: int, cells: tuple[int, int]) -> None:
    module = alive(Effnet, PRESETS["effnet"]["tiny"])
    latent = module(torch.rand(2, 3, height, width))
    assert latent.shape == (2, 16, *cells)
    assert latent.is_contiguous()


@pytest.mark.host
def test_equals_torchvision(lane: Lane, tmp_path: Path) -> None:
    module = alive(Effnet, PRESETS["effnet"]["published"])
    torch.manual_seed(0)
    pixels = torch.rand(2, 3, 100, 65)
    expected = in_host(lane, IN_TORCHVISION, {**module.state_dict(), "pixels": pixels}, tmp_path)["latent"]
    assert deviation(module(pixels), expected) < 1e-5
