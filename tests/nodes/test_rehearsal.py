"""Rehearsals of the nodes: the placeholders are what the real outputs will be, as far as anybody checks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.hints import Hint
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.sampling.control import Control
from stable_cascade_nodes.nodes.compare import CascadeCompare
from stable_cascade_nodes.nodes.conditioning import CascadeControlNetApply, CascadeImageEncode, CascadeTextEncode
from stable_cascade_nodes.nodes.decode import CascadePreviewDecode, CascadeStageADecode
from stable_cascade_nodes.nodes.hints import (
    CascadeCannyHint,
    CascadeFaceIdentityHint,
    CascadeInpaintHint,
    CascadeSuperResolutionHint,
)
from stable_cascade_nodes.nodes.images import CascadeOutpaintPad, CascadePasteBack, CascadePicture
from stable_cascade_nodes.nodes.latents import CascadeEmptyLatents, CascadeEncodeImage
from stable_cascade_nodes.nodes.loaders import CascadeStageBLoader
from stable_cascade_nodes.nodes.sampling import CascadeStageBSampler, CascadeStageCSampler
from stable_cascade_nodes.runtime import host

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
    if isinstance(value, Hint):  # how many numbers a hint has, nobody asks
        return value.kind, value.map.shape[:2], value.size, value.family
    if isinstance(value, Control):
        return value.controlnet.name, value.hint.shape[:2], value.size, value.strength, value.start, value.end
    if hasattr(value, "image_embeds"):
        return outline(value.image_embeds)
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


def chain_of_pictures(part: Part, method: str) -> dict[str, Any]:
    """A picture that was made, as the input of all nodes that take one; every node's output."""

    def call(node: Any, **inputs: Any) -> tuple[Any, ...]:
        return getattr(node(), getattr(node, method))(**inputs)

    def made() -> torch.Tensor:
        _, stage_b = CascadeEmptyLatents().make(256, 224, 1)
        return call(CascadeStageADecode, stage_a=part("stage_a"), latent=stage_b)[0]

    (face, _) = CascadePicture().load("face (built-in)")
    image, values = made(), {}
    sides = {"left": 32, "top": 0, "right": 0, "bottom": 9, "feather": 8}
    values["padded"], values["mask"] = padded, mask = call(CascadeOutpaintPad, image=image, **sides)
    (values["pasted"],) = call(CascadePasteBack, image=image, original=padded, mask=mask, feather=2)
    (prompt,) = call(CascadeTextEncode, text_encoder=part("text_encoder"), text="a circle")
    (prompt,) = call(
        CascadeImageEncode, conditioning=prompt, image_encoder=part("image_encoder"), image=image, strength=0.5
    )
    hints = {
        "canny": call(CascadeCannyHint, image=padded, low=100, high=200),
        "inpainting": call(CascadeInpaintHint, image=padded, mask=mask, threshold=0.5),
        "super_resolution": call(CascadeSuperResolutionHint, effnet=part("effnet"), image=padded),
        "identity": call(CascadeFaceIdentityHint, image=face, detector="tiny (built-in)", max_faces=1),
    }
    settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    for mode, (hint, _) in list(hints.items())[:3]:
        (prompt,) = call(CascadeControlNetApply, conditioning=prompt, controlnet=part(mode), hint=hint, **settings)
    values |= {"prompt": prompt, "hints": hints}
    latent, empty_b = call(CascadeEncodeImage, effnet=part("effnet"), image=padded)
    latent["noise_mask"] = torch.ones(1, 1, 64, 64)
    inputs = {"positive": prompt, "negative": prompt, "latent": latent, "denoise": 0.5, **SAMPLING}
    (stage_c,) = call(CascadeStageCSampler, stage_c=part("stage_c"), **inputs)
    compared = call(CascadeCompare, image=padded, original=padded, latent=latent)
    values["compared"] = (compared["result"] if isinstance(compared, dict) else compared)[0]
    return values | {"encoded": latent, "empty": empty_b, "c": stage_c}


def test_placeholders_of_pictures_are_like_the_real_thing(part: Part) -> None:
    with torch.inference_mode():
        real, rehearsed = chain_of_pictures(part, "FUNCTION"), chain_of_pictures(part, "REHEARSE")
    assert outline(rehearsed) == outline(real)
    assert all(rehearsed[name].is_meta for name in ("padded", "pasted", "compared"))
    assert all(hint.map.is_meta for hint, _ in rehearsed["hints"].values())


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


def test_pictures_and_hints_that_do_not_fit_are_refused_in_the_same_words(part: Part) -> None:
    image, mask = torch.rand(1, 64, 96, 3), torch.ones(1, 64, 96)
    pad = {"left": 8000, "top": 0, "right": 200, "bottom": 0, "feather": 0}
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (CascadeOutpaintPad, {"image": image, **pad}, "width: expected 16 to 8192 pixels"),
        (CascadeOutpaintPad, {"image": image[0], **pad}, "connect a picture"),
        (CascadePasteBack, {"image": image, "original": image[0], "mask": mask, "feather": 0}, "`original`: expected"),
        (CascadePasteBack, {"image": image, "original": image, "mask": mask[0, 0], "feather": 0}, "connect a mask"),
        (
            CascadePasteBack,
            {"image": image.repeat(3, 1, 1, 1), "original": image, "mask": mask.repeat(2, 1, 1), "feather": 0},
            "found 3 in `image`, 1 in `original`, 2 in `mask`",
        ),
        (CascadeCompare, {"image": image, "original": image[0]}, "`original`: expected"),
        (CascadeCompare, {"image": image, "original": image[:, :50]}, "only pictures of one size"),
        (CascadeCompare, {"image": image, "original": image, "latent": {"samples": mask}}, "a latent of Stage C"),
        (CascadeEncodeImage, {"effnet": part("effnet"), "image": image[:, :9]}, "height: expected 16 to 8192 pixels"),
        (CascadeInpaintHint, {"image": image, "mask": mask[:, :50], "threshold": 0.5}, "their aspects differ"),
    ]
    for node, inputs, message in cases:
        with pytest.raises(CascadeError, match=message) as real:
            getattr(node(), node.FUNCTION)(**inputs)
        with pytest.raises(CascadeError) as rehearsed:
            node().rehearse(**inputs)
        assert str(real.value) == str(rehearsed.value)


def test_a_hint_of_another_aspect_is_refused_before_anything_is_computed(part: Part) -> None:
    (prompt,) = CascadeTextEncode().rehearse(part("text_encoder"), "")
    hint, _ = CascadeCannyHint().rehearse(torch.empty(1, 256, 300, 3, device="meta"), 100, 200)
    settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    (steered,) = CascadeControlNetApply().apply(prompt, part("canny"), hint, **settings)
    latent, _ = CascadeEmptyLatents().make(256, 256, 1)
    inputs = {"positive": steered, "negative": prompt, "latent": latent, "denoise": 1.0, **SAMPLING}
    with pytest.raises(CascadeError, match="300 x 256 pixels, but the picture to be made is 256 x 256"):
        CascadeStageCSampler().rehearse(stage_c=part("stage_c"), **inputs)


def test_loaders_read_headers_only(models: Path) -> None:
    """The models of a workflow need not lie in memory together for a check of whether they fit together."""
    host.configure(models=models)
    (handle,) = CascadeStageBLoader().rehearse("stage_b.safetensors")
    (loaded,) = CascadeStageBLoader().load("stage_b.safetensors")
    assert all(parameter.is_meta for parameter in handle.module.parameters())
    assert (handle.family, handle.config, handle.name) == (loaded.family, loaded.config, loaded.name)
