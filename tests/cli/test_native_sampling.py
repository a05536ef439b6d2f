"""The stand-ins for the host's samplers, on the built-in models.

That they give what the real ones give is asked of a real ComfyUI, in tests/host/test_native_sampling.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.lora.attach import beside
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.headless import native
from stable_cascade_nodes.nodes.conditioning import CascadeTextEncode
from stable_cascade_nodes.nodes.sampling import CascadeStageBSampler, CascadeStageCSampler

Part = Callable[[str], Handle]
SETTINGS: dict[str, Any] = {"steps": 4, "cfg": 1.5, "sampler_name": "euler", "scheduler": "simple"}


@pytest.fixture
def inputs(tiny: Part, new_program: object) -> dict[str, Any]:
    """The model and the wires of a sampler of Stage C."""
    positive, negative = (CascadeTextEncode().encode(tiny("text_encoder"), text)[0] for text in ("a red circle", ""))
    empty = {"samples": torch.zeros(2, 16, 6, 6)}
    return {"model": tiny("stage_c"), "positive": positive, "negative": negative, "latent_image": empty}


def ksampler(inputs: dict[str, Any], **changes: Any) -> Tensor:
    return native.sampling.KSampler().sample(**{**inputs, **SETTINGS, "seed": 7, **changes})[0]["samples"]


def advanced(inputs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    whole = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable"}
    return native.sampling.KSamplerAdvanced().sample(**{**inputs, **SETTINGS, "noise_seed": 7, **whole, **changes})[0]


def test_one_picture_without_fresh_noise_is_that_of_our_sampler(inputs: dict[str, Any]) -> None:
    inputs["latent_image"] = {"samples": torch.zeros(1, 16, 6, 6)}
    wires = {"positive": inputs["positive"], "negative": inputs["negative"], "latent": inputs["latent_image"]}
    settings = {"seed": 7, "steps": 4, "cfg": 1.5, "sampler": "euler", "schedule": "simple", "cfg_rescale": 0.0}
    ours = CascadeStageCSampler().sample(inputs["model"], **wires, **settings, shift=2.0, denoise=1.0)[0]["samples"]
    torch.testing.assert_close(ksampler(inputs), ours, rtol=1e-3, atol=2e-3)
    (shifted,) = native.sampling.ModelSamplingStableCascade().patch(inputs["model"], 1.0)
    ours = CascadeStageCSampler().sample(inputs["model"], **wires, **settings, shift=1.0, denoise=1.0)[0]["samples"]
    torch.testing.assert_close(ksampler(inputs, model=shifted), ours, rtol=1e-3, atol=2e-3)


def test_stage_b_works_out_what_travels_with_the_prompt(inputs: dict[str, Any], tiny: Part) -> None:
    stage_c = ksampler(inputs)[:1]
    empty = {"samples": torch.zeros(1, 4, 16, 16)}
    (positive,) = (
        [[sequence, {**values, "stable_cascade_prior": stage_c}] for sequence, values in inputs["positive"]],
    )
    found = ksampler({**inputs, "model": tiny("stage_b"), "positive": positive, "latent_image": empty}, cfg=1.0)
    without = ksampler({**inputs, "model": tiny("stage_b"), "latent_image": empty}, cfg=1.0)
    # Our node draws Stage B's noise from another seed; with one step left of it, hardly any noise is in the picture.
    wires = {"positive": positive, "negative": positive, "stage_c": {"samples": stage_c}, "latent": empty}
    settings = {"seed": 7, "steps": 4, "cfg": 1.0, "sampler": "euler", "schedule": "simple", "shift": 1.0}
    ours = CascadeStageBSampler().sample(tiny("stage_b"), **wires, **settings)[0]["samples"]
    assert (found - ours).abs().mean() < 0.5 * (without - ours).abs().mean()


@pytest.mark.parametrize("sampler", ["euler", "heun"])  # those that remember no earlier predictions
def test_two_parts_make_the_whole(inputs: dict[str, Any], sampler: str) -> None:
    settings = {"sampler_name": sampler, "steps": 6, "scheduler": "karras"}
    whole = advanced(inputs, **settings)["samples"]
    half = advanced(inputs, **settings, end_at_step=3, return_with_leftover_noise="enable")
    assert half["samples"].std() > 1.5  # with the noise that is left, as x / a
    found = advanced(inputs | {"latent_image": half}, **settings, start_at_step=3, add_noise="disable")["samples"]
    torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(whole, ksampler(inputs, **settings))


def test_a_part_without_steps_leaves_the_latent(inputs: dict[str, Any]) -> None:
    given = {"samples": torch.randn(2, 16, 6, 6), "kept": 3}
    assert advanced(inputs | {"latent_image": given}, start_at_step=4) == given
    assert ksampler(inputs | {"latent_image": given}, denoise=0.0) is given["samples"]


def test_noise_is_of_the_whole_batch_and_batch_index_picks_it(inputs: dict[str, Any]) -> None:
    batch = ksampler(inputs | {"latent_image": {"samples": torch.zeros(3, 16, 6, 6)}})
    picked = {"samples": torch.zeros(2, 16, 6, 6), "batch_index": [2, 0]}
    torch.testing.assert_close(ksampler(inputs | {"latent_image": picked}), batch[[2, 0]], rtol=1e-3, atol=1e-4)
    first = torch.randn(3, 16, 6, 6, generator=torch.Generator().manual_seed(7))
    leftover = advanced(inputs, end_at_step=1, return_with_leftover_noise="enable", steps=40)["samples"]
    assert torch.corrcoef(torch.stack([leftover.flatten(), first[:2].flatten()]))[0, 1] > 0.9


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde", "dpmpp_sde_gpu", "ddim"])
def test_where_the_mask_is_empty_the_latent_stays(inputs: dict[str, Any], sampler: str) -> None:
    mask = torch.zeros(6, 6)
    mask[:, :3] = 1
    given = {"samples": torch.linspace(-1, 1, 16 * 36).view(1, 16, 6, 6), "noise_mask": mask}
    found = ksampler(inputs | {"latent_image": given}, sampler_name=sampler)
    torch.testing.assert_close(found[..., 3:], given["samples"][..., 3:])
    assert (found[..., :3] - given["samples"][..., :3]).abs().mean() > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler_name": "dpm_adaptive"}, "`sampler_name`: .* expected one of ddpm, .*dpmpp_3m_sde_gpu, found dpm_ad"),
        ({"scheduler": "kl_optimal"}, "`scheduler`: .* expected one of simple, .*, found kl_optimal"),
        ({"latent_image": {"samples": torch.ones(1, 4, 6, 6)}}, "`latent_image`: expected a latent of Stage C"),
    ],
)
def test_what_cannot_be_done_is_refused_in_the_rehearsal(
    inputs: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    given = {**inputs, **SETTINGS, "seed": 7}
    (placeholder,) = native.sampling.KSampler().rehearse(**given)
    assert placeholder["samples"].is_meta and placeholder["samples"].shape == (2, 16, 6, 6)
    with pytest.raises(CascadeError, match=message):
        native.sampling.KSampler().rehearse(**given | changes)


def test_a_shift_stays_with_the_model_under_a_lora(tiny: Part) -> None:
    (shifted,) = native.sampling.ModelSamplingStableCascade().patch(tiny("stage_c"), 3.0)
    assert shifted.shift == 3 and tiny("stage_c").shift is None
    once = beside(shifted, shifted.module)
    assert beside(once, once.module).shift == 3
    with pytest.raises(CascadeError, match=r"`shift`: expected over 0"):
        native.sampling.ModelSamplingStableCascade().patch(tiny("stage_c"), 0.0)
