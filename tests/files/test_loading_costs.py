"""What loading 2 GB costs in time and memory, by the benchmark that says so."""

import json
import subprocess
import sys

import pytest

LOADING = ("-m", "stable_cascade_nodes.benchmarks.loading", "--json")


@pytest.mark.slow
def test_large_files_load_at_once_and_lie_in_memory_once() -> None:
    pytest.importorskip("resource")  # Windows has none
    done = subprocess.run([sys.executable, *LOADING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["official"]["file_gb"] > 2
    assert found["official"]["cpu_seconds"] < 0.6
    assert found["official"]["memory"] < 1.15
    assert found["q, k, v apart"]["memory"] < 1.15  # q, k and v are copied, their pages are given back
    assert found["float32 cast"]["memory"] < 0.75  # half the file, and torch
