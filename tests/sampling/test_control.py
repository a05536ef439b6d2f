"""ControlNets in sampling: equal to a loop written out, when and on which pass they act, and what is refused."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.controlnet import ControlNet
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.sampling.condition import Condition
from stable_cascade_nodes.cascade_core.sampling.control import Control, fit_hint, middle
from stable_cascade_nodes.cascade_core.sampling.denoise import Sides
from stable_cascade_nodes.cascade_core.sampling.process import CosineSchedule

from .runs import run_b, run_c

CONFIG = PRESETS["stage_c"]["tiny"]
EMPTY = torch.zeros(1, 16, 2, 3)


def alive(network, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network():
    return alive(StageC(CONFIG), 0)


@pytest.fixture
def stage_c(handle, network):
    return handle("stage_c", network, config=CONFIG, target="v")


@pytest.fixture
def control(handle):
    """A control by a network of its own, with large weights so that it shows."""

    def make(mode="super_resolution", seed=1, batch=1, size=(85, 128), hint_size=(2, 3), **changes):
        fields = {key: changes.pop(key) for key in ("strength", "start", "end") if key in changes}
        module = alive(ControlNet(replace(PRESETS["controlnet"][f"tiny {mode}"], **changes)), seed)
        hint = torch.rand(batch, module.config.c_in, *hint_size, generator=torch.Generator().manual_seed(seed))
        net = handle("controlnet", module, config=module.config, name="the net")
        return Control(net, hint * 40, size, **fields)

    return make


@pytest.fixture
def prompt():
    def make(seed, tokens=7, **changes):
        g = torch.Generator().manual_seed(seed)
        sequence = torch.randn(1, tokens, CONFIG.c_clip_text, generator=g)
        pooled = torch.randn(1, CONFIG.c_clip_text_pooled, generator=g)
        return Condition(sequence, pooled, **changes)

    return make


def run(stage_c, positive, negative, latent=EMPTY, **options):
    return [s.x0 for s in run_c(stage_c, positive, negative, latent, **{"seed": 3, "steps": 4} | options)]


def test_equals_a_loop_written_out(network, stage_c, control, prompt):
    """Two controls that add up, one of them for the first half: in both passes of DDIM, at a strength each."""
    whole, half = control(strength=0.7), control("identity", seed=2, strength=1.5, end=0.5)
    positive, negative = prompt(0, controls=(whole, half)), prompt(9)
    found = run(stage_c, [positive], [negative], sampler="ddim", cfg=3.0, cfg_rescale=0.0, shift=2.0)

    schedule = CosineSchedule()
    r = torch.linspace(1, 0, 5, dtype=torch.float64)
    log_snr = schedule.log_snr(r, 2.0)
    a, b = torch.sigmoid(log_snr.double()).sqrt(), torch.sigmoid(-log_snr.double()).sqrt()
    heard = schedule.noise_condition(log_snr)
    x = torch.randn(1, 16, 2, 3, generator=torch.Generator().manual_seed(3))
    for i in range(4):
        acting = [whole, half] if 1 - r[i] <= 0.5 else [whole]
        maps = [torch.zeros(1, CONFIG.c_hidden[0], 2, 3) for _ in range(6)]
        for one in acting:
            for block, added in enumerate(one.controlnet.module.project(one.hint)):
                maps[block] = maps[block] + one.strength * added
        said = [network(x.float(), heard[i : i + 1], c.sequence, c.pooled, control=maps) for c in (positive, negative)]
        v = said[1] + 3.0 * (said[0] - said[1])
        x0, noise = a[i] * x - b[i] * v, b[i] * x + a[i] * v
        torch.testing.assert_close(found[i], x0.float(), atol=1e-4, rtol=1e-4)
        x = a[i + 1] * x0 + b[i + 1] * noise
    plain = run(stage_c, [prompt(0)], [negative], sampler="ddim", cfg=3.0, cfg_rescale=0.0, shift=2.0)
    assert (found[-1] - plain[-1]).abs().max() > 0.05


def test_strength_zero_and_a_window_that_no_step_meets_change_nothing(stage_c, control, prompt):
    plain = run(stage_c, [prompt(0)], [prompt(9)])
    for idle in (control(strength=0.0), control(start=0.8, end=0.9)):
        found = run(stage_c, [prompt(0, controls=(idle,))], [prompt(9)])
        assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))


def test_it_acts_between_its_percents(stage_c, control, prompt):
    """Steps begin at 0, 25, 50 and 75 percent; the first of them sees no difference yet."""
    plain = run(stage_c, [prompt(0)], [prompt(9)])
    late = run(stage_c, [prompt(0, controls=(control(start=0.25, end=0.5),))], [prompt(9)])
    assert torch.equal(late[0], plain[0])
    assert not torch.allclose(late[1], plain[1], atol=1e-3)


def test_the_unconditional_pass_has_the_positive_one_s(stage_c, control, prompt):
    one = control()
    shared = run(stage_c, [prompt(0, controls=(one,))], [prompt(9)])
    told = run(stage_c, [prompt(0, controls=(one,))], [prompt(9, controls=(one,))])
    assert all(torch.equal(a, b) for a, b in zip(shared, told, strict=True))
    own = run(stage_c, [prompt(0, controls=(one,))], [prompt(9, controls=(control(seed=5),))])
    assert not torch.allclose(shared[-1], own[-1], atol=1e-3)


def test_on_the_negative_prompt_alone_it_acts_there_alone(stage_c, control, prompt):
    alone = run(stage_c, [prompt(0)], [prompt(9, controls=(control(),))])
    without_guidance = run(stage_c, [prompt(0)], [prompt(9, controls=(control(),))], cfg=1.0)
    assert not torch.allclose(alone[-1], run(stage_c, [prompt(0)], [prompt(9)])[-1], atol=1e-3)
    assert torch.equal(without_guidance[-1], run(stage_c, [prompt(0)], [prompt(9)], cfg=1.0)[-1])


def test_of_several_positive_prompts_the_unconditional_pass_has_the_mean(stage_c, control, prompt):
    """A control on one of two alike prompts is, for the unconditional pass, one of half the strength."""
    one, half = control(), control(strength=0.5)
    steered = [prompt(0, controls=(one,)), prompt(1)]
    found = run(stage_c, steered, [prompt(9)], steps=1, cfg_rescale=0.0)
    expected = run(stage_c, steered, [prompt(9, controls=(half,))], steps=1, cfg_rescale=0.0)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    both = run(stage_c, [prompt(0, controls=(one,)), prompt(0, controls=(one,))], [prompt(9)])
    once = run(stage_c, [prompt(0, controls=(one,))], [prompt(9)])
    torch.testing.assert_close(both[-1], once[-1], atol=1e-5, rtol=1e-5)


def test_passes_of_different_length(stage_c, control, prompt):
    """They are evaluated apart, and steered alike."""
    one = control()
    found = run(stage_c, [prompt(0, controls=(one,)), prompt(1, tokens=12)], [prompt(9)])
    assert torch.isfinite(found[-1]).all()
    assert not torch.allclose(found[-1], run(stage_c, [prompt(0), prompt(1, tokens=12)], [prompt(9)])[-1], atol=1e-3)


def test_a_hint_for_each_image(stage_c, control, prompt):
    three = control(batch=3)
    together = run(stage_c, [prompt(0, controls=(three,))], [prompt(9)], torch.zeros(3, 16, 2, 3))
    for i in range(3):
        own = replace(three, hint=three.hint[i : i + 1])
        alone = run(stage_c, [prompt(0, controls=(own,))], [prompt(9)], seed=3 + i)
        torch.testing.assert_close(together[-1][i : i + 1], alone[-1], atol=1e-4, rtol=1e-4)


def test_one_hint_for_all_images(stage_c, control, prompt):
    one = control()
    together = run(stage_c, [prompt(0, controls=(one,))], [prompt(9)], torch.zeros(2, 16, 2, 3))
    alone = run(stage_c, [prompt(0, controls=(one,))], [prompt(9)], seed=4)
    torch.testing.assert_close(together[-1][1:], alone[-1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("mode", "hint_size", "resized"),
    [
        ("super_resolution", (4, 6), lambda hint: hint[..., 1::2, 1::2]),
        ("canny", (85, 128), lambda hint: F.interpolate(hint, (64, 96), mode="bilinear")),
    ],
)
def test_the_hint_is_brought_to_the_latent(stage_c, control, prompt, mode, hint_size, resized):
    """32 pixels, or one value, for a cell."""
    one = control(mode, hint_size=hint_size)
    same = replace(one, hint=resized(one.hint))
    found = run(stage_c, [prompt(0, controls=(one,))], [prompt(9)])
    expected = run(stage_c, [prompt(0, controls=(same,))], [prompt(9)])
    torch.testing.assert_close(found[-1], expected[-1], atol=1e-5, rtol=1e-5)


def test_it_is_computed_once_and_stage_c_comes_back_after_it(handle, network, control, prompt):
    order = []

    class Telling(StayPut):
        def __init__(self, name):
            self.name = name

        def acquire(self, module, activation_bytes=0):
            order.append(self.name)
            assert activation_bytes > 0
            return super().acquire(module, activation_bytes)

    one = control()
    one = replace(one, controlnet=replace(one.controlnet, placement=Telling("controlnet")))
    model = handle("stage_c", network, config=CONFIG, target="v", placement=Telling("stage_c"))
    run(model, [prompt(0, controls=(one,)), prompt(1, controls=(one,))], [prompt(9)])
    assert order == ["controlnet", *["stage_c"] * 5]


def test_stage_b_does_not_know_them(handle, condition, control):
    model = handle("stage_b")
    options = {"stage_c": torch.zeros(1, 16, 2, 2), "samples": torch.zeros(1, 4, 8, 8), "seed": 1, "steps": 2}
    steered = [replace(condition(0.3), controls=(control(),))]
    found = [s.x0 for s in run_b(model, steered, [condition(0.1)], **options)]
    plain = [s.x0 for s in run_b(handle("stage_b"), [condition(0.3)], [condition(0.1)], **options)]
    assert torch.equal(found[-1], plain[-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c_proj": 2048}, "ControlNet the net of width 2048 does not fit Stage C .* of width 160"),
        ({"batch": 2}, "expected one hint or as many as there are images \\(1\\), found 2"),
        ({"strength": -1.0}, "strength of ControlNet the net: expected at least 0, found -1"),
        ({"size": (300, 100)}, "is 100 x 300 pixels, but the picture to be made is 3 x 2 latent cells"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed(stage_c, control, prompt, change, message):
    with pytest.raises(CascadeError, match=message):
        run_c(stage_c, [prompt(0, controls=(control(**change),))], [prompt(9)], EMPTY, seed=1)


def test_another_family_is_refused(stage_c, control, prompt):
    one = control()
    one = replace(one, controlnet=replace(one.controlnet, family="stable-cascade"))
    with pytest.raises(CascadeError, match=r"belongs to stable-cascade models, but Stage C .* to tiny"):
        run_c(stage_c, [prompt(0, controls=(one,))], [prompt(9)], EMPTY, seed=1)


@pytest.mark.parametrize(
    ("hint", "latent", "size", "fits"),
    [
        ((256, 256), (6, 6), (256, 256), True),
        ((1024, 1024), (6, 6), (256, 256), True),
        ((1000, 1019), (6, 6), (256, 256), True),
        ((1000, 1021), (6, 6), (256, 256), False),
        ((300, 500), (8, 12), (300, 500), True),
        ((300, 500), (8, 12), None, True),  # the last row and column of a latent may stand for little
        ((300, 300), (8, 12), None, False),
        ((64, 64), (1, 1), None, True),
    ],
)
def test_the_aspect_may_be_two_percent_off(stage_c, control, prompt, hint, latent, size, fits):
    def start():
        one = control(size=hint, hint_size=latent)
        positive, negative = [prompt(0, controls=(one,))], [prompt(9)]
        return run_c(stage_c, positive, negative, torch.zeros(1, 16, *latent), seed=1, size=size)

    if fits:
        start()
    else:
        with pytest.raises(CascadeError, match="aspects differ by more than 2 %"):
            start()


def test_a_control_may_be_kept_from_the_other_side(stage_c):
    """ComfyUI's Apply ControlNet gives each side its own; a side without one has none then."""
    net = replace(stage_c, kind="controlnet")
    shared = Control(net, torch.zeros(1, 1, 4, 4), (4, 4))
    kept = replace(shared, on_unconditional=False)
    negative = Condition(torch.zeros(1, 1, 2), torch.zeros(1, 2))
    for control, expected in ((shared, {shared: 1.0}), (kept, {})):
        positive = replace(negative, controls=(control,))
        sides = Sides((positive,), (negative,), frozenset((control,)))
        assert sides.weights(negative) == expected
        assert sides.weights(positive) == {control: 1.0}


def test_the_middle_of_a_hint_is_taken_in_eights():
    hint = torch.arange(12.0).view(1, 1, 1, 12).expand(1, 1, 6, 12)
    assert middle(hint, (3, 3))[0, 0, 0].tolist() == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert middle(hint, (6, 24)).shape == (1, 1, 2, 12)
    assert fit_hint(hint, 1, (6, 5), crop=True).shape == (1, 1, 8, 8)
    assert fit_hint(hint, 32, (6, 5), crop=True).shape == (1, 1, 192, 160)
