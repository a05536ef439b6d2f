"""Too little memory is told in one line with advice, on every device.

Run: pytest tests/headless/test_out_of_memory.py
"""

from __future__ import annotations

import subprocess
import sys
from errno import ENOENT, ENOMEM
from pathlib import Path

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError, is_out_of_memory
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import graph, workflow_file
from stable_cascade_nodes.headless.run import in_words, is_foreseen

from ..workflow_runs import FOLDER

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    " 201326592 bytes. Error code 12 (Cannot allocate memory)"
)
TOO_LITTLE = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    MemoryError(),
    RuntimeError(CPU),
    RuntimeError("[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you tried to"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB, other allocations: 1 GB, max allowed: 9 GB)"),
    RuntimeError("Invalid buffer size: 58.45 GiB"),
    RuntimeError("XPU out of memory. Tried to allocate 8.00 GiB"),
    RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("could not create a primitive"),
    RuntimeError("can't start new thread"),
    OSError(ENOMEM, "Cannot allocate memory"),
]
OTHERWISE = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    RuntimeError("could not create a primitive descriptor for a matmul primitive"),
    OSError(ENOENT, "gone"),
    KeyError("memory"),
]
ADVICE = "; choose a smaller size, batch or dtype, or another --device"


@pytest.mark.parametrize("error", TOO_LITTLE, ids=str)
def test_known_by_class_or_words(error: Exception) -> None:
    assert is_out_of_memory(error)
    failure = graph.NodeFailure("3", {"class_type": "X", "inputs": {}}, error)
    assert is_foreseen(failure)  # no traceback
    said = in_words(failure)
    assert said.startswith("node 3") and ": ;" not in said and said.endswith(ADVICE) and "\n" not in said


def test_a_text_of_several_lines_becomes_one() -> None:
    failure = graph.NodeFailure("3", {"class_type": "X", "inputs": {}}, RuntimeError(f"{CPU}\nframe #0: c10::x\n"))
    assert in_words(failure).endswith(f"(Cannot allocate memory){ADVICE}")


@pytest.mark.parametrize("error", OTHERWISE, ids=str)
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert ADVICE not in in_words(graph.NodeFailure("3", {"class_type": "X", "inputs": {}}, error))
    assert not is_out_of_memory(CascadeError("x.safetensors holds a LoRA"))


def test_outside_of_nodes_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run_out(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(workflow_file, "read", run_out)
    assert main(["run", str(FOLDER / "text_to_image.json")]) == 1
    assert capsys.readouterr().err == "cascade: out of memory: MemoryError; choose smaller sizes, or another --device\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_picture_of_4096_in_little_memory(tmp_path: Path) -> None:
    """The limit is what torch has taken once it is loaded, and 110 MB more."""
    script = f"""
import re, resource, sys
import torch
from stable_cascade_nodes.cli.main import main
used = int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 110 * 2**20,) * 2)
sys.exit(main([
    "run", {str(FOLDER / "text_to_image.json")!r}, "--device", "cpu", "--set", "Size.width=4096",
    "--set", "Size.height=4096", "--set", "Stage C.steps=1", "--set", "Stage B.steps=1",
]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if line.startswith("cascade: ")]
    assert done.returncode == 1 and len(complaints) == 1 and "Traceback" not in done.stderr
    assert complaints[0].startswith("cascade: node ") and complaints[0].endswith(ADVICE)
    assert not list(tmp_path.glob("output/*"))
