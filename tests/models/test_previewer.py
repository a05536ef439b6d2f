"""The previewer: counts, names and sizes, and in a host ComfyUI's own values."""

from pathlib import Path

import pytest
import torch
from torch import nn

from stable_cascade_nodes.benchmarks.peers import alive, deviation
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.previewer import Previewer

from ..host.lanes import Lane
from .hosts import in_host

IN_COMFYUI = """
import torch
from comfy.ldm.cascade.stage_c_coder import Previewer
previewer, latent = Previewer().eval(), given.pop("latent")
previewer.load_state_dict(given, strict=True)
with torch.no_grad():
    found = {"picture": previewer(latent) / 2 + 0.5}  # there -1..1
"""


def test_published_counts_and_places() -> None:
    with torch.device("meta"):
        module = Previewer(PRESETS["previewer"]["published"])
    assert (len(module.state_dict()), len(list(module.parameters()))) == (58, 34)
    assert sum(p.numel() for p in module.parameters()) == 3_979_651
    assert sum(b.numel() for b in module.buffers()) == 4_104
    assert [i for i, block in enumerate(module.blocks) if isinstance(block, nn.Conv2d)] == [0, 3, 9, 15, 21, 24]
    assert [i for i, block in enumerate(module.blocks) if isinstance(block, nn.ConvTranspose2d)] == [6, 12, 18]
    widths = [block.num_features for block in module.blocks if isinstance(block, nn.BatchNorm2d)]
    assert widths == [512, 512, 256, 256, 128, 128, 128, 128]


@pytest.mark.parametrize("preset", PRESETS["previewer"])
def test_eight_pixels_per_cell(preset: str) -> None:
    module = alive(Previewer, PRESETS["previewer"][preset])
    picture = module(torch.randn(2, 16, 3, 5))
    assert picture.shape == (2, 3, 24, 40)
    assert picture.is_contiguous()


@pytest.mark.host
def test_equals_comfyui(lane: Lane, tmp_path: Path) -> None:
    module = alive(Previewer, PRESETS["previewer"]["published"])
    torch.manual_seed(0)
    latent = torch.randn(2, 16, 5, 7)
    expected = in_host(lane, IN_COMFYUI, {**module.state_dict(), "latent": latent}, tmp_path)["picture"]
    assert deviation(module(latent), expected) < 1e-5
