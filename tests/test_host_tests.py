"""The tests of tests/host, which need a ComfyUI, by what can be asked of them without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]


def test_their_fixtures_fit_together() -> None:
    """Each test finds its fixtures, and none takes one that ends before it; nothing is set up for that."""
    options = ["-q", "--setup-plan", "-m", "host", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "tests/host"]
    done = subprocess.run(command, check=False, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
