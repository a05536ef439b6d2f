"""Two processes that share a training learn what one does. Run: pytest tests/training"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from .latents import write_latents
from .scenes import write_silhouettes

START = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
OPTIONS = ["--size", "64", "--batch-size", "4", "--learning-rate", "0.0001", "--save-every", "2", "--caption", "a star"]


def train(
    folder: Path, kind: str, name: str, steps: int, processes: int, learns_from: Sequence[str] = ("pictures",)
) -> dict[str, torch.Tensor]:
    """The finished weights."""
    command = [
        *([*START, str(processes)] if processes > 1 else [sys.executable]),
        "-m",
        "stable_cascade_nodes",
        "train",
        kind,
    ]
    command += [*learns_from, "--name", name, "--steps", str(steps), "--device", "cpu", *OPTIONS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    written = folder / "models" / "diffusion_models" / f"{name}.safetensors"
    assert done.stdout == f"{written}\n"  # one of them speaks
    return load_file(written)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stage_c", "stage_b"])
def test_divided_weights_take_the_steps_of_whole_ones(kind: str) -> None:
    script = Path(__file__).with_name("shared_steps.py")
    done = subprocess.run([*START, "2", str(script), kind], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout) < 1e-5  # 2e-7: norms and times are computed in float32 everywhere


def losses(folder: Path, name: str) -> list[float]:
    lines = (folder / "output" / "training" / name / "curve.jsonl").read_text().splitlines()
    return [json.loads(line)["denoising"] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stage_c", "stage_b"])
def test_two_processes_learn_what_one_does(tmp_path: Path, kind: str) -> None:
    write_silhouettes(tmp_path / "pictures", 4)
    one = train(tmp_path, kind, "one", 4, 1)
    two = train(tmp_path, kind, "two", 4, 2)
    assert losses(tmp_path, "one") == pytest.approx(losses(tmp_path, "two"), abs=1e-5)
    assert one.keys() == two.keys()
    train(tmp_path, kind, "parts", 2, 2)
    parts = train(tmp_path, kind, "parts", 4, 2)
    assert all(torch.equal(tensor, parts[name]) for name, tensor in two.items())


@pytest.mark.slow
def test_a_new_stage_c_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    write_latents(tmp_path / "l.safetensors", 9, in_a_file=4)
    new = ["--latents", "l.safetensors", "--architecture", "tiny", "--loss-weight", "adaptive", "--held-out", "0.3"]
    averaged = ["--ema", "0.5", "--ema-every", "1", "--ema-start", "1", "--validate-every", "1"]
    one, two = (train(tmp_path, "stage_c", f"p{n}", 3, n, [*new, *averaged]) for n in (1, 2))
    assert losses(tmp_path, "p1") == pytest.approx(losses(tmp_path, "p2"), abs=1e-5)
    assert max(float((tensor - two[name]).abs().max()) for name, tensor in one.items()) < 1e-4


@pytest.mark.slow
def test_what_several_processes_cannot_train(tmp_path: Path) -> None:
    write_silhouettes(tmp_path / "pictures", 2)
    with pytest.raises(AssertionError, match="torchrun is for stage_c and stage_b"):
        train(tmp_path, "lora", "a", 1, 2)
