"""`cascade bench`: how fast the networks are on this machine, beside diffusers and ComfyUI."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.sampling.sizes import LARGEST
from ..cascade_core.wording import all_of
from ..headless.graph import WorkflowError
from ..headless.run import configure
from ..runtime import host
from . import arguments, parts
from .output import OK, Failure, complain, errors_as_failures, say

if TYPE_CHECKING:
    from ..benchmarks.table import Row

DESCRIPTION = """\
Time evaluations of Stage C, B and A with random weights, ours and those of others over the same tensors, in turns:
the median time, that of the fastest other being 1, operations (on a GPU each is a kernel), bytes that an evaluation
takes beyond the weights, and the share of our time that its products of matrices need at least. Nothing is downloaded.
On a CPU the seconds are those of the processor, with one thread: tiny takes 15 of them in all, small 8 minutes at
512 px in float32 alone. diffusers must be installed to be compared with; COMFYUI_PATH names a ComfyUI whose networks
are timed too (this Python must be able to import it). With -o every line goes to bench.json there when it is known,
and the ratios to bench.png. Ctrl-C shows what was measured until then.
Exit code: 0 all was measured, 1 a failure, 2 a bad argument, 130 Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parts.expect("benchmarks", "bench: what measures")
    from ..benchmarks.pairs import PAIRS, PEERS

    parser.description = DESCRIPTION
    add = parser.add_argument
    networks = "large: C 3.6B and B 1.5B, small: C 1B and B 700M, tiny: as built in (large on a GPU, else small)"
    sides = "sides of the picture (1024 on a GPU, else 512; tiny: 256)"
    types = "precisions of the weights (bfloat16, on a CPU float32 too; tiny: float32)"
    add("--pair", choices=tuple(PAIRS), help=networks)
    add("--size", metavar="PX", type=side, help=sides)
    add("--images", metavar="N", type=arguments.count, nargs="+", default=[1], help="pictures at once (1)")
    add("--dtype", choices=arguments.DTYPES[1:], nargs="+", default=[], help=types)
    add("--image", action="store_true", help="whole pictures too, 20 + 10 steps (diffusers' beside them)")
    add("--compile", choices=("graphs", "blocks"), nargs="+", default=[], help="ours compiled, too")
    add(
        "--peers",
        metavar="NAME",
        choices=("none", *PEERS),
        nargs="+",
        help=f"beside whom: {', '.join(PEERS)}, none (all here)",
    )
    add("--threads", metavar="N", type=arguments.count, default=1, help="of a CPU (%(default)s)")
    add("--seconds", type=seconds, default=2.0, help="for each comparison, of three rounds at least (%(default)s)")
    arguments.add(parser, "--device", "--json")
    add("-o", "--output", metavar="DIR", type=Path, help="where bench.json and bench.png are written")
    parser.set_defaults(command=bench)


def side(text: str) -> int:
    """Pixels of a side that each stage has whole cells for."""
    from ..benchmarks.pairs import SIDE

    number = arguments.count(text)
    near = min(max(round(number / SIDE), 1) * SIDE, LARGEST)
    if number != near:
        expected = f"expected a multiple of {SIDE} up to {LARGEST}"
        raise argparse.ArgumentTypeError(f"{expected}, found {number}: choose {near}")
    return number


def seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < inf:
        raise argparse.ArgumentTypeError(f"expected more than 0, found {text}")
    return number


def bench(options: argparse.Namespace) -> int:
    if "none" in (options.peers or ()) and len(options.peers) > 1:
        raise WorkflowError(f"--peers: expected none alone or names, found {' '.join(options.peers)}")
    configure(options)
    import torch

    from ..benchmarks import bench as measuring
    from ..benchmarks.pairs import PAIRS
    from ..benchmarks.report import Report
    from ..benchmarks.table import lines

    device = host.current().device()
    torch.set_num_threads(options.threads)
    if (cores := os.cpu_count() or options.threads) < options.threads:
        complain(f"--threads {options.threads}: more than this machine's {cores} cores, which costs time")
    if "graphs" in options.compile and device.type != "cuda":
        complain(f"--compile graphs is left out: device {device.type} has no CUDA graphs")
        options.compile = [mode for mode in options.compile if mode != "graphs"]
    pair = options.pair or ("small" if device.type == "cpu" else "large")
    plan = measuring.plan_of(
        PAIRS[pair],
        device,
        options.size,
        [getattr(torch, name) for name in options.dtype],
        options.peers,
        images=options.images,
        modes=("off", *options.compile),
        seconds=options.seconds,
        pictures=options.image,
    )
    measuring.check(plan)
    head = measuring.about(device) | {"pair": pair, "peers": list(plan.peers)}

    def keep() -> list[Path]:
        return [] if options.output is None else [measuring.write(options.output, head, report.lines)]

    def show(line: dict[str, Any]) -> None:
        why = f": {line['error']}" if "error" in line else ""
        say(f"{line['at']:6.0f} s  {line['what']}{why}", sys.stderr)
        keep()

    def tell(rows: Sequence[Row]) -> None:
        files = keep()
        if options.output is not None:
            files.append(measuring.write_picture(options.output, head, rows))
        if options.json:
            print(json.dumps({**head, "measured": report.lines}, indent=2))
            return
        say(", ".join(f"{name} {value}" for name, value in head.items() if name not in ("pair", "peers")))
        for line in (*lines(rows), *map(str, files)):
            say(line)

    report = Report("bench", show=show)
    keep()  # so that a folder that cannot be written is told before anything is measured
    try:
        with errors_as_failures("choose --pair small, or a smaller --size"):
            rows = measuring.bench(plan, report)
    except KeyboardInterrupt:
        tell(measuring.rows_of(plan, report.lines))
        raise
    tell(rows)
    if failed := [line for line in report.lines if "error" in line]:
        what = all_of(list(dict.fromkeys(line["what"] for line in failed)))
        raise Failure(f"bench: {what} could not be measured: {failed[0]['error']}") from report.failures[0]
    return OK
