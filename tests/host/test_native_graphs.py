"""Graphs of ComfyUI's own nodes give here what they give there: latents of both stages, and the picture of a run.

ComfyUI's six examples for Stable Cascade (../shared_graphs.py), each with a narrow model of random weights (narrow.py)
whose files have the names and layouts of the published ones, and the sampler with every schedule.
Run: COMFYUI_PATH=... COMFYUI_PYTHON=... pytest -m host tests/host/test_native_graphs.py
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.runtime import host

from .. import shared_graphs
from ..models.peers import deviation
from . import narrow
from .in_process import InProcess, Link, Prompt
from .test_stand_ins import ours

pytestmark = pytest.mark.host
CLOSE = 1e-4  # of the largest magnitude
LEVEL = 1  # of 255
SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "ddpm", "lcm", "heun", "uni_pc")
SCHEDULES = ("simple", "normal", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta")
PICTURES = {
    "example.png": (420, 300), "mountains.png": (331, 203), "sunset.png": (256, 256),
    "yosemite_inpaint_example.png": (320, 256),
}  # fmt: skip
C, B, DECODED, SAVED = ("3", 0), ("33", 0), ("8", 0), ("9", 0)  # links of the examples


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("graphs")
    narrow.write(folder, Path(os.environ.get("COMFYUI_PATH", "")) / "comfy" / "sd1_tokenizer")
    rng = np.random.default_rng(0)
    for name, size in PICTURES.items():
        soft = Image.fromarray(rng.integers(0, 256, (7, 7, 4), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        soft.save(folder / "input" / name)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def comfy(base: Path) -> Iterator[InProcess]:
    python, path = os.environ.get("COMFYUI_PYTHON"), os.environ.get("COMFYUI_PATH")
    if not python or not path:
        pytest.skip("set COMFYUI_PATH to a ComfyUI folder and COMFYUI_PYTHON to its Python to run this")
    with InProcess(python, path, base) as comfy:
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


def pixels(file: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(file)).astype(int)


@pytest.mark.parametrize("example", shared_graphs.EXAMPLES, ids=lambda example: example.__name__)
def test_an_example(
    comfy: InProcess, base: Path, new_program: Path, example: Callable[[], shared_graphs.Graph]
) -> None:
    prompt = small(example())
    prompt.nodes["9"]["inputs"]["filename_prefix"] = example.__name__
    wanted = (C, B, DECODED)
    *expected, _ = comfy.ask(prompt, *wanted, SAVED)
    c, b, decoded = ours(prompt, *wanted)
    (new_program / "graph.json").write_text(json.dumps(prompt.nodes))
    folders = {"--input": base / "input", "--models": base / "models", "--output": new_program}
    told = [str(part) for pair in folders.items() for part in pair]
    assert main(["run", str(new_program / "graph.json"), "--device", "cpu", *told]) == 0
    found, there = (pixels(folder / f"{example.__name__}_00001_.png") for folder in (new_program, base / "output"))
    apart = deviation(c["samples"], expected[0]["samples"]), deviation(b["samples"], expected[1]["samples"])
    scale = [float(latent["samples"].std()) for latent in (c, b)]
    print(f"{example.__name__}: Stage C {apart[0]:.1e}, Stage B {apart[1]:.1e} of the largest magnitude;", end=" ")
    print(f"picture {abs(found - there).max()} levels, {(found != there).mean():.1e} differ; latents {scale}, picture {float(decoded.mean()):.2f} +- {float(decoded.std()):.2f}")
    assert max(apart) < CLOSE
    assert deviation(decoded, expected[2]) < CLOSE
    assert found.shape == there.shape and found.std() > 10
    assert abs(found - there).max() <= LEVEL
