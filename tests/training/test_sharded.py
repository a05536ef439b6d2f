"""Two processes that share a training learn what one does. Run: pytest tests/training"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from .scenes import write_silhouettes

OPTIONS = ["--size", "64", "--batch-size", "4", "--learning-rate", "0.0001", "--save-every", "2", "--caption", "a star"]


def train(folder: Path, kind: str, name: str, steps: int, processes: int) -> dict[str, torch.Tensor]:
    """The finished weights."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*(start if processes > 1 else [sys.executable]), "-m", "stable_cascade_nodes", "train", kind]
    command += ["pictures", "--name", name, "--steps", str(steps), "--device", "cpu", *OPTIONS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    written = folder / "models" / "diffusion_models" / f"{name}.safetensors"
    assert done.stdout == f"{written}\n"  # one of them speaks
    return load_file(written)


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
    for name, tensor in one.items():
        difference = (two[name].float() - tensor.float()).abs()
        if name.endswith("in_proj_bias"):  # a key's bias moves nothing: its gradient is rounding, its steps are chance
            third = len(difference) // 3
            difference[third : 2 * third] = 0
        assert difference.max() < 1e-5, name
    train(tmp_path, kind, "parts", 2, 2)
    parts = train(tmp_path, kind, "parts", 4, 2)
    assert all(torch.equal(tensor, parts[name]) for name, tensor in two.items())


@pytest.mark.slow
def test_what_several_processes_cannot_train(tmp_path: Path) -> None:
    write_silhouettes(tmp_path / "pictures", 2)
    with pytest.raises(AssertionError, match="torchrun is for stage_c and stage_b"):
        train(tmp_path, "lora", "a", 1, 2)
