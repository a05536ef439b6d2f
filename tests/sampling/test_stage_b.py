"""Sampling Stage B, on a stand-in network."""

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.sampling.noise import stage_b_seed

from .runs import run_b, run_c

STAGE_C = torch.linspace(-1, 1, 16 * 3 * 5).view(1, 16, 3, 5)
LATENT = torch.zeros(1, 4, 16, 16)


def sample(model, positive, negative=(), stage_c=STAGE_C, latent=LATENT, **options):
    return list(run_b(model, positive, negative, stage_c, latent, **({"seed": 5, "steps": 3} | options)))


def test_unconditional_is_the_negative_prompt_over_an_empty_map(handle, condition):
    model = handle("stage_b")
    sample(model, [condition(0.3)], [condition(0.1)])
    (cond_map, cond, size), (uncond_map, uncond, _) = model.module.prepared
    assert torch.equal(cond_map, STAGE_C)
    assert uncond_map.shape == STAGE_C.shape and (uncond_map == 0).all()
    assert (cond == 0.3).all() and (uncond == 0.1).all()
    assert size == (16, 16)
    assert [len(x) for x in model.module.inputs] == [2, 2, 2]


def test_cfg_one_is_one_pass(handle, condition):
    model = handle("stage_b")
    sample(model, [condition(0.3)], cfg=1.0)
    assert [len(x) for x in model.module.inputs] == [1, 1, 1]


def test_sides_are_padded_to_whole_patches_inside_and_cropped_outside(handle, condition):
    model = handle("stage_b")
    inputs = ([condition(0.3)], [condition(0.1)])
    odd = sample(model, *inputs, latent=torch.zeros(1, 4, 19, 22))
    assert {x.shape[-2:] for x in model.module.inputs} == {(20, 24)}
    assert model.module.prepared[0][2] == (20, 24)
    assert {step.x0.shape for step in odd} == {(1, 4, 19, 22)}
    whole = sample(handle("stage_b"), *inputs, latent=torch.zeros(1, 4, 20, 24))
    for cropped, full in zip(odd, whole, strict=True):
        assert torch.equal(cropped.x0, full.x0[..., :19, :22])


def test_small_sides_are_padded_to_one_cell_of_the_deepest_level(handle, condition):
    model = handle("stage_b")  # patches of 4, halved twice
    steps = sample(model, [condition(0.3)], [condition(0.1)], latent=torch.zeros(1, 4, 4, 17))
    assert {x.shape[-2:] for x in model.module.inputs} == {(16, 20)}
    assert {step.x0.shape for step in steps} == {(1, 4, 4, 17)}


def test_a_padded_picture_goes_on_beyond_its_edge(handle, condition):
    model = handle("stage_b")
    latent = torch.arange(19.0).view(1, 1, 19, 1).repeat(1, 4, 1, 16)
    sample(model, [condition(0)], latent=latent, cfg=1.0, steps=1, denoise=0.5)
    noise = torch.randn(4, 20, 16, generator=torch.Generator().manual_seed(stage_b_seed(5)))
    a, b = 0.702740, 0.711447
    start = (model.module.inputs[0] - b * noise) / a
    assert start[0, 0, :, 0].tolist() == pytest.approx([*range(19), 18], abs=1e-4)


def test_equal_seeds_are_other_noise_than_in_stage_c(handle, condition):
    c, b = handle("stage_c"), handle("stage_b")
    next(run_c(c, [condition(0)], [], torch.zeros(1, 16, 8, 8), seed=5, cfg=1.0))
    sample(b, [condition(0)], cfg=1.0)
    stage_c, stage_b = (model.module.inputs[0].flatten()[:256] for model in (c, b))
    assert torch.corrcoef(torch.stack([stage_c, stage_b]))[0, 1].abs() < 0.2


def test_an_image_of_a_batch_can_be_made_alone(handle, condition):
    maps = torch.cat([STAGE_C, STAGE_C.flip(-1) + 1])
    inputs = ([condition(0.3)], [condition(0.1)])
    both = sample(handle("stage_b"), *inputs, maps, LATENT.repeat(2, 1, 1, 1))
    alone = sample(handle("stage_b"), *inputs, maps[1:], seed=6)
    torch.testing.assert_close(both[-1].x0[1:], alone[-1].x0, rtol=1e-4, atol=1e-3)
    picked = sample(handle("stage_b"), *inputs, maps[1:], batch_index=[1])
    torch.testing.assert_close(picked[-1].x0, alone[-1].x0)
    shared = sample(handle("stage_b"), *inputs, STAGE_C, LATENT.repeat(2, 1, 1, 1))
    torch.testing.assert_close(shared[-1].x0[:1], both[-1].x0[:1], rtol=1e-4, atol=1e-3)


def test_what_does_not_fit_is_refused(handle, condition):
    inputs = ([condition(0)], [condition(0)])
    with pytest.raises(CascadeError, match=r"`stage_c`: expected a latent of shape \(batch, 16, height, width\)"):
        sample(handle("stage_b"), *inputs, stage_c=LATENT)
    with pytest.raises(CascadeError, match=r"`latent`: expected a latent of shape \(batch, 4, height, width\)"):
        sample(handle("stage_b"), *inputs, latent=STAGE_C)
    with pytest.raises(CascadeError, match=r"`stage_c`: expected one latent or as many as `latent` has \(1\), found 2"):
        sample(handle("stage_b"), *inputs, stage_c=STAGE_C.repeat(2, 1, 1, 1))
    with pytest.raises(CascadeError, match="pooled text vectors 8 wide, but those of `negative` are 3 wide"):
        sample(handle("stage_b"), [condition(0)], [condition(0, pooled=torch.zeros(1, 3))])
