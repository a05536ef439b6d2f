"""Text to image from the shipped workflow to the file, with the built-in cascade.

Run: pytest tests/test_text_to_image.py
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.pipeline import Cascade
from stable_cascade_nodes.cascade_core.sampling.latent import Latent
from stable_cascade_nodes.cascade_core.sampling.settings import STAGE_C_DEFAULTS
from stable_cascade_nodes.cascade_core.sampling.stages import sample_stage_c
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.nodes.decode import CascadeStageADecode
from stable_cascade_nodes.nodes.latents import CascadeEmptyLatents
from stable_cascade_nodes.nodes.sampling import CascadeStageBSampler, CascadeStageCSampler
from stable_cascade_nodes.nodes.sockets import to_conditioning
from stable_cascade_nodes.recipes.tiny.reader import is_right

from .recipes.tiny.caption_parser import scene_of

ROOT = Path(stable_cascade_nodes.__file__).parent
WORKFLOW = ROOT / "workflows" / "text_to_image.json"
COMMAND = [sys.executable, "-m", "stable_cascade_nodes"]
PROMPT = "a large yellow circle at the bottom right on a sky background"


@pytest.fixture
def cascade(tiny: Callable[..., Handle]) -> Cascade:
    return Cascade(*map(tiny, ("text_encoder", "stage_c", "stage_b", "stage_a")))


def paint(
    cascade: Cascade, width: int, height: int, batch: int = 1, seed: int = 0, steps: tuple[int, int] = (20, 10)
) -> np.ndarray:
    """The nodes of the workflow, one after another; uint8 (batch, H, W, 3)."""
    from stable_cascade_nodes.cascade_core.pipeline import encode_text

    positive, negative = (to_conditioning(encode_text(cascade.text_encoder, text)) for text in (PROMPT, ""))
    with torch.inference_mode():
        empty_c, empty_b = CascadeEmptyLatents().make(width, height, batch)
        common: dict[str, Any] = {"seed": seed, "sampler": "ddpm"}
        (c,) = CascadeStageCSampler().sample(
            cascade.stage_c, positive, negative, empty_c, steps=steps[0], cfg=4.0, shift=2.0, denoise=1.0, **common
        )
        (b,) = CascadeStageBSampler().sample(
            cascade.stage_b, positive, negative, c, empty_b, steps=steps[1], cfg=1.1, shift=1.0, **common
        )
        (image,) = CascadeStageADecode().decode(cascade.stage_a, b)
    return (image * 255).round().byte().numpy()


def test_the_command_draws_what_the_prompt_says(new_program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(WORKFLOW), "--set", f"Prompt.text={PROMPT}", "--output", "out", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (file,) = answer["files"]
    assert answer["seconds"] > 0
    assert {"Prompt", "Stage C", "Stage B", "Picture out"} <= {node["title"] for node in answer["nodes"].values()}
    with Image.open(file) as picture:
        assert picture.size == (256, 256)
        assert is_right(np.asarray(picture), scene_of(PROMPT))
        assert PROMPT in picture.text["prompt"]  # type: ignore[attr-defined]
        workflow = json.loads(picture.text["workflow"])  # type: ignore[attr-defined]
    assert any(node.get("widgets_values") == [PROMPT] for node in workflow["nodes"])


def test_the_picture_gives_the_same_picture_again(new_program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--set", "Stage C.steps=4", "--set", "Stage B.steps=2", "--set", "Size.width=128", "--output", "out"]
    assert main(["run", str(WORKFLOW), *settings]) == 0
    first = Path(capsys.readouterr().out.strip())
    with Image.open(first) as picture:
        Path("again.json").write_text(picture.text["workflow"])  # type: ignore[attr-defined]
        pixels = np.asarray(picture)
    assert main(["run", "again.json", "--output", "out"]) == 0
    second = Path(capsys.readouterr().out.strip())
    assert second != first
    assert np.array_equal(np.asarray(Image.open(second)), pixels)


@pytest.mark.parametrize(("width", "height"), [(201, 137), (333, 500), (257, 64)])
def test_sizes_come_out_exactly(cascade: Cascade, width: int, height: int) -> None:
    assert paint(cascade, width, height, steps=(2, 2)).shape == (1, height, width, 3)


WIDTHS = range(64, 513, 8)


@pytest.mark.parametrize("width", [64, 104, 168, 344, 512])
def test_widths(cascade: Cascade, width: int) -> None:
    for height in (width, 256):
        assert paint(cascade, width, height, steps=(1, 1)).shape == (1, height, width, 3)


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_every_width(cascade: Cascade, width: int) -> None:
    test_widths(cascade, width)


def test_an_image_of_a_batch_can_be_made_alone(cascade: Cascade) -> None:
    batch = paint(cascade, 256, 256, batch=3, seed=11)
    alone = paint(cascade, 256, 256, seed=13)
    assert np.abs(batch[2].astype(int) - alone[0].astype(int)).max() <= 1
    assert np.abs(batch[1].astype(int) - alone[0].astype(int)).max() > 20  # the others are other pictures


def test_a_picture_takes_seconds(cascade: Cascade) -> None:
    """20 + 10 steps at the model's own size, in CPU seconds of one thread."""
    paint(cascade, 256, 256, steps=(1, 1))
    started = time.process_time()
    paint(cascade, 256, 256)
    assert time.process_time() - started < 5


def test_steps_are_told_as_they_are_made(cascade: Cascade) -> None:
    """Sampling is a generator: the second step is not computed before it is asked for."""
    from stable_cascade_nodes.cascade_core.pipeline import encode_text

    conditions = [encode_text(cascade.text_encoder, PROMPT)]
    empty, settings = Latent(torch.zeros(1, 16, 6, 6)), replace(STAGE_C_DEFAULTS, steps=3)
    steps = sample_stage_c(cascade.stage_c, conditions, conditions, empty, seed=0, settings=settings)
    assert [(step.index, step.total) for step in steps] == [(0, 3), (1, 3), (2, 3)]


def test_unknown_words_are_named_once(new_program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "Prompt.text=a turquoise circle with a turquoise hat"
    quick = ["--set", "Stage C.steps=1", "--set", "Stage B.steps=1", "--output", "out"]
    assert main(["run", str(WORKFLOW), "--set", words, *quick]) == 0
    captured = capsys.readouterr()
    (warning,) = [line for line in captured.err.splitlines() if "turquoise" in line]
    known = warning.split("knows:")[1]
    assert "turquoise, hat" in warning and "circle" in known and len(known.split()) < 40


def test_a_colour_that_its_world_does_not_have_there_is_told(
    new_program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--steps", "1", "--set", "Stage B.steps=1", "--negative", "a white (background:1.2), a red star"]
    assert main(["run", str(WORKFLOW), "--prompt", "red circle on a (green:1.2) background", *quick]) == 0
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "in its world" in line]
    assert "there is no green background in its world; choose white, gray, cream, sky, mint or rose" in told


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a child there")
def test_ctrl_c_ends_within_a_step_with_nothing_half_written(new_program: Path) -> None:
    arguments = ["run", str(WORKFLOW), "--set", "Stage B.steps=1000", "--output", "out"]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:  # nodes tell when they are done: after Stage C comes Stage B with its 1000 steps
        if "Stage C" in line and " s " in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, _ = process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert process.returncode == 130
    assert out == ""
    assert not [path for path in Path("out").rglob("*") if path.is_file()]
