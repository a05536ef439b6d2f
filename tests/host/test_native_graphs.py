"""Graphs of ComfyUI's own nodes give here what they give there: latents of both stages, and the picture of a run.

ComfyUI's six examples for Stable Cascade (../shared_graphs.py), each with a narrow model of random weights (narrow.py)
whose files have the names and layouts of the published ones, and the sampler with every schedule.
Run: COMFYUI_PATH=... COMFYUI_PYTHON=... pytest -m host tests/host/test_native_graphs.py
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import deviation
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.runtime import host

from .. import shared_graphs
from . import narrow
from .in_process import InProcess, Link, Prompt
from .lanes import Lane
from .test_stand_ins import ours

pytestmark = pytest.mark.host
CLOSE = 1e-4  # of the largest magnitude
LEVEL = 1  # of 255: SaveImage cuts
SEEN = 50 * CLOSE  # of what a graph has besides the words
SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "ddpm", "lcm", "heun", "uni_pc")
SCHEDULES = ("simple", "normal", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta")
PICTURES = {
    "example.png": (420, 300), "mountains.png": (331, 203), "sunset.png": (256, 256),
    "yosemite_inpaint_example.png": (320, 256),
}  # fmt: skip
C, B, DECODED, SAVED = ("3", 0), ("33", 0), ("8", 0), ("9", 0)  # links of the examples


@pytest.fixture(scope="module")
def base(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base directory for both: models and pictures."""
    folder = tmp_path_factory.mktemp("graphs")
    narrow.write(folder, lane.path / "comfy" / "sd1_tokenizer")
    rng = np.random.default_rng(0)
    for name, size in PICTURES.items():
        soft = Image.fromarray(rng.integers(0, 256, (7, 7, 4), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        soft.save(folder / "input" / name)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def comfy(lane: Lane, base: Path) -> Iterator[InProcess]:
    with InProcess(lane, base) as comfy:
        yield comfy


@pytest.fixture(autouse=True)
def here(base: Path, new_program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow.read_here(monkeypatch)
    host.configure(input=base / "input", models=base / "models", output=new_program, device="cpu")


def small(graph: shared_graphs.Graph) -> Prompt:
    """The example at 320 x 256 pixels, in few steps."""
    prompt = Prompt()
    prompt.nodes = graph
    for node in graph.values():
        inputs = node["inputs"]
        if node["class_type"] == "StableCascade_EmptyLatentImage":
            inputs |= {"width": 320, "height": 256}
        if node["class_type"] == "KSampler":
            inputs["steps"] = 6
    return prompt


def loose_files() -> shared_graphs.Graph:
    """The two stages, the text encoder and Stage A each in a file of its own."""
    graph, node = shared_graphs.text_to_image(), shared_graphs.node
    graph["41"] = node("UNETLoader", unet_name=narrow.LOOSE_C, weight_dtype="default")
    graph["42"] = node("UNETLoader", unet_name=narrow.LOOSE_B, weight_dtype="default")
    graph["43"] = node("CLIPLoader", clip_name=narrow.LOOSE_TEXT, type="stable_cascade")
    graph["44"] = node("VAELoader", vae_name=narrow.LOOSE_A)
    for words in ("6", "7"):
        graph[words]["inputs"]["clip"] = ["43", 0]
    graph["8"]["inputs"]["vae"] = ["44", 0]
    return graph


def long_words() -> shared_graphs.Graph:
    """More tokens than CLIP takes at once on one side, and few on the other."""
    graph = shared_graphs.text_to_image()
    graph["6"]["inputs"]["text"] = "a glass bottle, " + "and many other things, " * 20
    return graph


def further_nodes() -> shared_graphs.Graph:
    """Two images, weighted words, an earlier layer of CLIP, another shift, ControlNet's old node, words for a while."""
    graph, node = shared_graphs.canny_controlnet(), shared_graphs.node
    graph["34"]["inputs"]["batch_size"] = 2
    graph["6"]["inputs"]["text"] = "a (glass:1.4) bottle"
    graph["60"] = node("CLIPSetLastLayer", clip=["41", 1], stop_at_clip_layer=-2)
    graph["6"]["inputs"]["clip"] = ["60", 0]
    graph["61"] = node("ModelSamplingStableCascade", model=["41", 0], shift=1.3)
    graph["62"] = node("ControlNetApply", conditioning=["6", 0], control_net=["47", 0], image=["51", 0], strength=0.7)
    graph["63"] = node("ConditioningSetTimestepRange", conditioning=["62", 0], start=0.0, end=0.6)
    graph["64"] = node("ConditioningCombine", conditioning_1=["63", 0], conditioning_2=["6", 0])
    graph["3"]["inputs"] |= {"model": ["61", 0], "positive": ["64", 0], "negative": ["7", 0]}
    return graph


def pixels(file: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(file)).astype(int)


def levels(image: Tensor) -> np.ndarray[Any, Any]:
    """As SaveImage writes them."""
    return (255 * image).clamp(0, 255).numpy().astype(np.uint8).astype(int)


def fitted(latent: Tensor, other: Tensor) -> Tensor:
    """In the size of another one."""
    return torch.nn.functional.interpolate(latent, other.shape[-2:])


@pytest.fixture(scope="module")
def plain(comfy: InProcess) -> Tensor:
    """Stage C's latent of the words alone, there."""
    (latent,) = comfy.ask(small(shared_graphs.text_to_image()), C)
    return latent["samples"]


@pytest.mark.parametrize(
    "example", [*shared_graphs.EXAMPLES, loose_files, long_words, further_nodes], ids=lambda example: example.__name__
)
def test_an_example(
    comfy: InProcess, base: Path, new_program: Path, plain: Tensor, example: Callable[[], shared_graphs.Graph]
) -> None:
    name = example.__name__
    prompt = small(example())
    prompt.nodes["9"]["inputs"]["filename_prefix"] = name
    *theirs, _ = comfy.ask(prompt, C, B, SAVED)
    mine = ours(prompt, C, B)
    (new_program / "graph.json").write_text(json.dumps(prompt.nodes))
    options = {"--input": base / "input", "--models": base / "models", "--output": new_program, "--device": "cpu"}
    given = [str(part) for option in options.items() for part in option]
    assert main(["run", str(new_program / "graph.json"), *given]) == 0
    files = [f"{name}_{number + 1:05}_.png" for number in range(len(theirs[0]["samples"]))]
    found, expected = (np.stack([pixels(folder / f) for f in files]) for folder in (new_program, base / "output"))
    apart = [deviation(one["samples"], other["samples"]) for one, other in zip(mine, theirs, strict=True)]
    off = abs(found - expected)
    seen = deviation(fitted(theirs[0]["samples"][:1], plain), plain)
    print(f"{name}: Stage C {apart[0]:.1e}, Stage B {apart[1]:.1e};", end=" ")
    print(f"picture {off.max()} levels at {(off > 0).mean():.1e}; from the words alone {seen:.1e}")
    assert max(apart) < CLOSE and off.max() <= LEVEL
    assert 20 < expected.std() < 80  # a picture, and not black and white
    assert (seen > SEEN) == (example not in (shared_graphs.text_to_image, loose_files))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_schedule(comfy: InProcess, sampler: str) -> None:
    prompt = small(shared_graphs.text_to_image())
    graph, node = prompt.nodes, shared_graphs.node
    links: list[Link] = []
    for schedule in SCHEDULES:
        chosen = {"sampler_name": sampler, "scheduler": schedule}
        c, words, b, picture = (f"{what}, {schedule}" for what in ("c", "words", "b", "picture"))
        graph[c] = node("KSampler", **graph["3"]["inputs"] | chosen)
        graph[words] = node("StableCascade_StageB_Conditioning", conditioning=["6", 0], stage_c=[c, 0])
        graph[b] = node("KSampler", **graph["33"]["inputs"] | chosen | {"positive": [words, 0]})
        graph[picture] = node("VAEDecode", samples=[b, 0], vae=["42", 2])
        links += [(c, 0), (b, 0), (picture, 0)]
    pairs = iter(zip(ours(prompt, *links), comfy.ask(prompt, *links), strict=True))
    wrong: list[str] = []
    for schedule in SCHEDULES:
        latents = [deviation(one["samples"], other["samples"]) for one, other in (next(pairs), next(pairs))]
        picture = abs(np.subtract(*map(levels, next(pairs)))).max()
        told = f"{sampler}, {schedule}: Stage C {latents[0]:.1e}, Stage B {latents[1]:.1e}, picture {picture} levels"
        print(told)
        if max(latents) >= CLOSE or picture > LEVEL:
            wrong.append(told)
    assert not wrong
