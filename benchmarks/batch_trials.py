"""What `cascade batch` survives: `python -m stable_cascade_nodes.benchmarks.batch_trials SECTION [--work DIR]`.

Each section runs the command itself, on Linux, and ends with 1 where a promise was broken. `kills` needs Ray (extra
`batch`), `bad` a system that lets users mount in a namespace of their own.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import batch_command as trial

PORT = 6399  # of the Ray cluster
LORA = "LoRA"  # the title of the node in the workflow lora


def hashes(folder: Path) -> dict[str, str]:
    """The hash of each finished row's files; a row that is finished twice is told."""
    found = [
        (record["id"], record["files"][0]["sha256"]) for record in trial.records(folder) if record["state"] == "done"
    ]
    twice = [row for row, number in Counter(row for row, _ in found).items() if number > 1]
    print(f"  finished rows {len(dict(found))}, finished more than once {len(twice)}")
    return dict(found)


@contextmanager
def head(work: Path) -> Iterator[subprocess.Popen[str]]:
    """The head of a Ray cluster of this machine, with two CPUs and a small object store; tried again on a busy one."""
    ray = str(Path(sys.executable).with_name("ray"))
    options = [f"--port={PORT}", "--num-cpus=2", f"--object-store-memory={200 * 2**20}", "--include-dashboard=false"]
    command = [ray, "start", "--head", "--block", "--disable-usage-stats", f"--temp-dir={work / 'ray'}", *options]
    patient = trial.ENVIRONMENT | {"RAY_gcs_server_port_wait_time_s": "300"}
    started = "Ray runtime started"
    place = work / "head.log"
    for _ in range(5):
        with place.open("w") as said:
            process = subprocess.Popen(
                command, stdout=said, stderr=said, text=True, start_new_session=True, env=patient
            )
        while started not in place.read_text() and process.poll() is None:
            time.sleep(0.5)
        if process.poll() is None:
            break
    else:
        raise RuntimeError(place.read_text())
    try:
        yield process
    finally:
        kill_all(process)


def kill_all(process: subprocess.Popen[str]) -> None:
    for pid in [process.pid, *trial.children(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def kills(work: Path, rows: int = 200) -> bool:
    """Two Ray workers; five of them, the driver five times and the head twice are killed at random moments."""
    chance = random.Random(7)
    listed = trial.write_rows(work / "rows.jsonl", trial.prompts(rows))
    alone, clustered = work / "alone", work / "clustered"
    given = ("batch", "text_to_image", "--rows", listed, *trial.SMALL)
    single = trial.start(*given, "--output", alone)
    plan = ["worker"] * 5 + ["driver"] * 5 + ["head"] * 2
    chance.shuffle(plan)
    again = ("--workers", 2, "--ray", f"127.0.0.1:{PORT}")
    runs = 0
    while True:
        with head(work) as cluster:
            while True:
                driver = trial.start(*given, "--output", clustered, *again, stderr=subprocess.DEVNULL)
                runs += 1
                hit = ""
                while driver.poll() is None and hit in ("", "worker"):
                    hit = _strike(plan, rows, clustered, driver, cluster, chance) or hit
                driver.wait()
                if driver.returncode == 0 or hit == "head":
                    break
        if driver.returncode == 0:
            break
    _, said = single.communicate()
    print(f"one process: exit code {single.returncode}, {said.strip()}")
    left = Counter(plan)
    print(f"runs {runs}, exit code {driver.returncode}, strikes left {dict(left)}")
    made = trial.records(clustered)
    print(f"attempts {len(made)}, lost {sum(record['state'] == 'failed' for record in made)}")
    same = hashes(clustered) == hashes(alone)
    files = {path.name: path.read_bytes() for path in alone.glob("*.png")}
    bytes_too = files == {path.name: path.read_bytes() for path in clustered.glob("*.png")}
    print(f"hashes equal: {same}; files equal: {bytes_too} ({len(files)})")
    return same and bytes_too and len(files) == rows and not plan


def _strike(plan: list[str], rows: int, folder: Path, driver: Any, cluster: Any, chance: random.Random) -> str:
    """Kill what the plan has next, when about its share of the rows is done; what was hit."""
    time.sleep(chance.uniform(0.05, 0.4))
    with suppress(OSError, ValueError):
        done = sum(record["state"] == "done" for record in trial.records(folder))
        if not plan or done < rows * (13 - len(plan)) / 14:
            return ""
        if plan[-1] == "worker":
            workers = [pid for pid in trial.children(cluster.pid) if "--worker" in trial.command_of(pid)]
            actors = [pid for pid in trial.children(cluster.pid) if "CascadeWorker" in trial.command_of(pid)]
            if not workers:
                return ""
            victim = chance.choice(workers if chance.random() < 0.5 else actors or workers)
            os.kill(victim, signal.SIGKILL)
        elif plan[-1] == "driver":
            driver.kill()
        else:
            kill_all(cluster)
        print(f"  killed the {plan[-1]} after {done} rows", flush=True)
        return plan.pop()
    return ""


def bad(work: Path) -> bool:
    """Ten kinds of bad rows, twice each, among 100 good ones; a full disk, a vanished model, a read-only folder."""
    workflow = trial.trivial(work / "trivial.json")
    kinds = ['{"id": NO', "[NO]", '{"id": "../xNO"}', '{"Pece.x": NO}', '{"Piece.z": NO}', '{"Piece.x": "farNO"}']
    kinds += ['{"Piece.x": -5NO}', '{"x": NO}', '{"Piece.x": [NO]}', '{"Drawing.image": "absentNO.png"}']
    wrong = [kind.replace("NO", number) for kind in kinds for number in "12"]
    good = [json.dumps({"id": f"good-{i}", "Piece.x": i % 90}) for i in range(100)]
    lines = [
        line for i, line in enumerate(good) for line in (line, *(wrong[i // 5 : i // 5 + 1] if i % 5 == 0 else ()))
    ]
    (work / "mixed.jsonl").write_text("\n".join(lines))
    folder = work / "mixed"
    code, last, _, _ = trial.finish("batch", workflow, "--rows", work / "mixed.jsonl", "--output", folder)
    counts = Counter((record["state"], record.get("error", {}).get("kind")) for record in trial.records(folder))
    print(f"bad rows: exit code {code}, {dict(counts)}\n  {last}")
    fine = code == 1 and counts["done", None] == 100 and sum(counts.values()) == 120
    fine = _full_disk(work, workflow) and fine
    fine = _vanished(work) and fine
    return _read_only(work, workflow) and fine


def _full_disk(work: Path, workflow: Path) -> bool:
    """A disk of one megabyte, in a namespace of its own; then the same with room."""
    listed = trial.write_rows(work / "many.jsonl", [{"id": f"r{i}", "Piece.x": i % 200} for i in range(600)])
    place = work / "disk"
    place.mkdir()
    run = f"{sys.executable} {trial.PACK} batch {workflow} --rows {listed} --output {place}/out --retries 1 >/dev/null"
    script = f"""mount -t tmpfs -o size=1m none {place}; {run} 2>{work}/full.err; echo $? >{work}/full.code
        cp {place}/out/manifest.jsonl {work}/full.jsonl; mount -o remount,size=64m {place}
        {run} 2>{work}/more.err; echo $? >{work}/more.code"""
    subprocess.run(["unshare", "-rm", "sh", "-c", script], check=True, env=trial.ENVIRONMENT)
    found = [json.loads(line) for line in (work / "full.jsonl").read_bytes().split(b"\n")[:-1]]
    counts = Counter(r.get("error", {}).get("kind", r["state"]) for r in found if "id" in r)
    codes = [(work / f"{name}.code").read_text().strip() for name in ("full", "more")]
    print(f"full disk: exit code {codes[0]}, {dict(counts)}\n  {(work / 'full.err').read_text().splitlines()[-1]}")
    print(f"  with room: exit code {codes[1]}, {(work / 'more.err').read_text().splitlines()[-1]}")
    return codes == ["1", "0"] and counts["done"] > 0


def _vanished(work: Path) -> bool:
    """A LoRA that is there for the first rows only."""
    models = work / "models" / "loras"
    models.mkdir(parents=True)
    weights = Path(trial.PACK) / "cascade_core" / "builtin" / "weights"
    source = next(path for path in weights.iterdir() if "zig" in path.name and path.suffix == ".safetensors")
    shutil.copy(source, models / "own.safetensors")
    rows = [{"id": f"v{i}", "Stage C.seed": i} for i in range(12)]
    listed = trial.write_rows(work / "vanish.jsonl", rows)
    setting = ("--models", work / "models", "--set", f"{LORA}.lora_name=own.safetensors")
    given = ("batch", "lora", "--rows", listed, "--output", work / "vanished", *setting, *trial.SMALL)
    process = trial.start(*given)
    while process.poll() is None and sum(1 for _ in (work / "vanished").glob("*.png")) < 4:
        time.sleep(0.05)
    (models / "own.safetensors").rename(work / "own.safetensors")
    _, said = process.communicate()
    counts = Counter(r.get("error", {}).get("kind", r["state"]) for r in trial.records(work / "vanished"))
    print(f"vanished model: exit code {process.returncode}, {dict(counts)}\n  {said.strip().splitlines()[-1]}")
    (work / "own.safetensors").rename(models / "own.safetensors")
    code, last, _, _ = trial.finish(*given)
    print(f"  put back: exit code {code}, {last}")
    return process.returncode == 1 and counts["missing_model"] > 0 and code == 0


def _read_only(work: Path, workflow: Path) -> bool:
    """One folder of the output may only be read: its rows fail, the others do not."""
    rows = [{"id": f"{'closed/' if i % 10 == 5 else ''}r{i}", "Piece.x": i} for i in range(30)]
    listed, out = trial.write_rows(work / "closed.jsonl", rows), work / "readonly"
    (out / "closed").mkdir(parents=True)
    (out / "manifest.jsonl").touch()
    run = f"{sys.executable} {trial.PACK} batch {workflow} --rows {listed} --output {out} --retries 1 >/dev/null"
    script = f"mount --bind {out}/closed {out}/closed; mount -o remount,bind,ro {out}/closed; {run} 2>{work}/ro.err"
    code = subprocess.run(["unshare", "-rm", "sh", "-c", script], check=False, env=trial.ENVIRONMENT).returncode
    counts = Counter(r.get("error", {}).get("kind", r["state"]) for r in trial.records(out))
    print(f"read-only folder: exit code {code}, {dict(counts)}\n  {(work / 'ro.err').read_text().splitlines()[-1]}")
    return code == 1 and counts["storage"] > 0 and counts["done"] == 27


if __name__ == "__main__":
    sys.exit(trial.run_section(__doc__, {"kills": kills, "bad": bad}))
