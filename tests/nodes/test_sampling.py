"""The samplers: families are refused before anything is computed, values on wires stay as they were."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.nodes.latents import CascadeEmptyLatents
from stable_cascade_nodes.nodes.sampling import CascadeStageBSampler, CascadeStageCSampler
from stable_cascade_nodes.runtime import host

Part = Callable[[str], Handle]
QUICK = {"seed": 5, "steps": 2, "sampler": "ddpm"}
C = {**QUICK, "cfg": 4.0, "shift": 2.0, "denoise": 1.0}
B = {**QUICK, "cfg": 1.1, "shift": 1.0}


class Untouchable(nn.Module):
    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used before the inputs were checked")


def fake(handle: Handle, **changes: Any) -> Handle:
    """A model that is described like this one, but of which nothing may be used."""
    return replace(handle, module=Untouchable(), **changes)


def prompt(family: str | None = "tiny", width: int = 128) -> Any:
    torch.manual_seed(1)
    options = {"pooled_output": torch.randn(1, width)} | ({"cascade_family": family} if family else {})
    return [[torch.randn(1, 24, width), options]]


def latents(size: int = 256, batch: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    return CascadeEmptyLatents().make(size, size, batch)


def sample_c(part: Part, **changes: Any) -> dict[str, Any]:
    inputs = {
        "stage_c": part("stage_c"),
        "positive": prompt(),
        "negative": prompt(),
        "latent": latents()[0],
        **C,
        **changes,
    }
    return CascadeStageCSampler().sample(**inputs)[0]


def sample_b(part: Part, **changes: Any) -> dict[str, Any]:
    torch.manual_seed(2)
    stage_c = {"samples": torch.randn(1, 16, 6, 6), "cascade_family": "tiny"}
    inputs = {
        "stage_b": part("stage_b"),
        "positive": prompt(),
        "negative": prompt(),
        "stage_c": stage_c,
        "latent": latents()[1],
        **B,
        **changes,
    }
    return CascadeStageBSampler().sample(**inputs)[0]


def test_what_reuses_is_not_compiled_and_says_so(part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    stage_b = part("stage_b")
    expected = sample_b(part, reuse_from=1)
    assert not capsys.readouterr().err
    found = sample_b(part, stage_b=replace(stage_b, compile="blocks"), reuse_from=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "Stage B Sampler: reuse_from does not go together with compile: compile blocks is left out"
    assert torch.equal(found["samples"], expected["samples"])


def test_empty_latents_have_the_official_sizes_and_remember_the_pixels() -> None:
    stage_c, stage_b = CascadeEmptyLatents().make(width=1000, height=600, batch_size=2)
    assert stage_c["samples"].shape == (2, 16, 15, 24)
    assert stage_b["samples"].shape == (2, 4, 150, 250)
    assert stage_c["cascade_size"] == stage_b["cascade_size"] == (600, 1000)
    assert "cascade_family" not in stage_c  # an empty latent fits every family


def test_stage_c_gives_a_latent_that_says_where_it_comes_from(part: Part) -> None:
    result = sample_c(part)
    assert result["samples"].shape == (1, 16, 6, 6)
    assert result["samples"].dtype == torch.float32 and result["samples"].device.type == "cpu"
    assert result["cascade_family"] == "tiny" and result["cascade_size"] == (256, 256)


def test_stage_b_travels_in_stage_a_space(part: Part) -> None:
    result = sample_b(part)
    assert result["samples"].shape == (1, 4, 64, 64)
    assert result["samples"].abs().max() == pytest.approx(3.0 * 0.43)  # the model's clamp is in model space
    assert result["cascade_family"] == "tiny"


def test_inputs_are_not_touched_and_unknown_keys_stay(part: Part) -> None:
    inputs: dict[str, Any] = {"positive": prompt(), "negative": prompt(), "latent": {**latents()[0], "someone": "else"}}
    before = deepcopy(inputs)
    result = sample_c(part, **inputs)
    assert result["someone"] == "else"
    assert torch.equal(inputs["latent"]["samples"], before["latent"]["samples"])
    assert inputs["latent"].keys() == before["latent"].keys()
    assert torch.equal(inputs["positive"][0][0], before["positive"][0][0])
    assert inputs["positive"][0][1].keys() == before["positive"][0][1].keys()


def test_an_image_of_a_batch_can_be_made_alone(part: Part) -> None:
    both = sample_c(part, latent=latents(batch=2)[0])["samples"]
    second = sample_c(part, seed=C["seed"] + 1)["samples"]
    chosen = sample_c(part, latent={**latents()[0], "batch_index": [1]})["samples"]
    assert torch.allclose(both[1:], second, atol=1e-4)
    assert torch.equal(second, chosen)


def test_stage_b_follows_the_batch_index_of_stage_c(part: Part) -> None:
    stage_c = {"samples": torch.ones(1, 16, 6, 6)}
    moved = sample_b(part, stage_c={**stage_c, "batch_index": [3]})["samples"]
    assert torch.equal(moved, sample_b(part, stage_c=stage_c, seed=B["seed"] + 3)["samples"])
    assert not torch.equal(moved, sample_b(part, stage_c=stage_c)["samples"])


@pytest.mark.parametrize("name", ["positive", "negative"])
def test_another_family_of_conditions_is_refused_before_anything_is_computed(part: Part, name: str) -> None:
    message = rf"Stage C is tiny \(built-in\), but `{name}` comes from .*: choose tiny \(built-in\) in its loader, or"
    model = fake(part("stage_c"), name="tiny (built-in)")
    with pytest.raises(CascadeError, match=message):
        sample_c(part, stage_c=model, **{name: prompt("stable-cascade")})
    with pytest.raises(CascadeError, match=f"Stage B is .*but `{name}` comes from"):
        sample_b(part, stage_b=fake(part("stage_b")), **{name: prompt("stable-cascade")})


def test_other_families_of_latents_and_previewers_are_refused(part: Part) -> None:
    with pytest.raises(CascadeError, match=r"Stage C is .*but `latent` comes from a published model"):
        sample_c(part, stage_c=fake(part("stage_c")), latent={**latents()[0], "cascade_family": "stable-cascade"})
    with pytest.raises(CascadeError, match=r"Stage B is .*but `stage_c` comes from"):
        stage_c = {"samples": torch.zeros(1, 16, 6, 6), "cascade_family": "mine"}
        sample_b(part, stage_b=fake(part("stage_b")), stage_c=stage_c)
    with pytest.raises(CascadeError, match=r"Previewer is .*but `stage_c` comes from tiny"):
        previewer = fake(part("previewer"), family="stable-cascade")
        sample_c(part, stage_c=fake(part("stage_c")), previewer=previewer)


def test_what_carries_no_family_is_checked_by_widths_and_channels(part: Part) -> None:
    assert sample_c(part, positive=prompt(None))["samples"].shape == (1, 16, 6, 6)
    with pytest.raises(CascadeError, match="1280"):
        sample_c(part, stage_c=fake(part("stage_c")), positive=prompt(None, width=1280))
    with pytest.raises(CascadeError, match="expected a latent of Stage C"):
        sample_c(part, stage_c=fake(part("stage_c")), latent=latents()[1])
    with pytest.raises(CascadeError, match="`stage_c`: expected a latent of Stage C"):
        sample_b(part, stage_b=fake(part("stage_b")), stage_c=latents()[1])


def test_previews_are_made_for_whoever_looks(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    class Watched:
        def __enter__(self) -> Any:
            return lambda preview: seen.append(preview().size)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(host.current(), "progress", lambda label, total: Watched())
    sample_c(part, previewer=part("previewer"))
    assert seen == [(48, 48)] * 2


def test_cancel_stops_after_the_step(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def cancel() -> None:
        asked.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(host.current(), "check_cancel", cancel)
    with pytest.raises(KeyboardInterrupt):
        sample_c(part, steps=50)
    assert len(asked) == 1


def test_several_prompts_are_averaged(part: Part) -> None:
    """Twice the same prompt is that prompt, whatever the strengths."""
    once = sample_c(part)["samples"]
    double = prompt()
    double = [[double[0][0], {**double[0][1], "strength": 0.3}], double[0]]
    assert torch.allclose(sample_c(part, positive=double)["samples"], once, atol=1e-4)


# Masks.


def masked(mask: torch.Tensor, **changes: Any) -> dict[str, Any]:
    """A latent of Stage C as Encode Image and Set Latent Noise Mask give it."""
    torch.manual_seed(4)
    samples = torch.randn(1, 16, 6, 6)
    return {
        "samples": samples,
        "cascade_size": (256, 256),
        "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:]),
    } | changes


def left_half(height: int = 256, width: int = 256) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_a_noise_mask_keeps_the_rest(part: Part, denoise: float) -> None:
    latent = masked(left_half())
    result = sample_c(part, latent=latent, denoise=denoise)
    assert torch.equal(result["samples"][..., 3:], latent["samples"][..., 3:])
    assert not torch.isclose(result["samples"][..., :3], latent["samples"][..., :3]).any(dim=1).all()
    assert torch.equal(result["noise_mask"], latent["noise_mask"])  # a second pass keeps the rest, too


def test_every_image_of_a_batch_keeps_its_own(part: Part) -> None:
    samples = torch.randn(2, 16, 6, 6)
    masks = torch.cat([left_half(64, 64), 1 - left_half(64, 64)])
    result = sample_c(part, latent=masked(masks, samples=samples))["samples"]
    assert torch.equal(result[0, ..., 3:], samples[0, ..., 3:]) and torch.equal(result[1, ..., :3], samples[1, ..., :3])


def test_an_empty_noise_mask_is_said_and_changes_nothing(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(host.current(), "warn", lambda node, message: said.append(message))
    latent = masked(torch.zeros(1, 64, 64))
    assert torch.equal(sample_c(part, latent=latent)["samples"], latent["samples"])
    assert said == ["The noise_mask of `latent` is empty: nothing is made anew"]
    sample_c(part, latent=masked(left_half()))
    assert len(said) == 1


def test_stage_b_takes_a_masked_result_of_stage_c_but_no_mask_of_its_own(part: Part) -> None:
    of_stage_c = sample_c(part, latent=masked(left_half()))
    assert sample_b(part, stage_c=of_stage_c)["samples"].shape == (1, 4, 64, 64)
    latent = latents()[1] | {"noise_mask": left_half()[None]}
    with pytest.raises(CascadeError, match=r"`latent` carries a noise_mask .*put the mask on the latent of Stage C"):
        sample_b(part, stage_b=fake(part("stage_b")), latent=latent)


def test_what_is_no_mask_is_refused_before_anything_is_computed(part: Part) -> None:
    latent = masked(left_half(), noise_mask=torch.ones(1, 3, 8, 8))
    with pytest.raises(CascadeError, match=r"noise_mask: expected the shape .*found \(1, 3, 8, 8\)"):
        sample_c(part, stage_c=fake(part("stage_c")), latent=latent)
