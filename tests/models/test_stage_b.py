"""Stage B against diffusers' network, and its three parts against the whole."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive, deviation, twin
from stable_cascade_nodes.cascade_core.models.body import Prepared, slice_modulation
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageBConfig
from stable_cascade_nodes.cascade_core.models.stage_b import StageB

SMALL = StageBConfig(
    c_hidden=(16, 24, 32, 48),
    nhead=(-1, 9, 2, 3),
    blocks=((1, 2, 1, 1), (2, 1, 2, 1)),
    block_repeat=((1, 1, 1, 1), (2, 2, 2, 2)),
    c_cond=24,
    c_clip=12,
    c_clip_seq=3,
    c_r=8,
)
CONFIGS = {
    "as published, small": SMALL,
    "repeats going down": replace(SMALL, block_repeat=((2, 1, 3, 1), (3, 3, 2, 1))),
    "no repeats": replace(SMALL, block_repeat=((1, 1, 1, 1), (1, 1, 1, 1))),
    "tiny": PRESETS["stage_b"]["tiny"],
}
CONFIG = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def inputs(config: StageBConfig, batch: int = 2, size: tuple[int, int] = (32, 48), pooled: int = 1) -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "x": torch.randn(batch, config.channels, *size),
        "r": torch.rand(batch),
        "effnet": torch.randn(batch, config.c_effnet, 3, 5),
        "pooled": torch.randn(batch, pooled, config.c_clip),
    }


def by_diffusers(other: Any, given: dict[str, Any]) -> Tensor:
    names = {"x": "sample", "r": "timestep_ratio", "pooled": "clip_text_pooled"}
    return other(**{names.get(name, name): value for name, value in given.items()}).sample


@CONFIG
def test_equals_diffusers(config: StageBConfig) -> None:
    module = alive(StageB, config)
    other = twin(module)
    for given in (inputs(config), inputs(config, batch=3, size=(16, 64)), inputs(config, batch=1, pooled=3)):
        assert deviation(module(**given), by_diffusers(other, given)) < 1e-5


@pytest.mark.parametrize("size", [(18, 22), (20, 28), (30, 26), (34, 16)])
@pytest.mark.parametrize("name", ["as published, small", "repeats going down"])
def test_sizes_that_are_odd_at_some_level_equal_diffusers(name: str, size: tuple[int, int]) -> None:
    module = alive(StageB, CONFIGS[name])
    given = inputs(module.config, size=size)
    assert deviation(module(**given), by_diffusers(twin(module), given)) < 1e-5


@pytest.mark.parametrize("effnet", [(1, 1), (16, 24), (20, 40)], ids=["smallest", "the embedded size", "larger"])
def test_effnet_maps_of_any_size_equal_diffusers(effnet: tuple[int, int]) -> None:
    module = alive(StageB, SMALL)
    given = inputs(SMALL) | {"effnet": torch.randn(2, SMALL.c_effnet, *effnet)}
    assert deviation(module(**given), by_diffusers(twin(module), given)) < 1e-5


def test_pixels_equal_diffusers_and_none_is_a_black_picture() -> None:
    module = alive(StageB, SMALL)
    other, given = twin(module), inputs(SMALL)
    pixels = torch.rand(2, 3, 24, 20)
    assert deviation(module(**given, pixels=pixels), by_diffusers(other, given | {"pixels": pixels})) < 1e-5
    assert deviation(module(**given), module(**given, pixels=torch.zeros(2, 3, 8, 8))) < 1e-6
    assert deviation(module(**given, pixels=pixels), module(**given)) > 1e-2


def test_extra_condition_equals_diffusers() -> None:
    """One image at a time: diffusers asks `sca or 0`, which fails for more."""
    module = alive(StageB, SMALL)
    given, extra = inputs(SMALL, batch=1), {"sca": torch.tensor([0.3])}
    found = module(**given, **extra)
    assert deviation(found, by_diffusers(twin(module), given | extra)) < 1e-5
    assert deviation(found, module(**given)) > 1e-2


def test_every_image_of_a_batch_is_what_it_is_alone() -> None:
    module, given = alive(StageB, SMALL), inputs(SMALL, batch=3, size=(18, 22))
    given |= {"sca": torch.tensor([0.0, 0.4, 1.0]), "pixels": torch.rand(3, 3, 9, 7)}
    together = module(**given)
    for i in range(3):
        alone = module(**{name: value[i : i + 1] for name, value in given.items()})
        assert deviation(together[i : i + 1], alone) < 1e-5


def test_pooled_text_may_lack_the_axis_of_vectors() -> None:
    module, given = alive(StageB, SMALL), inputs(SMALL)
    assert torch.equal(module(**given | {"pooled": given["pooled"][:, 0]}), module(**given))


@CONFIG
def test_parts_equal_the_whole_over_several_steps(config: StageBConfig) -> None:
    module, given = alive(StageB, config), inputs(config)
    steps = torch.tensor([1.0, 0.975, 0.5, 0.0023])
    modulation = module.modulate(steps)
    prepared = module.prepare(given["effnet"], given["pooled"], (32, 48))
    for i, r in enumerate(steps):
        expected = module(**given | {"r": r.expand(2)})
        assert deviation(module.evaluate(given["x"], slice_modulation(modulation, i), prepared), expected) < 1e-5


def test_prepared_conditions_are_joined() -> None:
    module, given = alive(StageB, SMALL), inputs(SMALL)
    modulation = module.modulate(given["r"][:1])
    each = [module.prepare(given["effnet"][i : i + 1], given["pooled"][i : i + 1], (32, 48)) for i in range(2)]
    joined = module.evaluate(given["x"], modulation, Prepared.cat(each))
    for i in range(2):
        assert deviation(joined[i : i + 1], module.evaluate(given["x"][i : i + 1], modulation, each[i])) < 1e-5
