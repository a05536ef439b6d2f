"""The recipe that makes the built-in tiny cascade: its parts in order, each trained and shipped alone.

    stage_a, clip     pixels <-> Stage A latent; the CLIP pair
    words             the text encoder once more: each word's state says that word
    compressor        effnet and Stage B together: the encoder learns through its decoder
    stage_b           Stage B alone on the frozen encoder
    stage_b_refined   Stage B on its own estimates
    stage_a_decoder   Stage A's decoder on what Stage B leaves
    previewer         on the same latents
    stage_c           text -> latent
    canny, inpainting, super_resolution, identity    the ControlNets of the frozen Stage C

A part's optimiser state lies in the work folder and lets it go on at any moment; what ships is the average of its
weights, in half precision. Stage B, Stage C and the ControlNets, their state gone, start from what is shipped. Curves:
README.md beside this file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from ...cascade_core.builtin import CONTROLS, KINDS, control_path, weights_path
from ...cascade_core.builtin.world import KIND_WEIGHTS
from ...cascade_core.files.load import load
from ...cascade_core.training.loop import train
from .control_judge import judge_control
from .control_parts import canny, identity, inpainting, super_resolution
from .data import test_scenes
from .judge import Studio, judge
from .picture_parts import compressor, previewer, stage_a, stage_b
from .refining_parts import stage_a_decoder, stage_b_refined
from .text_parts import clip, stage_c, words
from .training_data import Data
from .training_part import Part

PARTS: dict[str, tuple[Callable[[Data, int], Part[Any]], int]] = {
    "stage_a": (stage_a, 3000),
    "clip": (clip, 1600),
    "words": (words, 2500),
    "compressor": (compressor, 3200),
    "stage_b": (stage_b, 13200),
    "stage_b_refined": (stage_b_refined, 6000),
    "stage_a_decoder": (stage_a_decoder, 1800),
    "previewer": (previewer, 1800),
    "stage_c": (stage_c, 10300),
    "canny": (canny, 760),
    "inpainting": (inpainting, 3000),
    "super_resolution": (super_resolution, 1200),
    "identity": (identity, 2500),
}
"""The parts in order, and how many steps each takes."""


REPORT_EVERY = 100
SHIP_EVERY = 3000
JUDGED = {
    "previewer": "previewer",
    "stage_b": "stage_b",
    "stage_b_refined": "stage_b",
    "stage_a_decoder": "stage_b",
    "stage_c": "stage_c",
}  # part -> the painter that shows it
JUDGED_SCENES = 24  # scenes of each kind
JUDGED_TRIALS = 32  # trials of a ControlNet


def train_tiny(parts: Sequence[str], work: Path, minutes: float | None = None) -> None:
    """Train `parts` (all when empty), each until its steps are done or `minutes` have passed, and ship what is there.

    The optimisers' states, the data and the curves (`<part>.jsonl`: losses, and what the reader sees in the pictures of
    the shipped part) lie in `work`. Progress goes to stderr.
    """
    work.mkdir(parents=True, exist_ok=True)
    data = Data(work)
    for name in parts or PARTS:
        make, steps = PARTS[name]
        _train_part(name, make(data, steps), work, minutes)


def _train_part(name: str, part: Part[Any], work: Path, minutes: float | None) -> None:
    started, cpu = time.monotonic(), time.process_time()
    recent: list[dict[str, float]] = []
    part.module.train()
    for progress, averaged in train(part.module, part.loss, part.plan, work / f"{name}.safetensors"):
        recent.append(progress.losses)
        done = progress.step >= part.plan.steps or (minutes is not None and time.monotonic() - started > 60 * minutes)
        entry: dict[str, float] = {}
        if progress.step % REPORT_EVERY == 0:
            entry |= {key: sum(losses[key] for losses in recent) / len(recent) for key in progress.losses}
            recent = []
        if done or progress.step % SHIP_EVERY == 0:
            entry |= _ship(name, part, averaged.tensors)
        if entry:
            head = {"step": progress.step, "samples": progress.step * part.batch}
            head |= {"cpu_minutes": round((time.process_time() - cpu) / 60, 2)}
            _log(work / f"{name}.jsonl", head | entry)
        if done:
            break


def _log(curve: Path, entry: dict[str, float]) -> None:
    """Append a line to the curve, and show it."""
    row = json.dumps({key: round(value, 5) for key, value in entry.items()})
    with curve.open("a") as file:
        file.write(row + "\n")
    print(curve.stem, row, file=sys.stderr, flush=True)


def _ship(name: str, part: Part[Any], averaged: Mapping[str, Tensor]) -> dict[str, float]:
    """Ship the averaged weights; returns what the reader sees, for the parts whose pictures it can see already."""
    module = deepcopy(part.module).eval()
    module.load_state_dict(averaged)
    part.ship(module)
    if name not in (*JUDGED, *CONTROLS) or not all(weights_path(kind).exists() for kind in KINDS):
        return {}
    studio = Studio.load()
    if name in CONTROLS:
        return judge_control(studio, load("controlnet", control_path(name)), name, JUDGED_TRIALS)
    return {
        f"{kind}_{attribute}": share
        for kind in KIND_WEIGHTS
        for attribute, share in judge(studio, JUDGED[name], test_scenes(kind, JUDGED_SCENES)).items()
    }
