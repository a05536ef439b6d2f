"""Reading a set of latents as a training does, and the memory that it takes: `python -m ...benchmarks.latent_reading`.

    --rows N        of random latents with two captions each, in files of 1,000 (default 1,000,000)
    --draws N       latents in random batches, behind one pass over all rows (default 100,000)
    --folder DIR    where the files and their index are made, and left (default: a temporary folder)

Prints one JSON object: rows, the seconds of each part, the memory of the process that is its own (not the files' pages)
before and at most, in MB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ..cascade_core.builtin import NAME, built_in
from ..cascade_core.files.load import load
from ..cascade_core.training.data import latent_files
from ..cascade_core.training.data.cache import Cache
from ..cascade_core.training.data.latent_set import EncodedExamples, read_latents
from ..cascade_core.training.models import StageCModels
from ..cascade_core.training.settings import TrainingSettings

IN_A_FILE = 1000
SIDE = 3  # cells of a latent
BATCH = 64
LOOK_EVERY = 5000  # rows


def write_set(target: Path, rows: int) -> None:
    """Files of IN_A_FILE random latents each: one by the writer of `cascade encode`, others with its header."""
    origin, written = latent_files.Origin("tiny", NAME, "random", "float16"), list[Path]()
    writer = latent_files.Writer(target, origin, IN_A_FILE, None, written.append)
    for number in range(IN_A_FILE):
        captions = f"picture {number}", f"another caption of picture {number}, longer"
        writer.add(
            f"{number:06}.png", torch.zeros(16, SIDE, SIDE), latent_files.Picture((128, 128), number, "a.png", captions)
        )
    writer.flush()
    whole = written[0].read_bytes()
    values = IN_A_FILE * 16 * SIDE * SIDE
    for number in range(rows // IN_A_FILE):
        drawn = np.random.default_rng(number).standard_normal(values, np.float32).astype(np.float16)
        path = target.with_name(f"{target.stem}-{number + 1:05}{target.suffix}")
        path.write_bytes(whole[: -2 * values] + drawn.tobytes())


def own_memory() -> float:
    """Megabytes of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))


def measure(folder: Path, rows: int, draws: int) -> dict[str, float]:
    """Index, one pass over all rows, and random batches, in this process."""
    target, seconds = folder / "latents.safetensors", dict[str, float]()
    started = time.monotonic()

    def took(part: str) -> None:
        nonlocal started
        seconds[part], started = round(time.monotonic() - started, 1), time.monotonic()

    folder.mkdir(exist_ok=True)
    if not latent_files.members(target):
        write_set(target, rows)
    took("write")
    models = StageCModels(*(load(kind, built_in(kind)[NAME], name=NAME) for kind in ("stage_c", "text_encoder")))
    settings, cache = TrainingSettings(batch_size=BATCH), Cache(folder / "cache")
    before = most = own_memory()
    examples = EncodedExamples(models, read_latents([target]), settings, cache)
    for key, make in examples.tasks():
        cache.fill(key, make)
        most = max(most, own_memory())
    took("index")
    for index in range(len(examples)):
        examples.latent(index)
        examples.captions_at(index)
        if index % LOOK_EVERY == 0:
            most = max(most, own_memory())
    took("pass")
    for step in range(draws // BATCH):
        random = np.random.default_rng(step)
        indices = examples.draw(random)
        examples.latents(indices)
        examples.captions_of(indices, random)
    took("draws")
    return {"rows": len(examples), **seconds, "before": round(before, 1), "most": round(max(most, own_memory()), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(options.folder or Path(temporary), options.rows, options.draws)))


if __name__ == "__main__":
    main()
