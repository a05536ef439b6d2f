"""Trains a small LoRA in children that are killed at random moments, each going on where the last one was killed.

    python killed_runs.py FOLDER KILLS SEED KIND

KIND is lora or distill.

Prints, for each kill, the step of the state that is left, and for each finished training its file's digest; the first
line is the digest of one that was never stopped. Forked, so that imports and models are paid once.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.training.dataset import read_dataset
from stable_cascade_nodes.cascade_core.training.distill_settings import DistillSettings
from stable_cascade_nodes.cascade_core.training.models import DistillModels, TrainingModels
from stable_cascade_nodes.cascade_core.training.prompts import Prompts
from stable_cascade_nodes.cascade_core.training.run import TrainingRun
from stable_cascade_nodes.cascade_core.training.settings import LoraSettings
from stable_cascade_nodes.cascade_core.training.start import start_training, train_lora
from stable_cascade_nodes.cascade_core.training.state import read_head

TINY = "tiny (built-in)"
STEPS, SAVE_EVERY = 12, 3

Start = Callable[[Path, dict[str, Handle]], TrainingRun]  # a run in this folder, of these models


def models() -> dict[str, Handle]:
    kinds = ("stage_c", "text_encoder", "effnet", "previewer")
    return {kind: load(kind, built_in(kind)[TINY], name=TINY) for kind in kinds}


COMMON: dict[str, Any] = {
    "size": 64,
    "steps": STEPS,
    "batch_size": 2,
    "learning_rate": 1e-2,
    "optimizer": "adamw",
    "save_every": SAVE_EVERY,
    "prompts": ("a [zig]",),
    "sample_every": 6,
}


def lora(folder: Path, parts: dict[str, Handle]) -> TrainingRun:
    settings = LoraSettings(
        **COMMON, tokens=(("[zig]", "^star$"),), keep=("a red circle",), keep_weight=1.0, keep_count=2
    )
    data = read_dataset(folder.parent / "pictures", "a [zig]")
    return train_lora(TrainingModels(**parts), data, settings, folder, folder / "finished" / "lora.safetensors")[0]


def distill(folder: Path, parts: dict[str, Handle]) -> TrainingRun:
    settings = DistillSettings(**COMMON, teacher_steps=4, count=20)
    given = DistillModels(**{kind: part for kind, part in parts.items() if kind != "effnet"})
    prompts = Prompts(folder, ("a {red|blue} star", "a heart"))
    target = folder / "finished" / "lora.safetensors"
    return start_training("distill_stage_c", given, prompts, settings, folder, target)


START: dict[str, Start] = {"lora": lora, "distill": distill}


def child(start: Start, parts: dict[str, Handle], folder: Path, kill_after: float | None) -> bool:
    """Whether a forked training came to its end before it was killed."""
    number = os.fork()
    if number == 0:
        run = start(folder, parts)
        for _ in run.encode():
            pass
        for _ in run.train():
            pass
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit("a training failed")
    return os.WIFEXITED(status)


def digests(folder: Path) -> str:
    """A digest of the finished file and of the last state."""
    files = folder / "finished" / "lora.safetensors", folder / "state.safetensors"
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files)


def check_whole(folder: Path) -> None:
    """No file is half written under its own name."""
    for path in folder.rglob("*.safetensors"):
        if not path.name.startswith("."):
            load_file(path)


def main(folder: Path, kills: int, seed: int, start: Start) -> None:
    torch.set_num_threads(1)
    parts, chance = models(), random.Random(seed)
    started = time.monotonic()
    if not child(start, parts, folder / "never", None):
        raise SystemExit("the training that was never stopped was")
    whole = time.monotonic() - started
    print("finished", digests(folder / "never"), flush=True)
    killed = trial = 0
    while killed < kills:
        place = folder / f"trial{trial}"
        if child(start, parts, place, chance.uniform(0, 0.7 * whole)):
            print("finished", digests(place), flush=True)
            trial += 1
            continue
        killed += 1
        check_whole(place)
        state = place / "state.safetensors"
        print("killed", read_head(state).step if state.exists() else 0, flush=True)
    place = folder / f"trial{trial}"
    child(start, parts, place, None)
    print("finished", digests(place), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), START[sys.argv[4]])
