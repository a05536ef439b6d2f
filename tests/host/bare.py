"""Scripts of native/ that need ComfyUI's modules but no server (native/bare_comfyui.py)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes

ROOT = Path(stable_cascade_nodes.__file__).parent
NATIVE = Path(__file__).parent / "native"


def find_facts(script: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """What the script of native/ finds in a process of COMFYUI_PYTHON, started with `arguments` of ComfyUI's."""
    python, path = os.environ.get("COMFYUI_PYTHON"), os.environ.get("COMFYUI_PATH")
    if not python or not path:
        pytest.skip("set COMFYUI_PATH to a ComfyUI folder and COMFYUI_PYTHON to its Python to run this")
    facts = folder / "facts.json"
    command = [python, str(NATIVE / script), path, str(ROOT), str(facts), "--cpu", *arguments]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(facts.read_text())
