"""A training killed at random moments ends as one that was never stopped, bit for bit. Run: pytest tests/training"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .latents import write_latents

SCRIPT = Path(__file__).with_name("killed_runs.py")


@pytest.mark.parametrize("kind", ["lora", "stage_c", "distill"])
@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_training_ends_as_one_that_was_never_stopped(tmp_path: Path, kills: int, kind: str) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        levels = np.random.default_rng(number).integers(255, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(levels).save(tmp_path / "pictures" / f"{number}.png")
    write_latents(tmp_path / "pictures" / "latents.safetensors", 9, in_a_file=4)
    command = [sys.executable, str(SCRIPT), str(tmp_path), str(kills), "1", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    finished = [rest for what, rest in lines if what == "finished"]
    states = [int(rest) for what, rest in lines if what == "killed"]
    assert len(states) == kills
    assert len(finished) >= 2 and len(set(finished)) == 1, done.stdout
    if kills == 20:
        assert len({*states}) > 1, "all were killed before the first save: the moments are not random"
