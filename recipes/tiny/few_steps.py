"""The recipe of `tiny fast (built-in)`: a LoRA for both stages, by which one or two steps do what twenty and ten did.

    python -m stable_cascade_nodes.recipes.tiny.few_steps WORK             # both stages, then the shipped file
    python -m stable_cascade_nodes.recipes.tiny.few_steps WORK --stage stage_c

WORK keeps the prompts, the teacher's trajectories and the states: stopped, it goes on. It is `cascade train distill`
with the settings below, on prompts that neither were held out nor are tested with.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ...cascade_core.builtin import FAMILY, NAME, lora_path, weights_path
from ...cascade_core.files.load import load
from ...cascade_core.lora.lora import Lora
from ...cascade_core.lora.read import read_lora
from ...cascade_core.lora.write import save_lora
from ...cascade_core.models.handle import Handle
from ...cascade_core.training.data.prompts import read_prompts
from ...cascade_core.training.distill_settings import DistillSettings, DistillStageBSettings
from ...cascade_core.training.models import StageCModels
from ...cascade_core.training.start import start_training
from .captions import sample_caption
from .data import ENCODED_SIZE, training_scene

FAST = "fast"
COMMON: dict[str, Any] = {
    "size": ENCODED_SIZE,
    "learning_rate": 3e-3,
    "warmup": 50,
    "save_every": 100,
    "checkpointing": False,
    "dialect": "kohya",
    "teacher_sampler": "dpmpp_2m",
}
STAGE_C: dict[str, Any] = {"steps": 660, "batch_size": 32, "rank": 32, "alpha": 32.0, "count": 2048}
STAGE_B: dict[str, Any] = {"steps": 900, "batch_size": 8, "rank": 24, "alpha": 24.0, "count": 1024}
SETTINGS = {
    "stage_c": DistillSettings(**COMMON, **STAGE_C, teacher_steps=10, teacher_cfg=1.5),
    "stage_b": DistillStageBSettings(**COMMON, **STAGE_B, teacher_steps=4, sample_cfg=1.5, student_steps=1),
}
PROMPTS = max(settings.count for settings in SETTINGS.values())
REPORT_EVERY = 20


def write_prompts(path: Path) -> None:
    """A caption of each of the first training scenes, in some wording."""
    random = np.random.default_rng(5)
    lines = [sample_caption(training_scene(index), random) for index in range(PROMPTS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def built_in(kind: str) -> Handle:
    return load(kind, weights_path(kind), name=NAME)


def distill(stage: str, work: Path) -> None:
    """Take all steps of a stage that are left; what was learned lies in WORK."""
    models = StageCModels(**{kind: built_in(kind) for kind in ("stage_c", "text_encoder", "stage_b")})
    prompts = read_prompts(work / "prompts.txt")
    run = start_training(f"distill_{stage}", models, prompts, SETTINGS[stage], work / stage, _learned(work, stage))
    started, losses = time.process_time(), list[float]()
    for done in run.encode():
        if done % REPORT_EVERY == 0:
            _say(stage, {"drawn": done, "cpu_minutes": (time.process_time() - started) / 60})
    for report in run.train():
        losses += report.progress.losses.values()
        if report.progress.step % REPORT_EVERY == 0:
            minutes = (time.process_time() - started) / 60
            _say(stage, {"step": report.progress.step, "loss": float(np.mean(losses)), "cpu_minutes": minutes})
            losses.clear()


def ship(work: Path, path: Path) -> None:
    """One file of what both stages learned, in half precision."""
    stages = [stage for stage in SETTINGS if _learned(work, stage).exists()]
    learned = [read_lora(_learned(work, stage)) for stage in stages]
    changes = {name: change for lora in learned for name, change in lora.changes.items()}
    lora = Lora(path.stem, changes, family=FAMILY)
    save_lora(path, lora, [built_in(stage) for stage in stages], dialect="kohya", dtype="float16")


def _learned(work: Path, stage: str) -> Path:
    return work / f"{stage}.safetensors"


def _say(stage: str, entry: dict[str, float]) -> None:
    print(stage, json.dumps({name: round(value, 5) for name, value in entry.items()}), file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", metavar="WORK", type=Path)
    parser.add_argument("--stage", choices=tuple(SETTINGS), action="append")
    parser.add_argument("--to", metavar="FILE", type=Path, default=lora_path(FAST), help="(%(default)s)")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    write_prompts(options.work / "prompts.txt")
    for stage in options.stage or SETTINGS:
        distill(stage, options.work)
    ship(options.work, options.to)


if __name__ == "__main__":
    main()
