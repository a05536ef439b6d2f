"""The recipe by the clock, for a GPU that is there for minutes: `python -m stable_cascade_nodes.recipes.tiny`.

`gpu.sh` beside this runs it where nothing is installed, on a copy of the tree.

    --smoke              each part for seconds, to see that it runs and how fast
    --seconds 330        train all parts within this time

The trained weights replace the built-in ones of this tree, and lie in OUT/weights.tar as well. Exit code: 1 where a
part failed, even if it was made good by trying once more.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from .timed import SHARES, Means, gpu_amounts, train_timed
from .training_data import Data

VARIANTS = 256  # of a compiled function: kinds of blocks, widths, batches, trained or not
SMOKE_SECONDS, SMOKE_PICTURES = 2.5, 2048  # of a part; of all


def main() -> int:
    parser = argparse.ArgumentParser(prog="stable_cascade_nodes.recipes.tiny", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=330.0, help="for all parts together (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and curves")
    parser.add_argument("--part", action="append", default=[], choices=list(SHARES), help="only this one; repeatable")
    parser.add_argument("--pictures", type=int, default=49152, help="drawn to learn from (%(default)s)")
    parser.add_argument("--factor", type=int, default=16, help="batches, in those of a CPU (%(default)s)")
    parser.add_argument("--checked", type=int, default=16, help="pictures of each kind judged (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="compile the long parts' blocks (tens of seconds)")
    parser.add_argument("--unrecorded", action="store_true", help="do not record steps as CUDA graphs")
    parser.add_argument("--smoke", action="store_true", help=f"{SMOKE_SECONDS} seconds a part, few pictures")
    options = parser.parse_args()
    seconds, pictures, checked = options.seconds, options.pictures, options.checked
    if options.smoke:
        seconds, pictures, checked = SMOKE_SECONDS * len(options.part or SHARES), SMOKE_PICTURES, 0
    with tempfile.TemporaryDirectory() as work:
        data = Data(Path(work), torch.device(options.device), gpu_amounts(pictures), options.factor)
        means = Means(recorded=not options.unrecorded, compiled=options.compile)
        return 0 if train_timed(data, options.part, seconds, options.out, checked, means) else 1


if __name__ == "__main__":
    dynamo: Any = importlib.import_module("torch._dynamo.config")
    dynamo.suppress_errors = True  # what cannot be compiled runs as it is
    dynamo.automatic_dynamic_shapes = False  # few sizes, each as fast as it can be
    setattr(dynamo, "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit", VARIANTS)
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        sys.exit(main())
