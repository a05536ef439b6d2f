"""What `cascade bench` measures: passes and pictures of a pair of networks, beside what else is installed."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..cascade_core.errors import CascadeError
from ..cascade_core.files.atomic import whole
from ..cascade_core.kinds import KINDS
from ..cascade_core.sampling.sizes import TRAINED
from . import comfyui, pair
from .clock import medians
from .counted import measure
from .others import peers_here
from .report import Report
from .table import Row, draw

PRODUCT = {"cpu": 1024, "cuda": 8192}  # side of the matrices whose product tells how fast a device computes at most
PACKAGES = ("torch", "diffusers", "transformers", "triton", "comfy-kitchen")


def check(plan: pair.Plan) -> None:
    """CascadeError where a peer is not here."""
    if any(name.startswith("diffusers") for name in plan.peers) and find_spec("diffusers") is None:
        raise CascadeError("bench: diffusers is not installed: run `pip install diffusers`, or choose `--peers none`")
    if "comfyui" in plan.peers:
        comfyui.modules(plan.device)


def bench(plan: pair.Plan, report: Report) -> list[Row]:
    """The rows of a plan; its networks are measured one after the other, told by `report`."""
    pair.measure(report, plan)
    return rows_of(plan, report.lines, {dtype: rate(plan.device, dtype) for dtype in plan.dtypes})


def rows_of(
    plan: pair.Plan, lines: Sequence[dict[str, Any]], rates: dict[torch.dtype, float] | None = None
) -> list[Row]:
    """rates: FLOPs a second; without them the rows have times alone, at once, where counting operations takes long."""
    return [_row(plan, line, rates) for line in lines if "seconds" in line]


def _row(plan: pair.Plan, line: dict[str, Any], rates: dict[torch.dtype, float] | None) -> Row:
    what = line["what"]
    images = f", {line['images']} at once" if line.get("images", 1) > 1 else ""
    if what == "picture":
        steps = " + ".join(map(str, line["steps"]))
        return Row(f"Picture, {line['size']} px, {steps} steps, {line['dtype']}{images}", line["seconds"])
    kind = what.removesuffix(" pass")
    name = f"{KINDS[kind].name} {line['preset']}, {line['size']} px, {line['dtype']}{images}"
    if rates is None:
        return Row(name, line["seconds"])
    dtype = next(dtype for dtype in plan.dtypes if pair.name_of(dtype) == line["dtype"])
    counted = measure(kind, line["preset"], plan.size, dtype, line["images"], "diffusers" in line["seconds"])
    return Row(name, line["seconds"], counted, counted["flops"] / rates[dtype])


def rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of a large product of matrices on the device."""
    from ..cascade_core.models.linear import linear

    side = PRODUCT.get(device.type, 4096)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with torch.inference_mode():
        return 2 * side**3 / medians({"product": lambda: linear(left, right, None)}, device)["product"]


def about(device: torch.device) -> dict[str, Any]:
    """The device and the versions that were measured."""
    packages = {name: found for name in PACKAGES if (found := _version(name)) is not None}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": name, "threads": torch.get_num_threads(), "python": platform.python_version()} | packages


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write(folder: Path, head: dict[str, Any], lines: Sequence[dict[str, Any]]) -> Path:
    """bench.json in the folder, with every line that was measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**head, "measured": list(lines)}, indent=2)
    with whole(file := folder / "bench.json") as path:
        path.write_text(text, encoding="utf-8")
    return file


def write_picture(folder: Path, head: dict[str, Any], rows: Sequence[Row]) -> Path:
    """bench.png in the folder, with bars of the rows."""
    title = f"Seconds, the fastest other implementation being 1: {head['device']}, torch {head['torch']}"
    with whole(file := folder / "bench.png") as path:
        draw(rows, title).save(path, format="PNG")
    return file


def plan_of(
    presets: dict[str, str],
    device: torch.device,
    size: int | None,
    dtypes: Sequence[torch.dtype],
    peers: Sequence[str] | None,
    **others: Any,
) -> pair.Plan:
    """A plan with what suits the device and the networks where nothing was chosen."""
    on_cpu, tiny = device.type == "cpu", presets["stage_c"] == "tiny"
    types = dtypes or ((torch.float32,) if tiny else (torch.bfloat16, torch.float32) if on_cpu else (torch.bfloat16,))
    size = size or (TRAINED["tiny"] if tiny else 512 if on_cpu else 1024)
    whose = peers_here(device) if peers is None else [peer for peer in peers if peer != "none"]
    return pair.Plan(presets, device, size, types, whose, **others)
