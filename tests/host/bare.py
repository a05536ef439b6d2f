"""Scripts of native/ that need ComfyUI's modules but no server (native/bare_comfyui.py)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import stable_cascade_nodes

from .lanes import Lane

ROOT = Path(stable_cascade_nodes.__file__).parent
NATIVE = Path(__file__).parent / "native"


def find_facts(lane: Lane, script: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """What the script of native/ finds in a process of the lane's Python, started with `arguments` of ComfyUI's."""
    facts = folder / "facts.json"
    command = [lane.python, str(NATIVE / script), str(lane.path), str(ROOT), str(facts), "--cpu", *arguments]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(facts.read_text())
