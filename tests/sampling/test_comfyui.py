"""Samplers and schedules against what ComfyUI's own answered, by record_comfyui.py, for the same function."""

import json
from functools import partial

import pytest
import torch

from stable_cascade_nodes.cascade_core.sampling.noise import BrownianNoise
from stable_cascade_nodes.cascade_core.sampling.process import TARGETS, Process
from stable_cascade_nodes.cascade_core.sampling.samplers import SAMPLERS
from stable_cascade_nodes.cascade_core.sampling.schedules import SCHEDULES, for_sampler, scheduled_sigmas

from . import record_comfyui as theirs

ANSWERS = json.loads(theirs.ANSWERS.read_text(encoding="utf-8"))
PROCESS = Process(TARGETS["epsilon"])


def sigmas_of(schedule, shift, steps, denoise, sampler):
    return scheduled_sigmas(schedule, int(steps), float(denoise), float(shift), SAMPLERS[sampler])


def test_every_sampler_and_every_schedule_has_answers():
    assert {name.split()[0] for name in ANSWERS["samplers"]} == set(SAMPLERS)
    assert {name.split()[0] for name in ANSWERS["schedules"]} == {*SCHEDULES} - {"cosine"}


@pytest.mark.parametrize("name", ANSWERS["schedules"])
def test_schedules(name):
    schedule, shift, steps, denoise, sampler = name.split()
    found = sigmas_of(schedule, shift, steps, denoise, sampler)
    # At the clean end float32 has few digits of 1 - var: there another processor's cosine may show.
    assert found == pytest.approx(ANSWERS["schedules"][name], rel=1e-5, abs=2e-6)


@pytest.mark.parametrize("name", ANSWERS["samplers"])
def test_samplers(name):
    key, schedule, shift, steps, leftover = name.split()
    sampler = SAMPLERS[key]
    sigmas = sigmas_of(schedule, shift, steps, 1, "euler")
    times = [PROCESS.time_of(sigma, float(shift)) for sigma in sigmas[: -1 if leftover == "True" else None]]
    count = -1

    def denoise(x, time):
        x0 = theirs.predict(x, time.sigma)
        return x0, (x - time.a * x0) / time.b

    def noise(*sigmas):
        nonlocal count
        count += 1
        return theirs.path_noise(*sigmas) if sampler.brownian else theirs.fresh_noise(count)

    times = for_sampler(sampler, times, partial(PROCESS.time_of, shift=float(shift)))
    *_, (last, x0, x) = sampler.run(denoise, theirs.start(), times, noise)
    assert last == int(steps) - 1 - (leftover == "True")
    expected = torch.tensor(ANSWERS["samplers"][name], dtype=torch.float64).view(theirs.SHAPE)
    torch.testing.assert_close(x / times[-1].a, expected, rtol=1e-5, atol=1e-5)
    if leftover == "False" and key != "uni_pc":
        torch.testing.assert_close(x, x0)


@pytest.mark.parametrize("name", ANSWERS["brownian"])
def test_brownian_noise(name):
    noise = BrownianNoise([theirs.SEED], theirs.SHAPE, theirs.SPAN, torch.device("cpu"))
    found = noise(*map(float, name.split()))
    assert found.flatten().tolist() == pytest.approx(ANSWERS["brownian"][name], rel=1e-5, abs=1e-6)
