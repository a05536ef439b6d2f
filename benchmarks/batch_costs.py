"""What `cascade batch` costs: `python -m stable_cascade_nodes.benchmarks.batch_costs SECTION [--work DIR]`.

Each section runs the command itself, on Linux, and ends with 1 where its aim is missed. CPU seconds count on a machine
that others use; `pair` wants one that is idle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from . import batch_command as trial


def many(work: Path, rows: int = 10_000) -> bool:
    """Rows that cost next to nothing: what the driver spends on each, and what grows; fewer where a worker is apart."""
    workflow = trial.trivial(work / "trivial.json")
    fine = True
    for name, number, more in (("here", rows, ()), ("one worker beside the driver", rows // 5, ("--workers", "1"))):
        pieces = [{"id": f"r{i:05}", "Piece.x": i % 200, "Piece.y": i % 7} for i in range(number)]
        listed, folder = trial.write_rows(work / "many.jsonl", pieces), work / name.replace(" ", "-")
        process = trial.start("batch", workflow, "--rows", listed, "--output", folder, *more, stderr=subprocess.DEVNULL)
        samples: list[tuple[int, float, float]] = []  # finished rows, MB, CPU seconds
        while process.poll() is None:
            with suppress(OSError, IndexError):
                done = (folder / "manifest.jsonl").read_bytes().count(b"\n")
                samples.append((done, trial.memory_of(process.pid), trial.cpu_of(process.pid)))
            time.sleep(0.5)
        size = (folder / "manifest.jsonl").stat().st_size
        found = len({record["id"] for record in trial.records(folder) if record["state"] == "done"})
        first = next(sample for sample in samples if sample[0] > number / 20)
        last = samples[-1]
        cpu = 1000 * (last[2] - first[2]) / (last[0] - first[0])
        print(f"{name}: {found:,} rows, exit code {process.returncode}; {cpu:.2f} CPU ms a row in the driver's process")
        print(f"  memory {first[1]:.0f} MB after {first[0]:,} rows, {last[1]:.0f} MB after {last[0]:,}", end="")
        print(f"; manifest {size / number:.0f} bytes a row")
        fine = fine and found == number
    return fine


def resume(work: Path, rows: int = 100_000) -> bool:
    """How soon the first new row runs where so many are finished, each with its file."""
    workflow, folder = trial.trivial(work / "trivial.json"), work / "out"
    listed = trial.write_rows(work / "rows.jsonl", [{"id": "r0", "Piece.x": 1}])
    trial.finish("batch", workflow, "--rows", listed, "--output", folder)
    (template,) = trial.records(folder)
    content = (folder / "r0.png").read_bytes()
    with (folder / "manifest.jsonl").open("a") as written:
        for i in range(1, rows):
            path = folder / f"r{i}.png"
            path.write_bytes(content)
            file = {**template["files"][0], "name": path.name, "modified": path.stat().st_mtime_ns}
            record = {**template, "id": f"r{i}", "files": [file]}
            written.write(json.dumps(record, separators=(",", ":")) + "\n")  # as the manifest is written
    ids = [*(f"r{i}" for i in range(rows)), "new"]
    trial.write_rows(listed, [{"id": one, "Piece.x": 1} for one in ids])
    started = time.perf_counter()
    process = trial.start("batch", workflow, "--rows", listed, "--output", folder)
    while process.poll() is None and not (folder / "new.png").exists():
        time.sleep(0.02)
    seconds, used, peak = time.perf_counter() - started, trial.cpu_of(process.pid), trial.memory_of(process.pid)
    _, said = process.communicate()
    print(f"the new row's picture is there {seconds:.2f} s after the start, {used:.2f} CPU s; {peak:.0f} MB")
    print(f"  {said.strip()}")
    return seconds < 5 and process.returncode == 0


def cost(work: Path, rows: int = 50) -> bool:
    """CPU seconds a picture: one process for all rows beside one `cascade run` for each."""
    listed = trial.write_rows(work / "rows.jsonl", trial.prompts(rows))
    code, _, seconds, together = trial.finish(
        "batch", "text_to_image", "--rows", listed, "--output", work / "out", *trial.SMALL
    )
    some = trial.prompts(rows)[:: max(1, rows // 4)]
    apart = 0.0
    for row in some:
        setting = ("--prompt", row["Prompt.text"], "--set", f"Stage C.seed={row['Stage C.seed']}", *trial.SMALL)
        apart += trial.finish("run", "text_to_image", *setting, "--output", work / "runs")[3]
    one, other = together / rows, apart / len(some)
    print(
        f"CPU seconds a picture: batch {one:.3f}, a run each {other:.3f} ({len(some)} of them): {other / one:.1f} times"
    )
    print(f"  {rows} rows in {seconds:.1f} s, exit code {code}")
    return other >= 8 * one


def pair(work: Path, rows: int = 60) -> bool:
    """Rows a second of two workers of one thread, beside one; in turns, the best of two.

    Where rows take longer beside each other the processor is shared; where workers wait, the driver is slow.
    """
    listed = trial.write_rows(work / "rows.jsonl", trial.prompts(rows))
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(2):
        for workers in (1, 2):
            folder = work / f"{workers}-{turn}"
            trial.finish(
                "batch", "text_to_image", "--rows", listed, "--output", folder, "--workers", workers, *trial.SMALL
            )
            made = sorted(trial.records(folder), key=lambda record: record["time"])
            began = json.loads((folder / "manifest.jsonl").read_text().partition("\n")[0])["run"]["time"]
            span = made[-1]["time"] - made[9]["time"]
            rates[workers].append((rows - 10) / span)
            busy = sum(record["seconds"] for record in made[10:])
            print(
                f"  {workers} workers: the first row begins after {made[0]['time'] - made[0]['seconds'] - began:.1f} s,"
            )
            print(
                f"    a row takes {busy / (rows - 10):.3f} s, workers wait {1 - busy / span / workers:.0%} of the time"
            )
    load = os.getloadavg()[0]
    best = {workers: max(found) for workers, found in rates.items()}
    print(f"rows a second: {rates}; best {best[2] / best[1]:.2f} times; load {load:.1f} of {os.cpu_count()} CPUs")
    return best[2] >= 1.7 * best[1]


if __name__ == "__main__":
    sys.exit(trial.run_section(__doc__, {"many": many, "resume": resume, "cost": cost, "pair": pair}))
