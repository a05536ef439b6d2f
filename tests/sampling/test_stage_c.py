"""Sampling Stage C, on a stand-in network, against longhand formulas."""

import math

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.sampling.samplers import SAMPLERS
from stable_cascade_nodes.cascade_core.sampling.schedules import SCHEDULES

from .runs import run_c

LATENT = torch.zeros(2, 16, 3, 4)


def result(steps):
    return list(steps)[-1].x0


def noise_of(seed, draws, shape=(16, 3, 4)):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(draws)]


def a_b(r, shift):
    var = math.cos((0.008 + r) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    var = min(max(var, 1e-4), 0.9999)
    log_snr = max(math.log(var / (1 - var)) - 2 * math.log(shift), math.log(1e-4 / 0.9999))
    a = math.sqrt(1 / (1 + math.exp(-log_snr)))
    return a, math.sqrt(1 - a * a)


def heard(a):
    """The network's time for a signal of `a`."""
    min_var = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    return math.acos(math.sqrt(a * a * min_var)) / (math.pi / 2) * 1.008 - 0.008


@pytest.mark.parametrize("over", ["image", "batch"])
@pytest.mark.parametrize("target", ["epsilon", "v"])
def test_three_guided_steps_longhand(handle, condition, target, over):
    model = handle(target=target)
    found = result(
        run_c(
            model, [condition(0.2)], [condition(-0.1)], LATENT, seed=5, steps=3, cfg=4.0, shift=2.0, rescale_over=over
        )
    )

    noises = [torch.stack(pair).double() for pair in zip(noise_of(5, 4), noise_of(6, 4), strict=True)]
    x = noises[0]
    for i, r in enumerate([1, 2 / 3, 1 / 3]):
        (a, b), (a2, b2) = a_b(r, 2), a_b(r - 1 / 3, 2)
        cond = model.module.predict(x, heard(a), 2 * 0.2)
        uncond = model.module.predict(x, heard(a), 2 * -0.1)
        guided = uncond + 4 * (cond - uncond)
        axes = (1, 2, 3) if over == "image" else (0, 1, 2, 3)
        ratio = cond.std(dim=axes, keepdim=True) / (guided.std(dim=axes, keepdim=True) + 1e-9)
        prediction = 0.7 * guided * ratio + 0.3 * guided
        x0 = (x - b * prediction) / a if target == "epsilon" else a * x - b * prediction
        eps = prediction if target == "epsilon" else b * x + a * prediction
        sigma = b2 / b * math.sqrt(1 - a**2 / a2**2)
        x = a2 * x0 + math.sqrt(b2**2 - sigma**2) * eps + sigma * noises[i + 1]
    torch.testing.assert_close(found.double(), x0, rtol=1e-3, atol=1e-3 * x0.abs().max().item())


def test_steps_are_yielded_one_at_a_time(handle, condition):
    model = handle()
    run = run_c(model, [condition(0.1)], [condition(0)], LATENT, seed=0, steps=4)
    assert model.module.prepared == []  # nothing is computed before the first step is asked for
    step = next(run)
    assert (step.index, step.total, step.x0.shape, step.x0.dtype) == (0, 4, LATENT.shape, torch.float32)
    assert len(model.module.inputs) == 1
    assert not torch.is_inference_mode_enabled()  # between steps the caller's mode rules
    assert [later.index for later in run] == [1, 2, 3]


def test_prompts_are_prepared_once_and_modulations_at_once(handle, condition):
    model = handle()
    list(run_c(model, [condition(0.1)], [condition(0)], LATENT, seed=0, steps=5))
    assert len(model.module.prepared) == 2
    assert model.module.conditions.shape == (5,)
    assert [len(x) for x in model.module.inputs] == [4] * 5  # both passes of both images in one batch


def test_conditional_and_unconditional_see_the_same_latent_conditional_first(handle, condition):
    model = handle()
    number = {}

    def evaluate(x, modulation, prepared):
        number["k"] = prepared.kv[0][:, 0, 0, 0].tolist()
        assert torch.equal(x[:2], x[2:])
        return x

    model.module.evaluate = evaluate
    list(run_c(model, [condition(0.5)], [condition(0)], LATENT, seed=0, steps=1))
    assert number["k"] == pytest.approx([1.0, 1.0, 0.0, 0.0])


def test_cfg_one_is_one_pass(handle, condition):
    model = handle()
    found = result(run_c(model, [condition(0.1)], [], LATENT, seed=0, steps=2, cfg=1.0))
    assert [len(x) for x in model.module.inputs] == [2, 2]
    guided = result(run_c(handle(), [condition(0.1)], [condition(9)], LATENT, seed=0, steps=2, cfg=1.0))
    assert torch.equal(found, guided)


def test_guidance_only_inside_its_window(handle, condition):
    model = handle()
    window = {"cfg_start_percent": 0.2, "cfg_end_percent": 0.7}
    list(run_c(model, [condition(0.1)], [condition(0)], LATENT[:1], seed=0, steps=10, **window))
    assert [len(x) for x in model.module.inputs] == [1, 1, 2, 2, 2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_of_a_batch_can_be_made_alone(handle, condition, sampler):
    options = {"steps": 4, "sampler": sampler, "rescale_over": "image"}
    positive, negative = [condition(0.3)], [condition(0)]
    batch = result(run_c(handle(), positive, negative, LATENT.repeat(2, 1, 1, 1), seed=2**64 - 2, **options))
    last = result(run_c(handle(), positive, negative, LATENT[:1], seed=1, **options))
    torch.testing.assert_close(batch[3:], last, rtol=1e-4, atol=1e-3)
    picked = result(run_c(handle(), positive, negative, LATENT, seed=2**64 - 2, batch_index=[3, 0], **options))
    torch.testing.assert_close(picked, batch[[3, 0]], rtol=1e-4, atol=1e-3)
    assert not torch.allclose(batch[0], batch[1], atol=0.1)


def test_official_rescale_depends_on_the_other_images(handle, condition):
    options = {"seed": 3, "steps": 2, "rescale_over": "batch"}
    both = result(run_c(handle(), [condition(0.3)], [condition(0)], LATENT, **options))
    alone = result(run_c(handle(), [condition(0.3)], [condition(0)], LATENT[:1], **options))
    assert not torch.allclose(both[:1], alone, rtol=1e-3)


def test_the_x0_clamp_bounds_every_prediction(handle, condition):
    inputs = ([condition(0.3)], [condition(0)], LATENT)
    free = [step.x0.abs().max() for step in run_c(handle(), *inputs, seed=0, steps=3)]
    clamped = [step.x0.abs().max() for step in run_c(handle(x0_clamp=2.5), *inputs, seed=0, steps=3)]
    assert max(free) > 10
    assert max(clamped) == 2.5


@pytest.mark.parametrize(("noise_shift", "a", "b"), [("same", 0.159046, 0.987271), ("official", 0.306668, 0.951816)])
def test_denoise_starts_from_the_noisy_latent(handle, condition, noise_shift, a, b):
    model = handle()
    latent = torch.linspace(-1, 1, 2 * 16 * 3 * 4).view(2, 16, 3, 4)
    run = run_c(model, [condition(0.1)], [], latent, seed=5, steps=16, cfg=1.0, denoise=0.8, noise_shift=noise_shift)
    assert len(list(run)) == 16
    noise = torch.stack([*noise_of(5, 1), *noise_of(6, 1)])
    torch.testing.assert_close(model.module.inputs[0], a * latent + b * noise, atol=1e-5, rtol=0)
    assert model.module.conditions[[0, -1]].tolist() == pytest.approx([0.897511, 0.106265], abs=1e-6)


def test_at_denoise_one_the_latent_gives_only_its_size(handle, condition):
    inputs = ([condition(0.1)], [condition(0)])
    empty = result(run_c(handle(), *inputs, LATENT, seed=0, steps=2))
    full = result(run_c(handle(), *inputs, LATENT + 100, seed=0, steps=2))
    assert torch.equal(empty, full)


def test_the_network_gets_its_own_type_and_a_float32_time(handle, condition):
    model = handle(dtype=torch.bfloat16)
    steps = list(run_c(model, [condition(0.1)], [condition(0)], LATENT, seed=0, steps=2))
    assert {x.dtype for x in model.module.inputs} == {torch.bfloat16}
    assert {tensor.dtype for tensors in model.module.prepared for tensor in tensors} == {torch.bfloat16}
    assert model.module.conditions.dtype == torch.float32
    assert steps[-1].x0.dtype == torch.float32


def test_guidance_is_computed_in_float32(handle, condition):
    model = handle(dtype=torch.bfloat16)
    said = []
    evaluate = model.module.evaluate
    model.module.evaluate = lambda *args: said.append(evaluate(*args)) or said[-1]
    found = result(run_c(model, [condition(0.1)], [condition(0)], LATENT, seed=5, steps=1, cfg_rescale=0.0))
    cond, uncond = said[0].double().chunk(2)
    x = torch.stack([*noise_of(5, 1), *noise_of(6, 1)])
    a, b = a_b(1, 2)
    torch.testing.assert_close(found.double(), (x - b * (4 * cond - 3 * uncond)) / a, rtol=1e-4, atol=1e-2)


def test_the_model_is_fetched_anew_for_every_use(handle, condition):
    class Counting(StayPut):
        def __init__(self):
            self.asked = []

        def acquire(self, module, activation_bytes=0):
            self.asked.append(activation_bytes)
            return super().acquire(module, activation_bytes)

    placement = Counting()
    list(run_c(handle(placement=placement), [condition(0.1)], [condition(0)], LATENT, seed=0, steps=3))
    assert len(placement.asked) == 1 + 3
    assert min(placement.asked) > 0


def test_unequal_numbers_of_image_embeddings_are_made_equal_with_zeros(handle, condition):
    model = handle()
    list(run_c(model, [condition(0.5, image_count=3)], [condition(0.5)], LATENT, seed=0, steps=1))
    (_, _, images), (_, _, zeros) = model.module.prepared
    assert images.shape == zeros.shape == (1, 3, 6)
    assert (images == 0.5).all() and (zeros == 0).all()
    assert len(model.module.inputs) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: expected at least 1, found 0"),
        ({"denoise": 0.0}, "denoise: expected over 0 and at most 1, found 0.0"),
        ({"denoise": 1.1}, "denoise: expected over 0 and at most 1, found 1.1"),
        ({"shift": 0.0}, "shift: expected over 0"),
        ({"sampler": "dpm"}, f"sampler: expected one of {', '.join(SAMPLERS)}, found dpm"),
        ({"noise_shift": "none"}, "noise_shift: expected same or official, found none"),
        ({"batch_index": [1]}, "batch_index: expected one number for each of 2 images, found 1"),
    ],
)
def test_impossible_settings_are_refused_at_once(handle, condition, options, message):
    with pytest.raises(CascadeError, match=message):
        run_c(handle(), [condition(0)], [condition(0)], LATENT, seed=0, **options)


@pytest.mark.parametrize("shape", [(2, 4, 3, 4), (16, 3, 4), (0, 16, 3, 4)])
def test_a_latent_of_another_form_is_refused(handle, condition, shape):
    with pytest.raises(CascadeError, match=r"`latent`: expected a latent of shape \(batch, 16, height, width\)"):
        run_c(handle(), [condition(0)], [condition(0)], torch.zeros(shape), seed=0)


@pytest.mark.parametrize("sampler", [name for name, one in SAMPLERS.items() if one.brownian])
def test_brownian_noise_without_its_package_is_refused_before_anything_runs(handle, condition, monkeypatch, sampler):
    monkeypatch.setattr("stable_cascade_nodes.cascade_core.sampling.noise.find_spec", lambda name: None)
    with pytest.raises(CascadeError, match=rf"sampler {sampler} draws .* run `pip install torchsde`"):
        run_c(handle(), [condition(0)], [condition(0)], LATENT, seed=0, sampler=sampler)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", ["ddpm", "heun", "dpmpp_2m", "uni_pc"])
@pytest.mark.parametrize(("steps", "denoise", "shift"), [(1, 1.0, 2.0), (30, 1.0, 0.1), (5, 0.4, 2.0)])
def test_every_schedule_ends_in_a_picture(handle, condition, schedule, sampler, steps, denoise, shift):
    settings = {"steps": steps, "denoise": denoise, "shift": shift, "sampler": sampler, "schedule": schedule}
    run = run_c(handle(x0_clamp=3.0), [condition(0.1)], [condition(0)], LATENT, seed=1, **settings)
    taken = list(run)
    assert len(taken) == run.total == taken[-1].total
    assert taken[-1].x0.isfinite().all() and taken[-1].x0.abs().max() <= 3
    if schedule != "ddim_uniform" and shift == 2:
        assert run.total == steps


def test_simple_is_cosine_but_for_the_clean_end(handle, condition):
    cosine, simple = (
        result(run_c(handle(x0_clamp=3.0), [condition(0.1)], [condition(0)], LATENT, seed=1, schedule=schedule))
        for schedule in ("cosine", "simple")
    )
    torch.testing.assert_close(simple, cosine, rtol=1e-3, atol=1e-3)


def test_an_unknown_schedule_is_refused(handle, condition):
    with pytest.raises(CascadeError, match=f"schedule: expected one of {', '.join(SCHEDULES)}, found linear"):
        run_c(handle(), [condition(0)], [condition(0)], LATENT, seed=0, schedule="linear")
