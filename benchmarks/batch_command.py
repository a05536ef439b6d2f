"""`cascade batch` as a program that is measured and killed: what its trials share. Linux only."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PACK = str(Path(__file__).parents[1])
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
SMALL = ("--size", "96x96", "--steps", "3", "--set", "Stage B.steps=2")  # pictures of the built-in cascade


def start(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, PACK, *map(str, arguments)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    return subprocess.Popen(command, **quiet | options)


def finish(*arguments: Any) -> tuple[int, str, float, float]:
    """Exit code, the last line on stderr, seconds, and CPU seconds of all its processes."""
    before, started = cpu_of_children(), time.perf_counter()
    process = start(*arguments)
    _, said = process.communicate()
    last = (said or "").strip().splitlines()[-1:]
    return process.returncode, "".join(last), time.perf_counter() - started, cpu_of_children() - before


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def children(pid: int) -> list[int]:
    """All processes below one, by what Linux says."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def memory_of(pid: int) -> float:
    """Resident megabytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def cpu_of(pid: int) -> float:
    """CPU seconds so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prompts(number: int) -> list[dict[str, Any]]:
    colours, shapes = ("red", "green", "blue", "yellow"), ("circle", "square", "star", "heart")
    return [
        {"id": f"row-{i:04}", "Prompt.text": f"a {colours[i % 4]} {shapes[i // 4 % 4]}", "Stage C.seed": i}
        for i in range(number)
    ]


def trivial(path: Path) -> Path:
    """A workflow without a network: a built-in picture, drawn by its node, of which each row takes a piece."""
    nodes = {
        "1": ("Drawing", "CascadePicture", {"image": "heart and star (built-in)"}),
        "2": ("Piece", "ImageCrop", {"image": ["1", 0], "width": 48, "height": 48, "x": 0, "y": 0}),
        "3": ("Picture out", "SaveImage", {"images": ["2", 0], "filename_prefix": "a"}),
    }
    prompt = {k: {"class_type": c, "inputs": i, "_meta": {"title": t}} for k, (t, c, i) in nodes.items()}
    path.write_text(json.dumps(prompt))
    return path


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "manifest.jsonl").read_bytes().split(b"\n")[:-1]
    return [record for record in map(json.loads, lines) if "id" in record]


def run_section(about: str | None, sections: Mapping[str, Callable[[Path], bool]]) -> int:
    """The section that the command line names, in a folder that goes afterwards; the exit code."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=sections)
    parser.add_argument("--work", type=Path, help="where to make that folder (the system's temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        fine = sections[options.section](Path(folder))
    print("kept" if fine else "NOT KEPT")
    return 0 if fine else 1
