"""The samplers against diffusers, against their formulas, and against each other."""

import math
from functools import partial

import pytest
import torch
from diffusers import DDPMWuerstchenScheduler

from stable_cascade_nodes.cascade_core.sampling.process import TARGETS, Process
from stable_cascade_nodes.cascade_core.sampling.samplers import SAMPLERS
from stable_cascade_nodes.cascade_core.sampling.schedules import for_sampler
from stable_cascade_nodes.cascade_core.sampling.solvers.first_order import ddim, ddpm, euler, euler_ancestral, lcm
from stable_cascade_nodes.cascade_core.sampling.times import Time

PROCESS = Process(TARGETS["epsilon"])
SHAPE = (2, 4, 5, 5)


def normal(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def denoise_with(times, predict):
    """An epsilon network `predict(x, index)` as a denoise."""

    def denoise(x, time):
        return PROCESS.split(x, predict(x, times.index(time)), time.a, time.b)

    return denoise


def prediction(x, i):
    return torch.tanh(x.flip(-1) + 0.1 * i)


def test_a_sampler_is_known_by_its_name_and_a_line_of_help():
    assert {name: sampler.run.__name__ for name, sampler in SAMPLERS.items()} == {name: name for name in SAMPLERS}
    assert all(sampler.help for sampler in SAMPLERS.values())


def test_ddpm_has_the_mean_and_deviation_of_diffusers():
    steps = 8
    scheduler = DDPMWuerstchenScheduler()
    scheduler.set_timesteps(steps)
    times = PROCESS.timesteps(steps)
    x = normal(0)

    def theirs(i, noise_seed):
        generator = torch.Generator().manual_seed(noise_seed)
        t = scheduler.timesteps[i].expand(SHAPE[0])
        return scheduler.step(prediction(x, i), t, x, generator).prev_sample.double()

    def ours(i, noise):
        denoise = denoise_with(times, prediction)
        return next(ddpm(denoise, x, times[i : i + 2], lambda: noise))[2]

    for i in range(steps):
        mean, std = ours(i, torch.zeros(SHAPE)), (ours(i, normal(1)) - ours(i, normal(2))) / (normal(1) - normal(2))
        if i < steps - 1:
            their_std = ((theirs(i, 1) - theirs(i, 2)) / (normal(1) - normal(2)).double()).median()
            their_mean = theirs(i, 1) - their_std * normal(1)
            assert std.median().item() == pytest.approx(their_std.item(), abs=2e-5)
            assert their_std > 0.01
        else:  # their last step adds no noise; the official one does
            their_mean = theirs(i, 1)
            assert 1e-4 < std.median() < 1e-2
        torch.testing.assert_close(mean.double(), their_mean, atol=3e-5, rtol=3e-6)
        x = ours(i, normal(100 + i))


def test_ddim_and_lcm_by_their_formulas():
    times = [Time(1.0, 0.6, 0.8), Time(0.0, 0.8, 0.6)]
    denoise = denoise_with(times, prediction)
    x, noise = normal(3), normal(4)
    x0, eps = denoise(x, times[0])
    index, found, after = next(ddim(denoise, x, times, pytest.fail))
    assert index == 0
    torch.testing.assert_close(found, x0)
    torch.testing.assert_close(after, 0.8 * x0 + 0.6 * eps)
    _, found, after = next(lcm(denoise, x, times, lambda: noise))
    torch.testing.assert_close(found, x0)
    torch.testing.assert_close(after, 0.8 * x0 + 0.6 * noise)


def test_euler_is_a_line_in_variance_exploding_space():
    times = PROCESS.timesteps(6, shift=2.0)
    denoise = denoise_with(times, prediction)
    x = normal(5)
    exploding = x / times[0].a
    for i, x0, after in euler(denoise, x, times, pytest.fail):
        now, then = times[i : i + 2]
        sigma, sigma_next = now.b / now.a, then.b / then.a
        denoised, _ = denoise(now.a * exploding, now)
        exploding = exploding + (sigma_next - sigma) * (exploding - denoised) / sigma
        torch.testing.assert_close(x0, denoised, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(after, then.a * exploding, atol=1e-4, rtol=1e-4)


def test_euler_is_ddim_up_to_rounding():
    times = PROCESS.timesteps(6, shift=2.0)
    denoise = denoise_with(times, prediction)
    for (_, _, ours), (_, _, theirs) in zip(
        euler(denoise, normal(6), times, pytest.fail), ddim(denoise, normal(6), times, pytest.fail), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_euler_ancestral_is_ddpm_up_to_rounding():
    times = PROCESS.timesteps(6, shift=2.0)
    denoise = denoise_with(times, prediction)
    for (_, _, ours), (_, _, theirs) in zip(
        euler_ancestral(denoise, normal(6), times, lambda: normal(7)),
        ddpm(denoise, normal(6), times, lambda: normal(7)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_every_sampler_keeps_the_noise_level_and_finds_the_one_picture(sampler):
    """With the exact prediction for a single picture, x stays at a·picture + b·(unit noise) and x0 is the picture."""
    picture = normal(7)
    times = for_sampler(sampler, PROCESS.timesteps(10, shift=2.0), partial(PROCESS.time_of, shift=2.0))
    shape = (64, *SHAPE[1:])  # enough numbers for a deviation
    generator = torch.Generator().manual_seed(8)

    def denoise(x, time):
        return picture[:1].expand_as(x), (x - time.a * picture[:1]) / time.b

    x = times[0].a * picture[:1] + times[0].b * torch.randn(shape, generator=generator)
    seen = 0
    for i, x0, after in sampler.run(denoise, x, times, lambda *_: torch.randn(shape, generator=generator)):
        unit = (after - times[i + 1].a * picture[:1]) / times[i + 1].b
        assert unit.std().item() == pytest.approx(1, abs=0.05)
        assert math.isclose(unit.mean().item(), 0, abs_tol=0.05)
        assert torch.equal(x0[0], picture[0])
        seen += 1
    assert seen == 10
