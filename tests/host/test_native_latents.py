"""Native nodes of latents and pictures and ours in one graph of a real ComfyUI: decoded, cut, repeated, joined, saved.

Run: COMFYUI_PATH=... COMFYUI_PYTHON=... pytest -m host tests/host/test_native_latents.py
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from . import random_models as files
from .in_process import Failed, InProcess, Link, Prompt, out
from .lanes import Lane
from .mixed_graphs import EQUAL, RED, ROOT, THREADS, native_text, sampled_b, sampled_c, start

TINY = {"model_name": "tiny (built-in)"}


@pytest.fixture(scope="module")
def comfy(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with start(lane, tmp_path_factory.mktemp("native")) as comfy:
        yield comfy


@pytest.mark.parametrize(("width", "height"), [(128, 96), (68, 52), (65, 50)])
def test_native_decode_equals_ours(comfy: InProcess, width: int, height: int) -> None:
    """At even and at odd latent sizes, and at a size to which only ours crops."""
    prompt = Prompt()
    empty = prompt.add("CascadeEmptyLatents", width=width, height=height, batch_size=2)
    red = native_text(prompt, RED)
    sampled = sampled_b(prompt, sampled_c(prompt, red, latent=empty), red, latent=out(empty, 1))
    latent = prompt.add("LatentMultiply", samples=sampled, multiplier=0.02)  # random weights overshoot
    native = prompt.add("VAEDecode", vae=prompt.add("VAELoader", vae_name=files.STAGE_A), samples=latent)
    stage_a = prompt.add("CascadeStageALoader", model_name=files.STAGE_A, dtype="auto")
    ours = prompt.add("CascadeStageADecode", stage_a=stage_a, latent=latent)
    of_b, theirs, image = comfy.ask(prompt, latent, native, ours)
    assert list(of_b["samples"].shape) == [2, 4, math.ceil(height / 4), math.ceil(width / 4)]
    assert list(image.shape) == [2, height, width, 3] and image.dtype == torch.float32
    theirs = theirs[:, :height, :width].clamp(0, 1)
    inside = ((theirs > 0) & (theirs < 1)).float().mean()
    print(f"{width} x {height}: {(theirs - image).abs().max():.1e}; {inside:.0%} of the values within 0..1")
    assert (theirs - image).abs().max() < EQUAL and inside > 0.2


def tiny_run(prompt: Prompt, batch: int = 1) -> dict[str, Link]:
    """Models, prompts and empty latents of the built-in cascade."""
    encoder = prompt.add("CascadeTextEncoderLoader", **TINY)
    empty = prompt.add("CascadeEmptyLatents", width=256, height=192, batch_size=batch)
    return {
        "positive": prompt.add("CascadeTextEncode", text_encoder=encoder, text="a red star"),
        "negative": prompt.add("CascadeTextEncode", text_encoder=encoder, text=""),
        "stage_c": prompt.add("CascadeStageCLoader", **TINY, dtype="auto"),
        "stage_b": prompt.add("CascadeStageBLoader", **TINY, dtype="auto"),
        "stage_a": prompt.add("CascadeStageALoader", **TINY, dtype="auto"),
        "latent_c": empty,
        "latent_b": out(empty, 1),
    }


def tiny_c(prompt: Prompt, run: dict[str, Link], latent: Link | None = None) -> Link:
    settings = {"seed": 7, "steps": 6, "cfg": 1.5, "sampler": "ddpm", "shift": 2.0, "denoise": 1.0}
    wires = {key: run[key] for key in ("stage_c", "positive", "negative")}
    previewer = prompt.add("CascadePreviewerLoader", **TINY)
    return prompt.add(
        "CascadeStageCSampler", **wires, latent=latent or run["latent_c"], previewer=previewer, **settings
    )


def tiny_image(prompt: Prompt, run: dict[str, Link], stage_c: Link, latent: Link | None = None) -> Link:
    settings = {"seed": 7, "steps": 4, "cfg": 1.1, "sampler": "ddpm", "shift": 1.0}
    wires = {key: run[key] for key in ("stage_b", "positive", "negative")}
    b = prompt.add("CascadeStageBSampler", **wires, stage_c=stage_c, latent=latent or run["latent_b"], **settings)
    return prompt.add("CascadeStageADecode", stage_a=run["stage_a"], latent=b)


def test_latent_from_batch_gives_the_batchs_own_image(comfy: InProcess) -> None:
    prompt = Prompt()
    run, alone = tiny_run(prompt, batch=3), tiny_run(prompt, batch=1)
    batch = tiny_c(prompt, run)
    cut = prompt.add("LatentFromBatch", samples=batch, batch_index=1, length=1)
    pair = prompt.add("LatentFromBatch", samples=batch, batch_index=1, length=2)
    cut_b = prompt.add("LatentFromBatch", samples=run["latent_b"], batch_index=1, length=1)
    cut_empty = prompt.add("LatentFromBatch", samples=run["latent_c"], batch_index=1, length=1)
    two = out(prompt.add("CascadeEmptyLatents", width=256, height=192, batch_size=2), 1)
    whole, *singles, last_two = comfy.ask(
        prompt,
        tiny_image(prompt, run, batch),
        tiny_image(prompt, run, cut, alone["latent_b"]),  # Stage C knows which one it is
        tiny_image(prompt, run, cut, cut_b),  # both know
        tiny_image(prompt, run, tiny_c(prompt, run, cut_empty), cut_b),  # made alone from the start
        tiny_image(prompt, run, pair, two),
    )
    found = [float((image - whole[1:2]).abs().max()) for image in singles] + [float((last_two - whole[1:]).abs().max())]
    print(", ".join(f"{255 * x:.3f} / 255" for x in found))
    assert max(found) < 1 / 255
    assert (whole[0] - whole[1]).abs().max() > 0.2


def test_repeated_and_joined_batches(comfy: InProcess) -> None:
    prompt = Prompt()
    one, three = tiny_run(prompt, batch=1), tiny_run(prompt, batch=3)
    c = tiny_c(prompt, one)
    repeated_c = prompt.add("RepeatLatentBatch", samples=c, amount=3)
    repeated_empty = prompt.add("RepeatLatentBatch", samples=one["latent_c"], amount=3)
    cut = prompt.add("LatentFromBatch", samples=tiny_c(prompt, three), batch_index=2, length=1)
    joined = prompt.add("LatentBatch", samples1=c, samples2=cut)
    two = out(prompt.add("CascadeEmptyLatents", width=256, height=192, batch_size=2), 1)
    batch, variations, again, pair, from_repeated, from_batch = comfy.ask(
        prompt,
        tiny_image(prompt, three, tiny_c(prompt, three)),
        tiny_image(prompt, three, repeated_c),
        tiny_image(prompt, three, c),  # one latent of Stage C for all
        tiny_image(prompt, three, joined, two),
        tiny_c(prompt, one, repeated_empty),
        tiny_c(prompt, three),
    )
    # Three details for one composition, the first of them the one of a single run.
    assert (variations - again).abs().max() < EQUAL
    assert (variations[0] - batch[0]).abs().max() < 1 / 255 < (variations[1] - variations[0]).abs().max()
    # Joined images keep their places 0 and 2 in the seed's batch.
    assert (pair - batch[[0, 2]]).abs().max() < 1 / 255
    assert torch.equal(from_repeated["samples"], from_batch["samples"])

    with pytest.raises(Failed, match=r"expected one latent or as many as `latent` has \(1\), found 3"):
        comfy.ask(prompt, tiny_image(prompt, one, repeated_c))


def test_saved_latents_and_pictures(comfy: InProcess) -> None:
    prompt = Prompt()
    run = tiny_run(prompt)
    c = tiny_c(prompt, run)
    image = tiny_image(prompt, run, c)
    outputs = [
        prompt.add("SaveLatent", samples=c, filename_prefix="c"),
        prompt.add("SaveImage", images=image, filename_prefix="picture"),
        prompt.add("PreviewImage", images=image),
    ]
    known = set(prompt.nodes)
    sampled, pixels, *_ = comfy.ask(prompt, c, image, *outputs)
    assert sampled["cascade_size"] == [192, 256] and sampled["cascade_family"] == "tiny"

    previews = list((comfy.folder / "temp").glob("ComfyUI_temp_*.png"))
    assert len(previews) == 1
    for file in (comfy.folder / "output" / "picture_00001_.png", *previews):
        with Image.open(file) as saved:
            assert np.array_equal(np.asarray(saved), (255 * pixels[0]).byte().numpy())
            assert json.loads(saved.info["prompt"]).keys() == known

    # What ComfyUI saves of a latent is its samples: ours go on without the size, which was that of whole latents.
    shutil.copy(comfy.folder / "output" / "c_00001_.latent", comfy.folder / "input")
    loaded = prompt.add("LoadLatent", latent="c_00001_.latent")
    without_keys, again = comfy.ask(prompt, loaded, tiny_image(prompt, run, loaded))
    assert without_keys.keys() == {"samples"} and torch.equal(without_keys["samples"], sampled["samples"])
    assert torch.equal(again, pixels)


def test_same_pixels_as_the_command(comfy: InProcess, lane: Lane, tmp_path: Path) -> None:
    prompt = Prompt()
    run = tiny_run(prompt, batch=2)
    saved = prompt.add("SaveImage", images=tiny_image(prompt, run, tiny_c(prompt, run)), filename_prefix="same")
    comfy.ask(prompt, saved)

    workflow = tmp_path / "prompt.json"
    workflow.write_text(json.dumps(prompt.nodes))
    done = subprocess.run(
        [lane.python, str(ROOT), "run", str(workflow), "--output", str(tmp_path / "out")],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": THREADS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("same_00001_.png", "same_00002_.png"):
        with Image.open(comfy.folder / "output" / name) as one, Image.open(tmp_path / "out" / name) as other:
            assert np.array_equal(np.asarray(one), np.asarray(other))
            assert np.asarray(one).std() > 10  # a picture
