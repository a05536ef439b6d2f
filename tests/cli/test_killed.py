"""Commands that are killed, two of one at once, and with little memory, in programs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .killed_commands import COMMANDS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="they are forked")
ROOT = Path(__file__).parents[2]


def script(name: str, *arguments: object) -> str:
    command = [sys.executable, "-m", f"tests.cli.{name}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


SOME = [(name, 2) for name in ("encode", "run")]
MANY = [pytest.param(name, 30, marks=pytest.mark.slow) for name in COMMANDS]


@pytest.mark.parametrize(("command", "kills"), [*SOME, *MANY])
def test_a_killed_command_leaves_nothing_when_it_has_run_again(tmp_path: Path, command: str, kills: int) -> None:
    told = script("killed_commands", tmp_path, kills, 1, command)
    assert f"{command}: killed {kills}, " in told and "temporary folders left: 0" in told


@pytest.mark.slow
@pytest.mark.parametrize("command", ["encode", "train"])
def test_of_two_at_once_one_works_and_the_other_says_so(tmp_path: Path, command: str) -> None:
    told = script("two_at_once", tmp_path, 30, 1, command)
    assert f"{command}: 30 times, " in told


def test_with_little_memory_a_command_says_so_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    told = script("little_memory", tmp_path, "encode", "convert").splitlines()
    assert len(told) == 6 and "out of memory" in told[0]


@pytest.mark.slow
def test_all_commands_with_little_memory(tmp_path: Path) -> None:
    assert len(script("little_memory", tmp_path).splitlines()) == 15
