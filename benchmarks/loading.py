"""What loading costs: `python benchmarks/loading.py [--rounds N]`.

Writes Stage C 1B in bfloat16 (2 GB, temporary) and loads it: CPU seconds until the handle is there.
The weights are the file's own pages, and none of them is touched yet.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from stable_cascade_nodes.cascade_core import checkpoint
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

WANTED = 0.6  # CPU seconds


def write(path: Path) -> None:
    with torch.device("meta"):
        module = StageC(PRESETS["stage_c"]["1B"]).to(torch.bfloat16)
    checkpoint.save(path, module.to_empty(device="cpu"), "stage_c")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage_c_lite_bf16.safetensors"
        write(path)
        seconds: list[float] = []
        for _ in range(arguments.rounds):
            start = time.process_time()
            handle = checkpoint.load("stage_c", path, dtype="bfloat16")
            seconds.append(time.process_time() - start)
        tensors = len(handle.module.state_dict())
        print(
            f"load {path.stat().st_size / 1e9:.2f} GB, {tensors} tensors:"
            f" {median(seconds):.3f} CPU s (first {seconds[0]:.3f}; wanted < {WANTED})"
        )


if __name__ == "__main__":
    main()
