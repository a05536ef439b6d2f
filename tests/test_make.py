"""`make`: what it says before it installs, and a clone that was moved. Run: pytest tests/test_make.py"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stable_cascade_nodes

ROOT = Path(stable_cascade_nodes.__file__).resolve().parent
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "tests", "docs", "recipes", "benchmarks", "output", "__pycache__", ".*_cache"
)

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
    environment = {**given, "PIP_CONFIG_FILE": os.devnull, **variables}
    return subprocess.run(
        ["make", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_clone_that_was_moved_still_draws(tmp_path: Path) -> None:
    first, second = tmp_path / "first place", tmp_path / "second place"
    shutil.copytree(ROOT, first, ignore=LEFT_OUT)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(first / ".venv")], check=True)
    libraries = next((first / ".venv").glob("lib/python*/site-packages"))
    (libraries / "others.pth").write_text("\n".join(entry for entry in sys.path if entry.endswith("site-packages")))
    (first / ".venv" / "bin" / "pip").touch()
    (first / ".venv" / ".installed").touch()
    first.rename(second)
    answer = make(second, "demo")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [str(second / "output" / "cascade_00001_.png")]
    assert (second / "output" / "cascade_00001_.png").is_file()


def test_it_says_the_sizes_before_it_installs(tmp_path: Path) -> None:
    """And what pip says of its failure: no index can be reached here."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "requirements.txt", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    answer = make(tmp_path, "demo", PIP_NO_INDEX="1")
    assert answer.returncode == 2 and answer.stdout == ""
    said, _, rest = answer.stderr.partition("PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo\n")
    assert "5.8 GB on disk" in said and "0.8 GB" in said
    assert "No matching distribution found for setuptools" in rest and "Traceback" not in rest
    assert not (tmp_path / ".venv" / ".installed").exists()
