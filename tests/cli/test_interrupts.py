"""Ctrl-C within the import of a library that swallows it. Run: pytest tests/cli/test_interrupts.py"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass
except BaseException:
    print("swallowed")
"""
PROGRAM = """
import signal, sys
sys.path.insert(0, {folder!r})
signal.signal(signal.SIGINT, signal.{handler})
from stable_cascade_nodes.cli import interrupts
if {held}:
    interrupts.let_imports_end()
try:
    import torch
    print("imported", torch.__file__.startswith({folder!r}))
except KeyboardInterrupt:
    print("stopped")
print(signal.getsignal(signal.SIGINT) is signal.{handler})
"""


@pytest.mark.parametrize(
    ("held", "handler", "told"),
    [
        (True, "default_int_handler", ["stopped", "True"]),
        (False, "default_int_handler", ["swallowed", "imported True", "True"]),  # what it is for
        (True, "SIG_IGN", ["imported True", "True"]),  # as a shell starts what runs in its background
    ],
)
def test_it_counts_when_the_library_is_imported(tmp_path: Path, held: bool, handler: str, told: list[str]) -> None:
    (tmp_path / "torch.py").write_text(SWALLOWS, "utf-8")
    program = PROGRAM.format(folder=str(tmp_path), handler=handler, held=held)
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], check=False, capture_output=True, text=True, timeout=60
    )
    assert answer.stdout.split("\n")[:-1] == told, answer.stderr
