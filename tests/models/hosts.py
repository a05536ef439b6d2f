"""Runs code in a real ComfyUI's own Python, which brings what this repository's environment must not: torchvision."""

import os
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor


def in_host(code: str, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """What `code` leaves in `found`, given `tensors` as `given`; ComfyUI's modules can be imported in it."""
    python, comfyui = os.environ.get("COMFYUI_PYTHON"), os.environ.get("COMFYUI_PATH")
    if not python or not comfyui:
        pytest.skip("set COMFYUI_PATH to a ComfyUI folder and COMFYUI_PYTHON to its Python to run this")
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
        [python, "-c", program, "--cpu"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": comfyui},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return load_file(folder / "found.safetensors")
