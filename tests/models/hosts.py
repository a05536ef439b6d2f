"""Runs code in a real ComfyUI's own Python, which brings what this repository's environment must not: torchvision."""

import os
import subprocess
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from ..host.lanes import Lane


def in_host(lane: Lane, code: str, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """What `code` leaves in `found`, given `tensors` as `given`; ComfyUI's modules can be imported in it."""
    save_file(tensors, folder / "given.safetensors")
    program = (
        "from safetensors.torch import load_file, save_file\n"
        "import comfy.options\n"
        "comfy.options.enable_args_parsing()\n"
        "given = load_file('given.safetensors')\n"
        f"{code}\n"
        "save_file(found, 'found.safetensors')\n"
    )
    done = subprocess.run(
        [lane.python, "-c", program, "--cpu"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(lane.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return load_file(folder / "found.safetensors")
