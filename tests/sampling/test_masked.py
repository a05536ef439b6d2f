"""Masked denoising of Stage C, on a stand-in network: what is not masked stays, what is masked is made anew."""

from functools import partial

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.sampling.masked import fit_mask, fit_noise_mask
from stable_cascade_nodes.cascade_core.sampling.process import TARGETS, Process
from stable_cascade_nodes.cascade_core.sampling.samplers import SAMPLERS
from stable_cascade_nodes.cascade_core.sampling.schedules import evaluated, for_sampler
from stable_cascade_nodes.cascade_core.sampling.times import END

from .runs import run_c

SIZE = (3, 4)
LATENT = torch.linspace(-1, 1, 2 * 16 * 3 * 4).view(2, 16, *SIZE)
LEFT = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(1, 1, *SIZE)  # the left half is made anew
each_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


def run(handle, condition, latent=LATENT, **settings):
    """The last prediction, and the stand-in that saw the steps."""
    model = handle()
    settings = {"seed": 5, "steps": 4, "cfg": 1.0, **settings}
    *_, step = run_c(model, [condition(0.1)], [], latent, **settings)
    return step.x0, model.module


@each_sampler
@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_the_rest_is_the_original_exactly_and_the_masked_part_is_not(handle, condition, sampler, denoise):
    found, _ = run(handle, condition, noise_mask=LEFT, sampler=sampler, denoise=denoise)
    assert torch.equal(found[..., 2:], LATENT[..., 2:])
    assert (found[..., :2] - LATENT[..., :2]).abs().min() > 1e-4


@each_sampler
def test_the_network_sees_the_noised_original_beside_what_it_makes(handle, condition, sampler):
    _, network = run(handle, condition, noise_mask=LEFT, sampler=sampler, steps=3, shift=2.0)
    process = Process(TARGETS["epsilon"])
    stands = [*process.timesteps(3, 1.0, 2.0)[:-1], END]
    times = evaluated(for_sampler(SAMPLERS[sampler], stands, partial(process.time_of, shift=2.0)))
    first = torch.stack([torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(seed)) for seed in (5, 6)])
    twice = sampler == "heun"  # at the end of a step and at the start of the next
    for seen, time in zip(network.inputs[:: 1 + twice], times, strict=True):
        known = time.a * LATENT + time.b * first
        torch.testing.assert_close(seen[..., 2:], known[..., 2:])
        assert not torch.allclose(seen[..., :2], known[..., :2], atol=1e-2) or time.a < 0.02
    torch.testing.assert_close(network.inputs[0][..., :2], first[..., :2])


@each_sampler
def test_a_full_mask_is_none(handle, condition, sampler):
    options = {"sampler": sampler, "denoise": 0.7}
    masked, _ = run(handle, condition, noise_mask=torch.ones(8, 8), **options)
    plain, _ = run(handle, condition, **options)
    torch.testing.assert_close(masked, plain, rtol=1e-4, atol=1e-4)


def test_an_empty_mask_keeps_everything(handle, condition):
    found, _ = run(handle, condition, noise_mask=torch.zeros(64, 64))
    assert torch.equal(found, LATENT)


def test_half_a_mask_is_in_between(handle, condition):
    half, _ = run(handle, condition, noise_mask=torch.full(SIZE, 0.5), sampler="ddim")
    full, _ = run(handle, condition, sampler="ddim")
    between = (half - LATENT).abs().mean() / (full - LATENT).abs().mean()
    assert 0.05 < between < 0.95


def test_every_image_may_have_a_mask_of_its_own(handle, condition):
    masks = torch.cat([LEFT, 1 - LEFT])
    found, _ = run(handle, condition, noise_mask=masks)
    assert torch.equal(found[0, ..., 2:], LATENT[0, ..., 2:]) and torch.equal(found[1, ..., :2], LATENT[1, ..., :2])


@pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (1, 1, 6, 8), (5, 6, 8)])
def test_masks_of_any_form_and_number(shape):
    mask = torch.zeros(shape)
    mask[..., :4] = 1
    assert torch.equal(fit_noise_mask(mask, 2, SIZE), LEFT.expand(2, 1, *SIZE))


def test_fewer_masks_are_used_in_turn():
    masks = torch.stack([torch.zeros(SIZE), torch.ones(SIZE)])
    assert fit_noise_mask(masks, 5, SIZE)[:, 0, 0, 0].tolist() == [0, 1, 0, 1, 0]


def test_one_masked_pixel_is_enough_for_its_cell():
    mask = torch.zeros(1, 1, 257, 341)
    mask[..., 130, 100] = 1
    fitted = fit_mask(mask, (6, 8))
    assert fitted.sum() == 1 and fitted[0, 0, 3, 2] == 1


def test_a_mask_smaller_than_the_latent_is_stretched_within_its_bounds():
    fitted = fit_mask(torch.tensor([[[[0.0, 7.0]]]]), (4, 6))
    assert fitted.shape == (1, 1, 4, 6)
    assert (fitted.min(), fitted.max()) == (0, 1)
    assert fitted[0, 0, 0].tolist() == sorted(fitted[0, 0, 0].tolist())


@pytest.mark.parametrize("shape", [(4,), (1, 3, 8, 8), (0, 8, 8), (1, 1, 1, 8, 8)])
def test_what_is_no_mask_is_refused_before_anything_is_computed(handle, condition, shape):
    model = handle()
    with pytest.raises(CascadeError, match=rf"noise_mask: expected the shape .*found \({shape[0]}.*connect a mask"):
        run_c(model, [condition(0.1)], [], LATENT, seed=0, noise_mask=torch.ones(shape))
    assert model.module.prepared == []
