"""Rehearsals of the nodes: the placeholders are what the real outputs will be, as far as anybody checks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core import CascadeError, Handle
from stable_cascade_nodes.nodes import host
from stable_cascade_nodes.nodes.conditioning import CascadeTextEncode
from stable_cascade_nodes.nodes.decode import CascadePreviewDecode, CascadeStageADecode
from stable_cascade_nodes.nodes.latents import CascadeEmptyLatents
from stable_cascade_nodes.nodes.loaders import CascadeStageBLoader
from stable_cascade_nodes.nodes.sampling import CascadeStageBSampler, CascadeStageCSampler

Part = Callable[[str], Handle]
SAMPLING = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler": "ddim", "shift": 1.0}
WIDTH, HEIGHT, BATCH = 90, 131, 2  # sides that are padded and cropped


def outline(value: Any) -> Any:
    """A value with shapes and types in the place of tensors."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    if isinstance(value, dict):
        return {key: outline(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [outline(entry) for entry in value]
    return value


def chain(part: Part, method: str) -> dict[str, Any]:
    """Text to image and a preview, by FUNCTION or by REHEARSE of each node; every node's output."""

    def call(node: Any, **inputs: Any) -> tuple[Any, ...]:
        return getattr(node(), getattr(node, method))(**inputs)

    empty_c, empty_b = call(CascadeEmptyLatents, width=WIDTH, height=HEIGHT, batch_size=BATCH)
    (prompt,) = call(CascadeTextEncode, text_encoder=part("text_encoder"), text="a red circle")
    prompts = {"positive": prompt, "negative": prompt}
    previewer = part("previewer")
    inputs = {**prompts, "latent": empty_c, "previewer": previewer, "denoise": 1.0, **SAMPLING}
    (stage_c,) = call(CascadeStageCSampler, stage_c=part("stage_c"), **inputs)
    (again,) = call(CascadeStageCSampler, stage_c=part("stage_c"), **{**inputs, "latent": stage_c, "denoise": 0.5})
    (stage_b,) = call(
        CascadeStageBSampler, stage_b=part("stage_b"), **prompts, stage_c=again, latent=empty_b, **SAMPLING
    )
    (image,) = call(CascadeStageADecode, stage_a=part("stage_a"), latent=stage_b)
    (preview,) = call(CascadePreviewDecode, previewer=previewer, latent=again)
    return {"prompt": prompt, "c": stage_c, "again": again, "b": stage_b, "image": image, "preview": preview}


def test_placeholders_are_like_the_real_thing(part: Part) -> None:
    with torch.inference_mode():
        real, rehearsed = chain(part, "FUNCTION"), chain(part, "REHEARSE")
    assert outline(rehearsed) == outline(real)
    assert rehearsed["image"].shape == (BATCH, HEIGHT, WIDTH, 3)
    assert all(rehearsed[name].is_meta for name in ("image", "preview"))  # nothing was computed


def test_a_foreign_latent_has_no_wanted_size(part: Part) -> None:
    latent = {"samples": torch.zeros(1, 4, 8, 6), "cascade_size": (64, 64)}
    (rehearsed,) = CascadeStageADecode().rehearse(part("stage_a"), latent)
    assert rehearsed.shape == (1, 32, 24, 3)


def test_what_is_refused_is_refused_in_the_same_words(part: Part) -> None:
    stage_c, stage_b = CascadeEmptyLatents().make(64, 64, 1)
    other = {"cascade_family": "other"}
    (prompt,) = CascadeTextEncode().rehearse(part("text_encoder"), "")
    prompts = {"positive": prompt, "negative": prompt}
    of_c = {"stage_c": part("stage_c"), **prompts, "latent": stage_c, "denoise": 1.0, **SAMPLING}
    of_b = {"stage_b": part("stage_b"), **prompts, "stage_c": stage_c, "latent": stage_b, **SAMPLING}
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (CascadeStageCSampler, {**of_c, "latent": stage_c | other}, "`latent` comes from"),
        (CascadeStageCSampler, {**of_c, "latent": stage_b}, "expected a latent of Stage C"),
        (CascadeStageCSampler, {**of_c, "latent": stage_c | {"batch_index": [1, 2]}}, "batch_index"),
        (CascadeStageCSampler, {**of_c, "positive": []}, "expected a condition for every step"),
        (CascadeStageBSampler, {**of_b, "stage_c": stage_c | other}, "`stage_c` comes from"),
        (CascadeStageBSampler, {**of_b, "latent": stage_c}, "expected a latent of Stage B"),
        (CascadeStageADecode, {"stage_a": part("stage_a"), "latent": stage_b | other}, "`latent` comes from"),
        (CascadeStageADecode, {"stage_a": part("stage_a"), "latent": stage_c}, "expected a latent of Stage B"),
        (CascadePreviewDecode, {"previewer": part("previewer"), "latent": stage_c | other}, "`latent` comes from"),
        (CascadePreviewDecode, {"previewer": part("previewer"), "latent": stage_b}, "expected a latent of Stage C"),
    ]
    for node, inputs, message in cases:
        with pytest.raises(CascadeError, match=message) as real:
            getattr(node(), node.FUNCTION)(**inputs)
        with pytest.raises(CascadeError) as rehearsed:
            node().rehearse(**inputs)
        assert str(real.value) == str(rehearsed.value)


def test_loaders_read_headers_only(models: Path) -> None:
    """The models of a workflow need not lie in memory together for a check of whether they fit together."""
    host.configure(models=models)
    (handle,) = CascadeStageBLoader().rehearse("stage_b.safetensors")
    (loaded,) = CascadeStageBLoader().load("stage_b.safetensors")
    assert all(parameter.is_meta for parameter in handle.module.parameters())
    assert (handle.family, handle.config, handle.name) == (loaded.family, loaded.config, loaded.name)
