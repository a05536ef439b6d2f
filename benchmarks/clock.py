"""Time of a computation: medians of runs that take turns, so that a ratio stands on a shared machine too.

On a CPU the seconds are those of the processor, which other programs do not lengthen. A GPU computes while Python goes
on: there time is told by events that the GPU itself passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

Run = Callable[[], Any]


def spent(run: Run, device: torch.device) -> float:
    """Seconds of one run: of the processor, or of the GPU from its first operation to its last."""
    if device.type != "cuda":
        start = time.process_time()
        run()
        return time.process_time() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    run()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) / 1000


def medians(runs: Mapping[str, Run], device: torch.device, rounds: int = 10, seconds: float = 2.0) -> dict[str, float]:
    """The median seconds of each run, all in turns: at most so many rounds, and three at least, for about so long.

    A round before the first warms up.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    started = time.monotonic()
    for done in range(rounds):
        if done >= 3 and time.monotonic() - started > seconds:
            break
        for name, run in runs.items():
            taken[name].append(spent(run, device))
    return {name: median(each) for name, each in taken.items()}


def peak(run: Run, device: torch.device) -> int | None:
    """Bytes that a run takes at its peak beyond what is there before it, by a GPU's allocator; None elsewhere."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def kernels(run: Run, device: torch.device, most: int = 12) -> dict[str, Any]:
    """Of one run on a GPU: how many kernels it launched, their milliseconds in all, and the shares of the largest."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU], acc_events=True) as profiler:
        run()
        torch.cuda.synchronize(device)
    found = [each for each in profiler.key_averages() if each.device_type.name == "CUDA"]
    found.sort(key=lambda each: -each.self_device_time_total)
    whole = sum(each.self_device_time_total for each in found)
    shares = {f"{each.key[:70]} x{each.count}": each.self_device_time_total / whole for each in found[:most]}
    return {"launches": sum(each.count for each in found), "milliseconds": whole / 1000, "shares": shares}
