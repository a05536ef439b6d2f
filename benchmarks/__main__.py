"""A section of the measurements on a GPU: `python -m stable_cascade_nodes.benchmarks SECTION`; gpu.sh runs them all."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from . import pair, sections
from .pairs import PAIRS, PEERS
from .report import Report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=["pair", *sections.SECTIONS])
    parser.add_argument("--pair", choices=tuple(PAIRS), default="large", help="the networks (%(default)s)")
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="a file to which the lines are added")
    parser.add_argument("--size", type=int, default=1024, metavar="PX")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 4], metavar="N")
    parser.add_argument("--modes", nargs="+", choices=pair.MODES, default=list(pair.MODES))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=["diffusers", "diffusers-compiled"])
    parser.add_argument("--seconds", type=float, default=2.0, help="for the rounds of one comparison (%(default)s)")
    options = parser.parse_args()
    report = Report(options.section, options.out)
    presets = PAIRS[options.pair]
    if options.section != "pair":
        sections.SECTIONS[options.section](report, options.device, presets, options.size)
        return
    dtypes = (torch.bfloat16, torch.float16) if options.device.type == "cuda" else (torch.bfloat16,)
    pair.measure(
        report,
        pair.Plan(
            presets,
            options.device,
            options.size,
            dtypes,
            options.peers,
            options.images,
            options.modes,
            options.seconds,
            pictures=True,
        ),
    )


if __name__ == "__main__":
    main()
