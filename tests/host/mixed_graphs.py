"""Graphs of native nodes and ours on random weights of published layouts (random_models.py), and who runs them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

import stable_cascade_nodes

from . import random_models as files
from .in_process import InProcess, Link, Prompt, out
from .lanes import Lane

ROOT = Path(stable_cascade_nodes.__file__).parent
THREADS = "1"  # in every process whose pixels are compared: sums depend on how they are shared out
EQUAL = 1e-4  # of the largest magnitude
RED = "a red star on a white background"
SIZE = {"width": 256, "height": 200}


@contextmanager
def start(lane: Lane, folder: Path) -> Iterator[InProcess]:
    """A ComfyUI with this pack and the models of random weights, in an empty folder."""
    for name in ("custom_nodes", "input", "output"):
        (folder / name).mkdir()
    (folder / "custom_nodes" / "stable-cascade-nodes").symlink_to(ROOT, target_is_directory=True)
    files.write_models(folder / "models", lane.path / "comfy" / "sd1_tokenizer")
    with InProcess(lane, folder, THREADS) as comfy:
        yield comfy
    shutil.rmtree(folder / "models")


def native_text(prompt: Prompt, text: str) -> Link:
    clip = prompt.add("CLIPLoader", clip_name=files.TEXT_ENCODER, type="stable_cascade")
    return prompt.add("CLIPTextEncode", clip=clip, text=text)


def sampled_c(
    prompt: Prompt, positive: Link, negative: Link | None = None, latent: Link | None = None, **settings: Any
) -> Link:
    """One step without guidance unless the settings say more."""
    settings = {"seed": 5, "steps": 1, "cfg": 1.0, "sampler": "ddim", "shift": 2.0, "denoise": 1.0} | settings
    return prompt.add(
        "CascadeStageCSampler",
        stage_c=prompt.add("CascadeStageCLoader", model_name=files.STAGE_C, dtype="auto"),
        positive=positive,
        negative=negative or positive,
        latent=latent or prompt.add("CascadeEmptyLatents", **SIZE, batch_size=1),
        **settings,
    )


def sampled_b(
    prompt: Prompt,
    stage_c: Link,
    positive: Link,
    negative: Link | None = None,
    latent: Link | None = None,
    **settings: Any,
) -> Link:
    settings = {"seed": 5, "steps": 2, "cfg": 1.1, "sampler": "ddpm", "shift": 1.0} | settings
    return prompt.add(
        "CascadeStageBSampler",
        stage_b=prompt.add("CascadeStageBLoader", model_name=files.STAGE_B, dtype="auto"),
        positive=positive,
        negative=negative or positive,
        stage_c=stage_c,
        latent=latent or out(prompt.add("CascadeEmptyLatents", **SIZE, batch_size=1), 1),
        **settings,
    )


def samples(comfy: InProcess, prompt: Prompt, *links: Link) -> list[Tensor]:
    return [latent["samples"] for latent in comfy.ask(prompt, *links)]
