"""Native nodes for pictures, masks and CLIP's image encoder with ours, in one graph of a real ComfyUI.

The models are the built-in ones, but for an image encoder of the published size and a Stage C that takes its vectors.
Run: COMFYUI_PATH=... COMFYUI_PYTHON=... pytest -m host tests/host/test_native_pictures.py
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import stable_cascade_nodes
from stable_cascade_nodes.benchmarks.peers import alive, deviation
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.clip_config import PUBLISHED_VISION
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.models.vision import ImageEncoder

from .in_process import InProcess, Link, Prompt, out
from .lanes import Lane

pytestmark = pytest.mark.host
ROOT = Path(stable_cascade_nodes.__file__).parent
TINY = {"model_name": "tiny (built-in)"}
VISION, STAGE_C = "vision.safetensors", "stage_c.safetensors"
EQUAL = 1e-4  # of the largest magnitude
ROUNDED = 1e-2  # of embeddings: the native encoder rounds resized pictures to 8 bits; ours, as officially, does not


@pytest.fixture(scope="module")
def comfy(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("custom_nodes", "input", "output", "models/clip_vision", "models/diffusion_models"):
        (folder / name).mkdir(parents=True)
    (folder / "custom_nodes" / "stable-cascade-nodes").symlink_to(ROOT, target_is_directory=True)
    stage_c = replace(PRESETS["stage_c"]["tiny"], c_clip_img=PUBLISHED_VISION.projection_dim)
    save(folder / "models/diffusion_models" / STAGE_C, alive(StageC, stage_c), "stage_c", family="tiny")
    encoder = alive(ImageEncoder, PUBLISHED_VISION)
    # In float16, as which ComfyUI keeps it anyway; both compute in float32.
    save(folder / "models/clip_vision" / VISION, encoder, "image_encoder", family="tiny", dtype="float16")
    write_pictures(folder / "input")
    with InProcess(lane, folder) as comfy:
        yield comfy
    shutil.rmtree(folder / "models")


def write_pictures(folder: Path) -> None:
    """Of the encoder's size, of another one, without and with a transparent left half."""
    rng = np.random.default_rng(0)

    def soft(height: int, width: int) -> Image.Image:
        levels = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)

    soft(224, 224).save(folder / "square.png")
    soft(300, 420).save(folder / "wide.png")
    holed = soft(256, 256).convert("RGBA")
    alpha = np.full((256, 256), 255, np.uint8)
    alpha[:, :128] = 0
    holed.putalpha(Image.fromarray(alpha))
    holed.save(folder / "holed.png")


def text(prompt: Prompt, words: str = "") -> Link:
    return prompt.add("CascadeTextEncode", text_encoder=prompt.add("CascadeTextEncoderLoader", **TINY), text=words)


def native_image(prompt: Prompt, conditioning: Link, image: Link, strength: float = 1.0) -> Link:
    clip = prompt.add("CLIPVisionLoader", clip_name=VISION)
    seen = prompt.add("CLIPVisionEncode", clip_vision=clip, image=image, crop="center")
    settings = {"strength": strength, "noise_augmentation": 0.0}
    return prompt.add("unCLIPConditioning", conditioning=conditioning, clip_vision_output=seen, **settings)


def our_image(prompt: Prompt, conditioning: Link, image: Link, strength: float = 1.0) -> Link:
    encoder = prompt.add("CascadeImageEncoderLoader", model_name=VISION)
    return prompt.add(
        "CascadeImageEncode", conditioning=conditioning, image_encoder=encoder, image=image, strength=strength
    )


def sampled(prompt: Prompt, positive: Link, negative: Link, latent: Link | None = None, **settings: Any) -> Link:
    model = settings.pop("model_name", "tiny (built-in)")
    inputs = {"seed": 5, "steps": 3, "cfg": 2.0, "sampler": "ddpm", "shift": 1.0, "denoise": 1.0, **settings}
    return prompt.add(
        "CascadeStageCSampler",
        stage_c=prompt.add("CascadeStageCLoader", model_name=model, dtype="auto"),
        positive=positive,
        negative=negative,
        latent=latent or prompt.add("CascadeEmptyLatents", width=256, height=256, batch_size=1),
        **inputs,
    )


def embeddings(conditioning: list[Any]) -> list[Tensor]:
    ((_, options),) = conditioning
    return [entry["clip_vision_output"]["image_embeds"] for entry in options["unclip_conditioning"]]


@pytest.mark.parametrize(("file", "within"), [("square.png", EQUAL), ("wide.png", ROUNDED)])
def test_native_image_encoder_equals_ours(comfy: InProcess, file: str, within: float) -> None:
    """The embeddings of a picture that is not resized, and always what Stage C makes of them."""
    prompt = Prompt()
    image, words = prompt.add("LoadImage", image=file), text(prompt)
    encoded = [encode(prompt, words, image) for encode in (native_image, our_image)]
    latents = [sampled(prompt, link, words, model_name=STAGE_C) for link in encoded]
    plain = sampled(prompt, words, words, model_name=STAGE_C)
    native, ours, native_c, our_c, plain_c = comfy.ask(prompt, *encoded, *latents, plain)
    (theirs,), (mine,) = embeddings(native), embeddings(ours)
    apart = deviation(mine, theirs), deviation(our_c["samples"], native_c["samples"])
    print(f"{file}: embeddings {apart[0]:.1e}, Stage C {apart[1]:.1e} of the largest magnitude")
    assert mine.shape == theirs.shape == (1, 768)
    assert apart[0] < within and apart[1] < EQUAL
    assert deviation(our_c["samples"], plain_c["samples"]) > 10 * max(apart)


def test_native_and_our_images_stack(comfy: InProcess) -> None:
    """Each with its own strength, in either order."""
    prompt = Prompt()
    first, second = (prompt.add("LoadImage", image=file) for file in ("square.png", "holed.png"))
    words = text(prompt)
    mixed = our_image(prompt, native_image(prompt, words, first, 0.75), second, 0.5)
    all_ours = our_image(prompt, our_image(prompt, words, first, 0.75), second, 0.5)
    native_last = native_image(prompt, our_image(prompt, words, second, 0.5), first, 0.75)
    links = [sampled(prompt, link, words, model_name=STAGE_C) for link in (mixed, all_ours, native_last)]
    found = [latent["samples"] for latent in comfy.ask(prompt, *links)]
    assert deviation(found[0], found[1]) < EQUAL and deviation(found[2], found[1]) < EQUAL


def encoded(prompt: Prompt, image: Link) -> Link:
    return prompt.add("CascadeEncodeImage", effnet=prompt.add("CascadeEffnetLoader", **TINY), image=image)


@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_a_native_noise_mask_is_honoured(comfy: InProcess, denoise: float) -> None:
    prompt = Prompt()
    image, words = prompt.add("LoadImage", image="holed.png"), text(prompt, "a red star")
    latent = encoded(prompt, image)
    masked = prompt.add("SetLatentNoiseMask", samples=latent, mask=out(image, 1))
    before, after = comfy.ask(prompt, latent, sampled(prompt, words, text(prompt), masked, denoise=denoise))
    known, made = after["samples"][..., 3:], after["samples"][..., :3]
    assert torch.equal(known, before["samples"][..., 3:])
    assert deviation(made, before["samples"][..., :3]) > 0.05


def test_a_native_noise_mask_of_a_picture_without_transparency_masks_nothing(comfy: InProcess) -> None:
    prompt = Prompt()
    image, words = prompt.add("LoadImage", image="wide.png"), text(prompt)
    latent = encoded(prompt, image)
    masked = prompt.add("SetLatentNoiseMask", samples=latent, mask=out(image, 1))
    before, after = comfy.ask(prompt, latent, sampled(prompt, words, words, masked))
    assert torch.equal(after["samples"], before["samples"])


def test_native_masks_and_padding_lead_to_our_hint_and_back(comfy: InProcess) -> None:
    prompt = Prompt()
    image = prompt.add("LoadImage", image="wide.png")
    sides = {"left": 64, "top": 0, "right": 0, "bottom": 0, "feathering": 24}
    padded = prompt.add("ImagePadForOutpaint", image=image, **sides)
    hint = prompt.add("CascadeInpaintHint", image=padded, mask=out(padded, 1), threshold=0.5)
    black = prompt.add("EmptyImage", width=240, height=150, batch_size=1, color=0)
    pasted = prompt.add("CascadePasteBack", image=black, original=padded, mask=out(padded, 1), feather=0)
    net = prompt.add("CascadeControlNetLoader", model_name="tiny inpainting (built-in)")
    settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    words = text(prompt, "a red star")
    steered = prompt.add("CascadeControlNetApply", conditioning=words, controlnet=net, hint=hint, **settings)
    both = prompt.add("ConditioningCombine", conditioning_1=steered, conditioning_2=words)
    half = prompt.add("ConditioningSetTimestepRange", conditioning=both, start=0.0, end=1.0)
    latent = encoded(prompt, padded)
    links = [sampled(prompt, positive, words, latent) for positive in (words, steered, half)]
    picture, mask, shown, result, plain, alone, combined = comfy.ask(
        prompt, padded, out(padded, 1), out(hint, 1), pasted, *links
    )
    hole = mask[0] > 0.5
    assert hole.any() and shown[0][hole].min() == 1 and torch.equal(shown[0][~hole], picture[0][~hole])
    assert torch.equal(result[0][mask[0] == 0], picture[0][mask[0] == 0]) and result[0][mask[0] == 1].max() == 0
    of_both, of_one = (deviation(latent["samples"], plain["samples"]) for latent in (combined, alone))
    assert of_both > 0 and of_one > 1e-3
