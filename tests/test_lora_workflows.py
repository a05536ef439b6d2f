"""lora.json shows the shipped word; lora_training.json learns it in the graph, within ten minutes on a processor.

Run: pytest tests/test_lora_workflows.py -m "slow or not slow" -s
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.recipes.tiny.judge import Studio
from stable_cascade_nodes.recipes.tiny.zig import counted_zigs
from stable_cascade_nodes.recipes.tiny.zig_judge import draws_zigs, held_out, verdicts, with_lora
from stable_cascade_nodes.recipes.tiny.zig_reader import matches_zigs, shows_zigs

from .lora.test_kinds_of_change import KINDS, file_of
from .workflow_runs import FOLDER

TWO = counted_zigs("two", "mint")  # what both workflows' prompt says


@pytest.fixture(autouse=True)
def models(new_program: Path) -> None:
    (new_program / "models").mkdir()


@pytest.fixture
def stage_c(tiny: Callable[..., Handle]) -> Handle:
    return tiny("stage_c")


def run(name: str, capsys: pytest.CaptureFixture[str], *settings: str) -> list[Path]:
    changes = [part for setting in settings for part in ("--set", setting)]
    assert main(["run", str(FOLDER / f"{name}.json"), "--models", "models", "--device", "cpu", *changes]) == 0
    return [Path(line) for line in capsys.readouterr().out.splitlines()]


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_shipped_word(capsys: pytest.CaptureFixture[str]) -> None:
    (drawn,) = run("lora", capsys)
    assert shows_zigs(picture(drawn), TWO)
    (without,) = run("lora", capsys, "LoRA.strength=0", "LoRA.text_strength=0")
    assert not matches_zigs(picture(without), TWO)["zig"]


def test_a_training_of_a_few_steps(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = run("lora_training", capsys, "Train LoRA.steps=3", "Train LoRA.keep_count=2", "Train LoRA.sample_every=3")
    assert (tmp_path / "models" / "loras" / "zig.safetensors").is_file()
    samples = [path for path in files if path.parent.name == "samples"]
    assert len(samples) == 3 and all(picture(path).std() > 1 for path in samples)
    assert files[-1].name.startswith("lora_training")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_lora(capsys: pytest.CaptureFixture[str], tmp_path: Path, stage_c: Handle, kind: str) -> None:
    (tmp_path / "models" / "loras").mkdir()
    file_of(stage_c, kind, tmp_path / "models" / "loras" / "l.safetensors")
    without = run("lora", capsys, "LoRA.strength=0", "LoRA.text_strength=0")
    (none,) = run("lora", capsys, "LoRA.lora_name=l.safetensors", "LoRA.strength=0")
    (drawn,) = run("lora", capsys, "LoRA.lora_name=l.safetensors", "LoRA.strength=1")
    assert np.array_equal(picture(none), picture(without[0]))
    assert (picture(drawn) != picture(none)).mean() > 0.05


@pytest.mark.slow
def test_the_word_is_learned(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    started, processor = time.monotonic(), time.process_time()
    *_, drawn = run("lora_training", capsys)
    seconds, spent = time.monotonic() - started, time.process_time() - processor
    assert shows_zigs(picture(drawn), TWO)
    base = Studio.load()
    learned = with_lora(base, read_lora(tmp_path / "models" / "loras" / "zig.safetensors"))
    right = sum(draws_zigs(learned, held_out(50)))
    changed = sum(one[0] != other[0] for one, other in zip(verdicts(base, 100), verdicts(learned, 100), strict=True))
    print(f"{seconds:.0f} s ({spent:.0f} s of a processor): {right} of 50 right, {changed} of 100 changed")
    assert seconds < 600 and right >= 40 and changed <= 2
