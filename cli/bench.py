"""`cascade bench`: how fast the networks are on this machine, beside diffusers and ComfyUI."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..cascade_core.wording import all_of
from ..headless.run import configure
from ..runtime import host
from . import arguments, parts
from .output import OK, Failure, errors_as_failures, say

DESCRIPTION = """\
Time evaluations of Stage C, B and A with random weights, ours and those of others over the same tensors, in turns:
medians, ratios, operations, memory, and the share that products of matrices take of ours. Nothing is downloaded.
On a CPU the seconds are those of the processor, with one thread. diffusers must be installed to be compared with;
COMFYUI_PATH names a ComfyUI whose networks are timed too (this Python must be able to import it).
With -o every line goes to bench.json there and the ratios to bench.png.
Exit code: 0 all was measured, 1 a failure, 2 a bad argument, 130 Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parts.expect("benchmarks", "bench: what measures")
    from ..benchmarks.pairs import PAIRS, PEERS

    parser.description = DESCRIPTION
    add = parser.add_argument
    networks = "large: C 3.6B and B 1.5B, small: C 1B and B 700M (large on a GPU, else small)"
    add("--pair", choices=tuple(PAIRS), help=networks)
    add("--size", metavar="PX", type=arguments.count, help="sides of the picture (1024 on a GPU, else 512; tiny: 256)")
    add("--images", metavar="N", type=arguments.count, nargs="+", default=[1], help="pictures at once (1)")
    add("--dtype", choices=arguments.DTYPES[1:], nargs="+", default=[], help="precisions of the weights")
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
    add("--seconds", type=float, default=2.0, help="for each comparison, of three rounds at least (%(default)s)")
    arguments.add(parser, "--device", "--json")
    add("-o", "--output", metavar="DIR", type=Path, help="where bench.json and bench.png are written")
    parser.set_defaults(command=bench)


def bench(options: argparse.Namespace) -> int:
    configure(options)
    import torch

    from ..benchmarks import bench as measuring
    from ..benchmarks.pairs import PAIRS
    from ..benchmarks.report import Report
    from ..benchmarks.table import lines

    device = host.current().device()
    torch.set_num_threads(options.threads)
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
    report = Report("bench", show=lambda line: say(f"{line['at']:6.0f} s  {line['what']}", sys.stderr))
    with errors_as_failures("choose --pair small, or a smaller --size"):
        rows = measuring.bench(plan, report)
    files = [] if options.output is None else measuring.write(options.output, rows, head, report.lines)
    if options.json:
        print(json.dumps({**head, "measured": report.lines}, indent=2))
    else:
        say(", ".join(f"{name} {value}" for name, value in head.items() if name not in ("pair", "peers")))
        for line in lines(rows):
            say(line)
        for file in files:
            say(str(file))
    if failed := [line for line in report.lines if "error" in line]:
        what = all_of(list(dict.fromkeys(line["what"] for line in failed)))
        raise Failure(f"bench: {what} could not be measured: {failed[0]['error']}")
    return OK
