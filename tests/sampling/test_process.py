"""The schedule against the official values, the targets against their definitions."""

import math

import pytest
import torch

from stable_cascade_nodes.cascade_core.sampling.process import TARGETS, CosineSchedule, Process, variance_preserving

# Measured on the official code: shift, r -> logSNR, a, b.
OFFICIAL = [
    (1.0, 0.8, -2.265210, 0.306668, 0.951816),
    (1.0, 0.5, -0.024627, 0.702740, 0.711447),
    (2.0, 0.8, -3.651504, 0.159046, 0.987271),
    (2.0, 0.5, -1.410921, 0.442819, 0.896611),
    (2.0, 0.05, 3.434909, 0.984265, 0.176698),
]


@pytest.mark.parametrize(("shift", "r", "log_snr", "a", "b"), OFFICIAL)
def test_schedule_and_scaler_have_the_official_values(shift, r, log_snr, a, b):
    found = CosineSchedule().log_snr(torch.tensor(r), shift)
    assert found.item() == pytest.approx(log_snr, abs=1e-6)
    assert [c.item() for c in variance_preserving(found)] == pytest.approx([a, b], abs=1e-6)


@pytest.mark.parametrize(
    ("shift", "r", "log_snr"),
    [(1.0, 1.0, -9.21024), (1.0, 0.0, 9.21007), (2.0, 1.0, -9.21024), (2.0, 0.0, 7.82378), (0.5, 0.0, 9.21007)],
)
def test_shift_moves_the_clean_end_alone_and_no_end_outwards(shift, r, log_snr):
    assert CosineSchedule().log_snr(torch.tensor(r), shift).item() == pytest.approx(log_snr, abs=6e-6)


@pytest.mark.parametrize(
    ("shift", "r", "condition"),
    [
        (2.0, 0.95, 0.974962),
        (2.0, 0.8, 0.897511),
        (2.0, 0.5, 0.705645),
        (2.0, 0.1, 0.201812),
        (2.0, 0.05, 0.106265),
        (1.0, 1.0, 0.993583),
        (1.0, 0.3, 0.3),
    ],
)
def test_noise_condition_is_the_time_without_shift(shift, r, condition):
    schedule = CosineSchedule()
    found = schedule.noise_condition(schedule.log_snr(torch.tensor(r), shift))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(condition, abs=1e-6)


def test_noise_condition_at_the_clean_end():
    # The official float32 arithmetic loses a digit here: acos of a number next to 1.
    schedule = CosineSchedule()
    assert schedule.noise_condition(schedule.log_snr(torch.zeros(()))).item() == pytest.approx(0.002257, abs=2e-6)


@pytest.mark.parametrize("name", ["epsilon", "v"])
def test_a_perfect_prediction_gives_back_picture_and_noise(name):
    x0, noise = torch.randn(2, 2, 4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a, b = math.sqrt(0.3), math.sqrt(0.7)
    x = a * x0 + b * noise
    prediction = TARGETS[name].of(x0, noise, a, b)
    torch.testing.assert_close(TARGETS[name].x0(x, prediction, a, b), x0)
    torch.testing.assert_close(TARGETS[name].noise(x, prediction, a, b), noise)


def test_targets_are_what_the_papers_say():
    x0, noise = torch.tensor(2.0), torch.tensor(3.0)
    assert TARGETS["epsilon"].of(x0, noise, 0.6, 0.8) == 3.0
    assert TARGETS["v"].of(x0, noise, 0.6, 0.8).item() == pytest.approx(0.6 * 3 - 0.8 * 2)


@pytest.mark.parametrize("name", ["epsilon", "v"])
def test_clamped_picture_and_its_noise_still_make_x(name):
    generator = torch.Generator().manual_seed(2)
    x, prediction = torch.randn(2, 1, 4, 5, 5, generator=generator, dtype=torch.float64) * 3
    a, b = 0.6, 0.8
    free, _ = Process(TARGETS[name]).split(x, prediction, a, b)
    x0, noise = Process(TARGETS[name], x0_clamp=1.5).split(x, prediction, a, b)
    assert free.abs().max() > 1.5
    torch.testing.assert_close(x0, free.clamp(-1.5, 1.5))
    torch.testing.assert_close(a * x0 + b * noise, x)


def test_diffuse_takes_a_time_for_each_image():
    x0, noise = torch.ones(2, 4, 3, 3), torch.full((2, 4, 3, 3), 10.0)
    x = Process(TARGETS["epsilon"]).diffuse(x0, noise, torch.tensor([0.8, 0.05]), shift=2.0)
    assert x.dtype == torch.float32
    assert x[:, 0, 0, 0].tolist() == pytest.approx([0.159046 + 9.87271, 0.984265 + 1.76698], abs=1e-5)


def test_timesteps_run_from_the_start_to_zero():
    times = Process(TARGETS["epsilon"]).timesteps(16, start=0.8, shift=2.0)
    assert [time.r for time in times] == pytest.approx([0.8 - 0.05 * i for i in range(17)])
    assert (times[0].a, times[0].b) == pytest.approx((0.159046, 0.987271), abs=1e-6)
    assert (times[-2].a, times[-2].b) == pytest.approx((0.984265, 0.176698), abs=1e-6)
    assert times[-2].condition == pytest.approx(0.106265, abs=1e-6)


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_a_time_is_found_by_its_sigma(shift):
    process = Process(TARGETS["epsilon"])
    for time in process.timesteps(20, shift=shift)[2:-2]:
        found = process.time_of(time.sigma, shift)
        assert (found.r, found.a, found.b) == pytest.approx((time.r, time.a, time.b), abs=1e-6)
        assert found.condition == pytest.approx(time.condition, abs=1e-6)
    assert (process.time_of(0.0).a, process.time_of(0.0).b) == (1, 0)
