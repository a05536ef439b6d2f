"""The stand-ins for ComfyUI's own nodes give what the real ones give: one prompt, run by a real ComfyUI and here.

Pictures are noise and soft noise, models have random weights in the published sizes, in the files that both read.
`EXACT` is for what is only moved or thresholded, `NEAR` for float32 arithmetic, `ROUNDED` for a level of 8 bits.
Run: COMFYUI_PATH=... COMFYUI_PYTHON=... pytest -m host tests/host/test_stand_ins.py
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive
from stable_cascade_nodes.cascade_core.models.clip_config import PUBLISHED_VISION
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.effnet import Effnet
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.vision import ImageEncoder
from stable_cascade_nodes.headless import graph, native
from stable_cascade_nodes.runtime import host

from .in_process import InProcess, Link, Prompt, out
from .lanes import Lane

pytestmark = pytest.mark.host
EXACT, NEAR, ROUNDED = 0.0, 1e-5, 1 / 255
METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")


@pytest.fixture(scope="module")
def base(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory for both: pictures, and models of random weights."""
    folder = tmp_path_factory.mktemp("base")
    for name in ("custom_nodes", "input", "output", "models/vae", "models/clip_vision"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (45, 61, 4), np.uint8)).save(folder / "input" / "noise.png")
    for name, size in {"wide": (420, 300), "square": (224, 224), "tall": (203, 331)}.items():
        levels = Image.fromarray(rng.integers(0, 256, (7, 7, 4), np.uint8))
        levels.resize(size, Image.Resampling.BICUBIC).save(folder / "input" / f"{name}.png")
    parts = {"stage_a": StageA, "effnet": Effnet, "previewer": Previewer}
    nets = {kind: dict(alive(part, PRESETS[kind]["published"]).state_dict()) for kind, part in parts.items()}
    for kind, tensors in nets.items():
        save_file(tensors, folder / "models/vae" / f"{kind}.safetensors")
    coder = {f"encoder.{name}": tensor for name, tensor in nets["effnet"].items()}
    coder |= {f"previewer.{name}": tensor for name, tensor in nets["previewer"].items()}
    save_file(coder, folder / "models/vae/coder.safetensors")
    vision = alive(ImageEncoder, PUBLISHED_VISION).half()
    save_file(dict(vision.state_dict()), folder / "models/clip_vision/vision.safetensors")
    return folder


@pytest.fixture(scope="module")
def comfy(lane: Lane, base: Path) -> Iterator[InProcess]:
    with InProcess(lane, base) as comfy:
        yield comfy
    shutil.rmtree(base / "models")


@pytest.fixture
def here(base: Path, new_program: Path) -> Path:
    host.configure(input=base / "input", models=base / "models", output=new_program, device="cpu")
    return base


def ours(prompt: Prompt, *links: Link) -> list[Any]:
    """The values on these wires by the stand-ins."""
    nodes = json.loads(json.dumps(prompt.nodes))  # links as lists
    outputs = list(dict.fromkeys(node for node, _ in links))
    plan = graph.Plan(nodes, native.CLASSES, outputs=outputs, cache=graph.Cache())
    with torch.inference_mode():
        graph.execute(plan)
    return [plan.cache.results[plan.signatures[node]].values[slot][0] for node, slot in links]


def flat(value: Any) -> Iterator[Tensor]:
    """All tensors in a value, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from flat(value[key])
    elif isinstance(value, list | tuple):
        for one in value:
            yield from flat(one)
    elif hasattr(value, "image_embeds"):
        yield value.image_embeds


def compare(comfy: InProcess, prompt: Prompt, links: dict[str, Link], within: float) -> None:
    """Largest difference on each wire, of the largest magnitude where that is over 1."""
    theirs, mine = comfy.ask(prompt, *links.values()), ours(prompt, *links.values())
    apart: dict[str, float] = {}
    for name, (one, other) in zip(links, zip(mine, theirs, strict=True), strict=True):
        pairs = list(zip(flat(one), flat(other), strict=True))
        assert pairs, name
        for found, expected in pairs:
            assert found.shape == expected.shape, (name, found.shape, expected.shape)
            assert found.dtype == expected.dtype, name
            difference = (found.double() - expected.double()).abs().max().item() if found.numel() else 0.0
            apart[name] = max(apart.get(name, 0.0), difference / max(1.0, expected.abs().max().item()))
    print({name: f"{value:.1e}" for name, value in apart.items()})
    assert {name: value for name, value in apart.items() if not value <= within} == {}


def pictures(prompt: Prompt, *names: str) -> list[Link]:
    return [prompt.add("LoadImage", image=f"{name}.png") for name in names]


@pytest.mark.usefixtures("here")
def test_masks(comfy: InProcess, lane: Lane) -> None:
    prompt = Prompt()
    faded = (7, 200) if lane.is_newer else (0, 0)  # old ones feather these sides wrongly; ours follow the newer
    noise, wide = pictures(prompt, "noise", "wide")
    mask, other = out(noise, 1), prompt.add("ImageToMask", image=wide, channel="green")
    links = {
        "inverted": prompt.add("InvertMask", mask=mask),
        "over": prompt.add("ThresholdMask", mask=mask, value=0.5),
        "solid": prompt.add("SolidMask", value=0.3, width=40, height=30),
        "cut": prompt.add("CropMask", mask=mask, x=20, y=10, width=512, height=9),
        "shown": prompt.add("MaskToImage", mask=mask),
        "red": prompt.add("ImageToMask", image=noise, channel="red"),
        "feathered": prompt.add("FeatherMask", mask=mask, left=3, top=0, right=faded[0], bottom=faded[1]),
    }
    for expand in (-8, -1, 0, 3):
        for tapered in (True, False):
            grown = prompt.add("GrowMask", mask=mask, expand=expand, tapered_corners=tapered)
            links[f"grown by {expand}, {tapered}"] = grown
    for operation in ("multiply", "add", "subtract", "and", "or", "xor"):
        for x, y in ((0, 0), (30, 20)):
            put = prompt.add("MaskComposite", destination=other, source=mask, x=x, y=y, operation=operation)
            links[f"{operation} at {x}"] = put
            back = prompt.add("MaskComposite", destination=mask, source=other, x=x, y=y, operation=operation)
            links[f"{operation} of a larger one at {x}"] = back
    compare(comfy, prompt, links, EXACT)


@pytest.mark.usefixtures("here")
def test_pictures(comfy: InProcess) -> None:
    prompt = Prompt()
    noise, wide, tall = pictures(prompt, "noise", "wide", "tall")
    both = prompt.add("ImageBatch", image1=noise, image2=noise)
    joined = prompt.add("JoinImageWithAlpha", image=wide, alpha=out(noise, 1))
    split = prompt.add("SplitImageWithAlpha", image=joined)
    links = {
        "joined": joined,
        "split": split,
        "its mask": out(split, 1),
        "no alpha": out(prompt.add("SplitImageWithAlpha", image=wide), 1),
        "cut": prompt.add("ImageCrop", image=noise, width=20, height=512, x=50, y=9),
        "cut outside": prompt.add("ImageCrop", image=noise, width=20, height=20, x=500, y=500),
    }
    for feathering in (0, 10, 40):
        sides = {"left": 24, "top": 0, "right": 8, "bottom": 16, "feathering": feathering}
        padded = prompt.add("ImagePadForOutpaint", image=noise, **sides)
        links |= {f"padded, {feathering}": padded, f"mask, {feathering}": out(padded, 1)}
    for resize in (True, False):
        for x, y in ((0, 0), (13, 7), (9999, 5)):
            settings = {"x": x, "y": y, "resize_source": resize}
            for name, given in {"masked": {"mask": out(tall, 1)}, "whole": {}}.items():
                put = prompt.add("ImageCompositeMasked", destination=both, source=wide, **settings, **given)
                links[f"{name}, {resize} at {x}"] = put
                back = prompt.add("ImageCompositeMasked", destination=wide, source=both, **settings, **given)
                links[f"{name}, back, {resize} at {x}"] = back
    below = {"destination": wide, "source": joined, "x": 0, "y": 0, "resize_source": False}
    links["without its alpha"] = prompt.add("ImageCompositeMasked", **below)
    compare(comfy, prompt, links, 1e-6)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("method", METHODS)
def test_scaling_to_pixels(comfy: InProcess, lane: Lane, method: str) -> None:
    prompt = Prompt()
    noise, wide = pictures(prompt, "noise", "wide")
    links = {
        f"{image} {megapixels} {steps}": prompt.add(
            "ImageScaleToTotalPixels",
            image=image,
            upscale_method=method,
            megapixels=megapixels,
            **({"resolution_steps": steps} if lane.is_newer else {}),
        )
        for image in (noise, wide)
        for megapixels in (0.01, 0.07)
        for steps in ((1, 24) if lane.is_newer else (1,))
    }
    compare(comfy, prompt, links, ROUNDED if method == "lanczos" else NEAR)


@pytest.mark.usefixtures("here")
def test_canny(comfy: InProcess) -> None:
    """Pixel by pixel the same, but where a strength lies on a threshold, or equals its neighbour's, to the last bit."""
    prompt = Prompt()
    for image in pictures(prompt, "noise", "wide", "square", "tall"):
        small = {"upscale_method": "nearest-exact", "width": 224, "height": 224, "crop": "disabled"}
        for shown in (image, prompt.add("ImageScale", image=image, **small)):
            for low, high in ((0.4, 0.8), (0.3, 0.7), (0.01, 0.1)):
                prompt.add("Canny", image=shown, low_threshold=low, high_threshold=high)
    links = [(node_id, 0) for node_id, node in prompt.nodes.items() if node["class_type"] == "Canny"]
    differs = edges = count = 0
    for one, other in zip(ours(prompt, *links), comfy.ask(prompt, *links), strict=True):
        assert one.shape == other.shape and set(one.unique().tolist()) <= {0.0, 1.0}
        differs += int((one != other).sum())
        edges += int(other.sum())
        count += other.numel()
    print(f"{differs} of {count} pixels differ ({edges} edges)")
    assert edges > count / 100
    assert differs <= 1e-4 * count


@pytest.mark.usefixtures("here")
def test_prompts_side_by_side(comfy: InProcess) -> None:
    """The empty latents of every compression."""
    prompt = Prompt()
    links: dict[str, Link] = {}
    for width, height, compression in ((1024, 1024, 42), (1000, 776, 32), (256, 2048, 128), (264, 256, 4)):
        sizes = {"width": width, "height": height, "compression": compression, "batch_size": 2}
        latent = prompt.add("StableCascade_EmptyLatentImage", **sizes)
        links |= {f"stage_c {compression}": latent, f"stage_b {compression}": out(latent, 1)}
    compare(comfy, prompt, links, EXACT)


@pytest.mark.usefixtures("here")
def test_pictures_to_latents(comfy: InProcess) -> None:
    prompt = Prompt()
    wide, tall = pictures(prompt, "wide", "tall")
    links: dict[str, Link] = {}
    for name in ("effnet", "coder", "stage_a"):
        vae = prompt.add("VAELoader", vae_name=f"{name}.safetensors")
        links[name] = prompt.add("VAEEncode", pixels=wide, vae=vae)
        links[f"{name}, tall"] = prompt.add("VAEEncode", pixels=tall, vae=vae)
        if name == "stage_a":
            continue
        for compression in (42, 32, 20):
            encoded = prompt.add("StableCascade_StageC_VAEEncode", image=wide, vae=vae, compression=compression)
            links |= {f"{name}, {compression}": encoded, f"{name}, {compression}, b": out(encoded, 1)}
        hint = prompt.add("StableCascade_SuperResolutionControlnet", image=tall, vae=vae)
        links |= {f"{name}, hint {slot}": out(hint, slot) for slot in range(3)}
    compare(comfy, prompt, links, NEAR)


@pytest.mark.usefixtures("here")
def test_latents_to_pictures(comfy: InProcess) -> None:
    prompt = Prompt()
    (wide,) = pictures(prompt, "wide")
    loaded = {name: prompt.add("VAELoader", vae_name=f"{name}.safetensors") for name in ("effnet", "coder", "stage_a")}
    loaded["previewer"] = prompt.add("VAELoader", vae_name="previewer.safetensors")
    stage_b = prompt.add("VAEEncode", pixels=wide, vae=loaded["stage_a"])
    stage_c = prompt.add("StableCascade_StageC_VAEEncode", image=wide, vae=loaded["effnet"], compression=42)
    links = {
        "stage_a": prompt.add("VAEDecode", samples=stage_b, vae=loaded["stage_a"]),
        "previewer": prompt.add("VAEDecode", samples=stage_c, vae=loaded["previewer"]),
        "coder": prompt.add("VAEDecode", samples=stage_c, vae=loaded["coder"]),
    }
    compare(comfy, prompt, links, NEAR)


@pytest.mark.usefixtures("here")
def test_pictures_to_vectors(comfy: InProcess) -> None:
    """Also of pictures that are resized, cropped or not: in whole levels, as there."""
    prompt = Prompt()
    vision = prompt.add("CLIPVisionLoader", clip_name="vision.safetensors")
    links = {
        f"{image} {crop}": prompt.add("CLIPVisionEncode", clip_vision=vision, image=image, crop=crop)
        for image in pictures(prompt, "square", "wide", "tall")
        for crop in ("center", "none")
    }
    compare(comfy, prompt, links, NEAR)
