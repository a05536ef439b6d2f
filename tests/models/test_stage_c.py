"""Stage C against diffusers' network, and its three parts against the whole."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import LETTERS, alive, deviation, twin
from stable_cascade_nodes.cascade_core.models.body import Prepared, slice_modulation
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageCConfig
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

SMALL = StageCConfig(
    c_hidden=(32, 48),
    nhead=(2, 3),
    blocks=((2, 1), (1, 2)),
    c_cond=24,
    c_clip_text=20,
    c_clip_text_pooled=12,
    c_clip_img=10,
    c_clip_seq=3,
    c_r=8,
)
CONFIGS = {
    "as published, small": SMALL,
    "repeats": replace(SMALL, block_repeat=((1, 2), (2, 3))),
    "levels of half the size": replace(SMALL, switch_level=(True,)),
    "three levels, one without attention": replace(
        SMALL,
        c_hidden=(16, 24, 32),
        nhead=(-1, 2, 4),
        blocks=((1, 2, 1), (2, 1, 2)),
        block_repeat=((1, 1, 1), (1, 2, 1)),
        level_config=("CT", "CTA", "CTA"),
        switch_level=(True, False),
        dropout=(0.0, 0.1, 0.1),
    ),
    "patches of 2, kernel of 5": replace(SMALL, patch_size=2, kernel_size=5),
    "no extra conditions": replace(SMALL, t_conds=()),
    "tiny": PRESETS["stage_c"]["tiny"],
}
CONFIG = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def inputs(
    config: StageCConfig, batch: int = 2, size: tuple[int, int] = (6, 10), pooled: int = 1, images: int = 1
) -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "x": torch.randn(batch, config.channels, *size),
        "r": torch.rand(batch),
        "text": torch.randn(batch, 6, config.c_clip_text),
        "pooled": torch.randn(batch, pooled, config.c_clip_text_pooled),
        "images": torch.randn(batch, images, config.c_clip_img),
    }


def by_diffusers(other: Any, given: dict[str, Any]) -> Tensor:
    x, r, pooled, text, images = (given[name] for name in ("x", "r", "pooled", "text", "images"))
    extra = {name: given[name] for name in ("sca", "crp") if name in given}
    return other(x, r, pooled, clip_text=text, clip_img=images, **extra).sample


@CONFIG
def test_equals_diffusers(config: StageCConfig) -> None:
    module = alive(StageC, config)
    other = twin(module)
    for given in (
        inputs(config),
        inputs(config, batch=3, size=(2, 14)),
        inputs(config, batch=1, size=(6, 10), images=3),
        inputs(config, batch=2, size=(6, 10), pooled=2, images=2),
    ):
        assert deviation(module(**given), by_diffusers(other, given)) < 1e-5


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("as published, small", (1, 1)),
        ("as published, small", (5, 7)),
        ("repeats", (9, 4)),
        ("levels of half the size", (5, 7)),
        ("levels of half the size", (2, 9)),
    ],
)
def test_odd_sizes_equal_diffusers(name: str, size: tuple[int, int]) -> None:
    module = alive(StageC, CONFIGS[name])
    given = inputs(module.config, size=size)
    assert deviation(module(**given), by_diffusers(twin(module), given)) < 1e-5


def test_extra_conditions_equal_diffusers() -> None:
    """One image at a time: diffusers asks `sca or 0`, which fails for more."""
    module = alive(StageC, SMALL)
    other, given = twin(module), inputs(SMALL, batch=1)
    sca, crp = {"sca": torch.tensor([0.3])}, {"crp": torch.tensor([0.7])}
    for extra in (sca, crp, sca | crp):
        found = module(**given, **extra)
        assert deviation(found, by_diffusers(other, given | extra)) < 1e-5
        assert deviation(found, module(**given)) > 1e-2


def test_every_image_of_a_batch_is_what_it_is_alone() -> None:
    module, given = alive(StageC, SMALL), inputs(SMALL, batch=3, size=(5, 7), images=2)
    given |= {"sca": torch.tensor([0.0, 0.4, 1.0]), "crp": torch.tensor([0.9, 0.2, 0.0])}
    together = module(**given)
    for i in range(3):
        alone = module(**{name: value[i : i + 1] for name, value in given.items()})
        assert deviation(together[i : i + 1], alone) < 1e-5


def test_pooled_text_may_lack_the_axis_of_vectors() -> None:
    module, given = alive(StageC, SMALL), inputs(SMALL)
    assert torch.equal(module(**given | {"pooled": given["pooled"][:, 0]}), module(**given))


def test_no_image_is_one_zero_vector() -> None:
    module, given = alive(StageC, SMALL), inputs(SMALL)
    zero = module(**given | {"images": torch.zeros(2, 1, SMALL.c_clip_img)})
    assert torch.equal(module(**given | {"images": None}), zero)
    assert deviation(zero, by_diffusers(twin(module), given | {"images": torch.zeros(2, 1, SMALL.c_clip_img)})) < 1e-5
    two = module(**given | {"images": torch.zeros(2, 2, SMALL.c_clip_img)})
    assert deviation(two, zero) > 1e-3  # its bias tokens count


@CONFIG
def test_parts_equal_the_whole_over_several_steps(config: StageCConfig) -> None:
    module, given = alive(StageC, config), inputs(config, images=2)
    steps = torch.tensor([1.0, 0.975, 0.5, 0.0023])
    modulation = module.modulate(steps)
    prepared = module.prepare(given["text"], given["pooled"], given["images"])
    for i, r in enumerate(steps):
        expected = module(**given | {"r": r.expand(2)})
        assert deviation(module.evaluate(given["x"], slice_modulation(modulation, i), prepared), expected) < 1e-5


def test_prepared_conditions_are_joined_and_shared() -> None:
    module, given = alive(StageC, SMALL), inputs(SMALL, batch=2)
    modulation = module.modulate(given["r"][:1])
    each = [module.prepare(*(given[name][i : i + 1] for name in ("text", "pooled", "images"))) for i in range(2)]
    joined = module.evaluate(given["x"], modulation, Prepared.cat(each))
    for i in range(2):
        assert deviation(joined[i : i + 1], module.evaluate(given["x"][i : i + 1], modulation, each[i])) < 1e-5
    shared = module.evaluate(given["x"], modulation, each[0])  # one serves a batch
    assert deviation(shared[1:], module.evaluate(given["x"][1:], modulation, each[0])) < 1e-5


@pytest.mark.parametrize("name", ["as published, small", "levels of half the size"])
def test_control_is_added_before_the_residual_blocks(name: str) -> None:
    """Counted over the way down and then up; resized to the block's input where it differs; gaps are allowed."""
    module = alive(StageC, CONFIGS[name])
    other, given = twin(module), inputs(module.config, size=(6, 8))
    torch.manual_seed(2)
    control = [
        torch.randn(2, 32, 6, 8),
        None,
        torch.randn(2, 48, 6, 8),
        torch.randn(2, 48, 2, 2),
        torch.randn(2, 32, 9, 5),
    ]

    def adding(added: Tensor) -> Any:
        def before(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x = given[0]
            return (x + F.interpolate(added, x.shape[-2:], mode="bilinear", align_corners=True), *given[1:])

        return before

    blocks = [block for block in other.modules() if type(block).__name__ == LETTERS["C"]]
    assert len(blocks) == len(control) + 1  # the list may be shorter
    for block, added in zip(blocks, control, strict=False):
        if added is not None:
            block.register_forward_pre_hook(adding(added))
    found = module(**given, control=control)
    assert deviation(found, by_diffusers(other, given)) < 1e-5
    assert deviation(found, module(**given)) > 1e-2


def test_unknown_letters_are_named() -> None:
    with pytest.raises(ValueError, match="found 'X'"):
        StageC(replace(SMALL, level_config=("CTA", "CTX")))
