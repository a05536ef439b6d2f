"""The recipe by the clock, for a GPU that is there for minutes: each part has its share of the seconds.

Pictures are drawn first, by all cores; then everything lies in the GPU's memory, and the host only gives orders. What a
part has learned is shipped and brought at once, so that a run that is cut off brings what was finished.
"""

from __future__ import annotations

import json
import tarfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...cascade_core.builtin import CONTROLS, control_path, weights_path
from ...cascade_core.builtin.world import KIND_WEIGHTS
from .clocked import RESOLUTION, Clock, Report, train_until
from .data import test_scenes
from .judge import Studio, nearness
from .recipe import PARTS
from .training_data import Amounts, Data

SHARES: dict[str, float] = {
    "words": 2,
    "compressor": 38,
    "stage_b": 12,
    "stage_b_refined": 5,
    "stage_a_decoder": 7,
    "previewer": 3,
    "stage_c": 22,
    "canny": 3.5,
    "inpainting": 3.5,
    "super_resolution": 2.5,
    "identity": 3.5,
}
"""The parts in order, and their shares of the time."""

COMPILED = ("compressor", "stage_b", "stage_c")  # long enough to make up for the seconds of compiling

FILES: dict[str, tuple[str, ...]] = {
    "words": ("text_encoder",),
    "compressor": ("effnet", "stage_b"),
    "stage_b_refined": ("stage_b",),
    "stage_a_decoder": ("stage_a",),
}  # what a part ships, where it is not the network of its own name


@dataclass(frozen=True)
class Means:
    """The means by which a GPU is kept busy."""

    recorded: bool = True  # steps as CUDA graphs
    compiled: bool = False  # blocks, in the parts that are COMPILED


def train_timed(
    data: Data, parts: Sequence[str], seconds: float, out: Path, checked: int, means: Means | None = None
) -> bool:
    """Train parts (all of SHARES if none are named) within about so many seconds, and bring their weights to `out`.

    out: `weights.tar` with what is shipped, `earlier.tar` with Stage B as it was between its parts, and `curves.jsonl`
    with the losses and samples a second of each part. checked: how many pictures of each kind are judged in the end.
    Returns whether nothing went wrong, though what did is made good where it can be.
    """
    out.mkdir(parents=True, exist_ok=True)
    log = _Log(out / "curves.jsonl")
    clock = Clock.of(seconds)
    began = time.monotonic()
    data.draw_ahead()
    log({"part": "data", "pictures": data.amounts.pictures, "seconds": time.monotonic() - began})
    if data.device.type == "cuda":
        log({"device": torch.cuda.get_device_name(data.device), "torch": torch.__version__})
    names = list(parts or SHARES)
    trained: list[str] = []
    for number, name in enumerate(names):
        share = SHARES[name] / sum(SHARES[other] for other in names[number:])
        own = Clock.of(clock.left * share)
        if _attempted(name, data, own, log, means or Means()):
            trained += [file for file in _files(name) if file not in trained]
            _bring(out, name, trained)
    if checked:
        scenes = [scene for kind in KIND_WEIGHTS for scene in test_scenes(kind, checked)]
        log({"part": "check", "pictures": len(scenes)} | nearness(Studio.load(), "stage_b", scenes))
    return not log.errors


def _attempted(name: str, data: Data, clock: Clock, log: Report, means: Means) -> bool:
    """Train and ship a part. Where that fails it is tried once more without any means."""
    for tried in (means, Means(recorded=False)):
        data.compiled = tried.compiled and name in COMPILED
        try:
            part = PARTS[name][0](data, RESOLUTION)
            averaged = train_until(part, clock, lambda row: log({"part": name, **row}), tried.recorded)
            part.module.load_state_dict(averaged)
            part.ship(part.module.eval())
            return True
        except Exception as error:
            traceback.print_exc()
            log({"part": name, "error": f"{type(error).__name__}: {error}"[:500]})
    return False


def _files(name: str) -> tuple[str, ...]:
    return FILES.get(name, (name,))


def _path(name: str) -> Path:
    return control_path(name) if name in CONTROLS else weights_path(name)


def _bring(out: Path, part: str, trained: Sequence[str]) -> None:
    """Write all that was trained, and apart what a later part will train further."""
    partial = out / "partial"
    with tarfile.open(partial, "w") as tar:
        for name in trained:
            tar.add(_path(name), _path(name).name)
    partial.replace(out / "weights.tar")
    if part in ("compressor", "stage_b"):
        with tarfile.open(out / "earlier.tar", "a") as tar:
            tar.add(weights_path("stage_b"), f"{part}/{weights_path('stage_b').name}")


class _Log:
    """Lines of JSON, shown as well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.errors = 0
        self.began = time.monotonic()

    def __call__(self, row: Mapping[str, Any]) -> None:
        self.errors += "error" in row
        head = {"at": round(time.monotonic() - self.began, 1)}
        rounded = {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in row.items()}
        line = json.dumps(head | rounded)
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def gpu_amounts(pictures: int) -> Amounts:
    """Amounts for a GPU, whose memory holds all and which encodes in seconds what takes a CPU an hour."""
    quarter = max(pictures // 4, 1)
    half = max(pictures // 2, 1)
    return Amounts(pictures, latents=pictures, wider=quarter, large=quarter, estimates=quarter, small=half)
