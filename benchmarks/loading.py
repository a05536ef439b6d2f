"""What loading costs: `python -m stable_cascade_nodes.benchmarks.loading [--json]`.

Writes Stage C 1B (2 GB in bfloat16, temporary) in several ways and loads each in a process of its own: CPU seconds
until the handle is there, with no weight touched yet, and the most resident memory, torch's own included, once all are.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from ..cascade_core.files import load
from ..cascade_core.files.convert import convert
from ..cascade_core.files.tensors import write_tensors
from ..cascade_core.models.config import PRESETS
from ..cascade_core.models.stage_c import StageC

WANTED_SECONDS, WANTED_MEMORY = 0.6, 1.15  # of the official bfloat16 file; memory in sizes of the file


def write(path: Path, dtype: str) -> None:
    """An official file of zeros, which lie on the disk as any other values."""
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in StageC(PRESETS["stage_c"]["1B"]).state_dict().items()}
    specs = {name: (dtype, shape) for name, shape in shapes.items()}
    write_tensors(path, specs, lambda names: ([torch.zeros(shapes[name])] for name in names), {"format": "pt"})


def measure(path: Path) -> dict[str, float]:
    """In this process: call it once."""
    torch.set_num_threads(1)
    start = time.process_time()
    handle = load.load("stage_c", path, dtype="bfloat16")
    seconds = time.process_time() - start
    tensors = handle.module.state_dict().values()
    for tensor in tensors:
        tensor.flatten().view(torch.uint8)[::4096].sum()  # something of each page
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    size = path.stat().st_size
    return {"tensors": len(tensors), "file_gb": size / 1e9, "cpu_seconds": seconds, "memory": peak / size}


def measure_apart(path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, "--measure", path], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def run(folder: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    official, split, wide = (folder / f"{name}.safetensors" for name in ("official", "split", "float32"))
    write(official, "BF16")
    found["official"] = measure_apart(official)
    convert(official, split, layout="comfyui")
    official.unlink()
    found["q, k, v apart"] = measure_apart(split)
    split.unlink()
    write(wide, "F32")
    found["float32 cast"] = measure_apart(wide)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder))
    if arguments.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        print(
            f"{name:14} {row['file_gb']:.2f} GB, {row['tensors']} tensors: {row['cpu_seconds']:.3f} CPU s,"
            f" at most {row['memory']:.2f} times the file in memory"
        )
    print(f"wanted of the first: < {WANTED_SECONDS} CPU s, < {WANTED_MEMORY} times the file")


if __name__ == "__main__":
    main()
