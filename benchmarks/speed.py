"""How fast one evaluation is, against diffusers with the same weights:

    python benchmarks/speed.py [--rounds N] [CASE ...]

CPU seconds on one thread, the two interleaved, medians: so the ratio stands also where the machine is shared. What is
constant over an image's steps is computed once per image, as the samplers do, and its cost divided among the steps;
diffusers computes it in every step. Weights are random, which changes no cost. Needs `pip install -e .[dev]` and, for
Stage C, 5 GB of memory.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from stable_cascade_nodes.cascade_core.models.body import slice_modulation
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

sys.path.append(str(Path(__file__).parents[1] / "tests" / "models"))
from peers import alive, twin


@dataclass(frozen=True)
class Case:
    """Two ways to the same tensor; `once` is what ours computes per image and hands to `ours`."""

    ours: Callable[[Any], Tensor]
    theirs: Callable[[], Tensor]
    once: Callable[[], Any] = lambda: None
    steps: int = 1


def stage_c(dtype: torch.dtype) -> Case:
    """1B, 512 x 512 pixels: the pair of a guided step, 77 text tokens, 20 steps."""
    module = alive(lambda config: StageC(config).to(dtype), PRESETS["stage_c"]["1B"])
    other = twin(module)
    x, r = torch.randn(2, 16, 12, 12, dtype=dtype), torch.full((2,), 0.5)
    text, pooled, images = (torch.randn(2, *shape, dtype=dtype) for shape in ((77, 1280), (1, 1280), (1, 768)))
    return Case(
        lambda constants: module.evaluate(x, slice_modulation(constants[0], 10), constants[1]),
        lambda: other(x, r.to(dtype), pooled, clip_text=text, clip_img=images).sample,
        lambda: (module.modulate(torch.linspace(1, 0, 21)), module.prepare(text, pooled, images)),
        steps=20,
    )


def stage_b(dtype: torch.dtype) -> Case:
    """700M, 512 x 512 pixels, 10 steps without guidance."""
    module = alive(lambda config: StageB(config).to(dtype), PRESETS["stage_b"]["700M"])
    other = twin(module)
    x, r = torch.randn(1, 4, 128, 128, dtype=dtype), torch.full((1,), 0.5)
    effnet, pooled = torch.randn(1, 16, 12, 12, dtype=dtype), torch.randn(1, 1, 1280, dtype=dtype)
    return Case(
        lambda constants: module.evaluate(x, slice_modulation(constants[0], 5), constants[1]),
        lambda: other(x, r.to(dtype), pooled, effnet=effnet).sample,
        lambda: (module.modulate(torch.linspace(1, 0, 11)), module.prepare(effnet, pooled, (128, 128))),
        steps=10,
    )


def stage_a(dtype: torch.dtype) -> Case:
    """Decoding 256 x 256 pixels."""
    module = alive(lambda config: StageA(config).to(dtype), PRESETS["stage_a"]["published"])
    other, latent = twin(module), torch.randn(1, 4, 64, 64, dtype=dtype)
    return Case(
        lambda _: module.decode(latent),
        lambda: other.decode(latent * module.config.scale).sample,
    )


CASES: dict[str, tuple[Callable[[torch.dtype], Case], torch.dtype, float]] = {  # and the ratio that is wanted
    "stage_c": (stage_c, torch.float32, 0.87),
    "stage_b": (stage_b, torch.bfloat16, 0.90),
    "stage_a": (stage_a, torch.float32, 0.80),
    "stage_a_bfloat16": (stage_a, torch.bfloat16, 0.83),
}


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def measure(name: str, rounds: int) -> None:
    build, dtype, wanted = CASES[name]
    case = build(dtype)
    ours, theirs, once = [], [], []
    for _ in range(rounds + 1):
        spent, constants = seconds(case.once)
        once.append(spent)
        spent, found = seconds(lambda constants=constants: case.ours(constants))
        ours.append(spent)
        spent, expected = seconds(case.theirs)
        theirs.append(spent)
    per_image, step, other = (median(column[1:]) for column in (once, ours, theirs))  # the first round warms up
    mine = step + per_image / case.steps
    difference = (found - expected).float().square().mean().sqrt() / expected.float().square().mean().sqrt()
    print(
        f"{name:17} ours {mine:7.3f} s (of it constants {per_image / case.steps:.3f})  diffusers {other:7.3f} s"
        f"  ratio {mine / other:.3f} (wanted {wanted:.2f})  rms difference {difference:.1e}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for name in arguments.cases:
            measure(name, arguments.rounds)


if __name__ == "__main__":
    main()
