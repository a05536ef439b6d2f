"""Trains something small in children that are killed at random moments, each going on where the last one was killed.

    python killed_runs.py FOLDER KILLS SEED KIND

KIND is lora, of the pictures in FOLDER, stage_c: a new one, of latents that are written there, or distill, of prompts.

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
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.training.data.dataset import read_dataset
from stable_cascade_nodes.cascade_core.training.data.latent_set import read_latents
from stable_cascade_nodes.cascade_core.training.data.prompts import Prompts
from stable_cascade_nodes.cascade_core.training.distill_settings import DistillSettings
from stable_cascade_nodes.cascade_core.training.from_scratch import new_stage_c
from stable_cascade_nodes.cascade_core.training.lora_settings import LoraSettings
from stable_cascade_nodes.cascade_core.training.models import StageCModels, TrainingModels
from stable_cascade_nodes.cascade_core.training.run import TrainingRun
from stable_cascade_nodes.cascade_core.training.stage_settings import StageCSettings
from stable_cascade_nodes.cascade_core.training.start import start_training, train_lora
from stable_cascade_nodes.cascade_core.training.state import read_head

TINY = "tiny (built-in)"
STEPS, SAVE_EVERY = 12, 3
FINISHED = "finished/net.safetensors"


def models() -> TrainingModels:
    kinds = ("stage_c", "text_encoder", "effnet", "previewer")
    return TrainingModels(**{kind: load(kind, built_in(kind)[TINY], name=TINY) for kind in kinds})


COMMON: dict[str, Any] = {
    "size": 64,
    "steps": STEPS,
    "batch_size": 2,
    "learning_rate": 1e-2,
    "optimizer": "adamw",
    "save_every": SAVE_EVERY,
    "sample_every": 6,
    "ema": 0.9,
    "ema_every": 2,
    "ema_start": 4,
}


def lora_run(parts: TrainingModels, data: Path, folder: Path) -> TrainingRun:
    settings = LoraSettings(
        **COMMON,
        prompts=("a [zig]",),
        tokens=(("[zig]", "^star$"),),
        keep=("a red circle",),
        keep_weight=1.0,
        keep_count=2,
    )
    return train_lora(parts, read_dataset(data, "a [zig]"), settings, folder, folder / FINISHED)[0]


def stage_c_run(parts: TrainingModels, data: Path, folder: Path) -> TrainingRun:
    settings = StageCSettings(**COMMON, prompts=("a star",), architecture=PRESETS["stage_c"]["tiny"])
    models = StageCModels(new_stage_c(settings, parts.text_encoder), parts.text_encoder, previewer=parts.previewer)
    latents = read_latents([data / "latents.safetensors"])
    return start_training("stage_c", models, latents, settings, folder, folder / FINISHED)


def distill_run(parts: TrainingModels, data: Path, folder: Path) -> TrainingRun:
    settings = DistillSettings(**COMMON, prompts=("a star",), teacher_steps=4, count=20)
    models = StageCModels(parts.stage_c, parts.text_encoder, previewer=parts.previewer)
    prompts = Prompts(data, ("a {red|blue} star", "a heart"))
    return start_training("distill_stage_c", models, prompts, settings, folder, folder / FINISHED)


RUNS = {"lora": lora_run, "stage_c": stage_c_run, "distill": distill_run}


def train(kind: str, parts: TrainingModels, data: Path, folder: Path) -> None:
    run = RUNS[kind](parts, data, folder)
    for _ in run.encode():
        pass
    for _ in run.train():
        pass


def child(kind: str, parts: TrainingModels, data: Path, folder: Path, kill_after: float | None) -> bool:
    """Whether a forked training came to its end before it was killed."""
    number = os.fork()
    if number == 0:
        train(kind, parts, data, folder)
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
    files = folder / FINISHED, folder / "state.safetensors"
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files)


def check_whole(folder: Path) -> None:
    """No file is half written under its own name."""
    for path in folder.rglob("*.safetensors"):
        if not path.name.startswith("."):
            load_file(path)


def main(folder: Path, kills: int, seed: int, kind: str) -> None:
    torch.set_num_threads(1)
    data, parts, chance = folder / "pictures", models(), random.Random(seed)
    started = time.monotonic()
    if not child(kind, parts, data, folder / "never", None):
        raise SystemExit("the training that was never stopped was")
    whole = time.monotonic() - started
    print("finished", digests(folder / "never"), flush=True)
    killed = trial = 0
    while killed < kills:
        place = folder / f"trial{trial}"
        if child(kind, parts, data, place, chance.uniform(0, 0.7 * whole)):
            print("finished", digests(place), flush=True)
            trial += 1
            continue
        killed += 1
        check_whole(place)
        state = place / "state.safetensors"
        print("killed", read_head(state).step if state.exists() else 0, flush=True)
    place = folder / f"trial{trial}"
    child(kind, parts, data, place, None)
    print("finished", digests(place), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
