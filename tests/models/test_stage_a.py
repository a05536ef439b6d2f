"""Stage A against diffusers' PaellaVQModel, which leaves the 0.43 to its callers."""

from dataclasses import replace

import pytest
import torch

from stable_cascade_nodes.benchmarks.peers import alive, deviation, twin
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageAConfig
from stable_cascade_nodes.cascade_core.models.stage_a import StageA

SMALL = StageAConfig(c_hidden=24, bottleneck_blocks=2, codebook_size=16)
CONFIGS = {
    "as published, small": SMALL,
    "one level": replace(SMALL, levels=1),
    "three levels": replace(SMALL, levels=3, c_latent=6),
    "tiny": replace(PRESETS["stage_a"]["tiny"], codebook_size=8),  # diffusers always has a codebook
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (2, 24, 40), (3, 40, 8)])
def test_equals_diffusers(config: StageAConfig, batch: int, height: int, width: int) -> None:
    module = alive(StageA, config)
    other, factor = twin(module), 2**config.levels
    torch.manual_seed(0)
    pixels = torch.rand(batch, 3, height, width)
    latent = module.encode(pixels)
    assert latent.shape == (batch, config.c_latent, height // factor, width // factor)
    assert deviation(latent, other.encode(pixels).latents / 0.43) < 1e-5

    latent = torch.randn_like(latent)
    decoded = module.decode(latent)
    assert decoded.shape == pixels.shape
    assert deviation(decoded, other.decode(latent * 0.43).sample) < 1e-5


def test_edges_are_repeated_not_blackened() -> None:
    """The scalars are folded into the weights, which is exact only with replicate padding."""
    module, latent = alive(StageA, SMALL), torch.ones(1, 4, 1, 1)
    assert deviation(module.decode(latent), twin(module).decode(latent * 0.43).sample) < 1e-5


def test_without_a_codebook_there_is_no_tensor_of_it() -> None:
    names = set(StageA(SMALL).state_dict()) - set(StageA(replace(SMALL, codebook_size=0)).state_dict())
    assert names == {"vquantizer.codebook.weight"}
