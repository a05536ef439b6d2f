"""What each economy of sampling saves and costs on the built-in cascade, as a table.

    python -m stable_cascade_nodes.benchmarks.economy [--prompts 40] [--recipes NAME ...]

A recipe's pictures are compared with those of 100 + 100 steps of the same seeds, prompts and guidance. That is a fair
measure for samplers without noise of their own, whose pictures come nearer to it with more steps; `ddpm` draws noise in
each step and so makes other pictures, as right and farther away.

Columns: evaluations of Stage C and of Stage B a picture, a guided step being two; their FLOPs and Stage A's; CPU
seconds of one picture from its prompt to pixels, the median of rounds in turns; the share of pictures that show their
prompts; distance to the reference in decibels (PSNR of the mean square error over all pictures: higher is nearer) and
of the outlines in pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..cascade_core.builtin.world import Scene
from ..cascade_core.models.body import Inner
from ..cascade_core.models.handle import Handle
from ..cascade_core.sampling.course import make_course
from ..cascade_core.sampling.schedules import evaluated
from ..cascade_core.sampling.settings import STAGE_B_DEFAULTS, SamplerSettings
from ..cascade_core.sampling.stages import process_of
from ..recipes.tiny.data import CELLS, RESERVED_PERCENT, SIZE, test_scenes
from ..recipes.tiny.judge import BATCH, SETTINGS, Studio, told
from ..recipes.tiny.outlines import outline_error
from ..recipes.tiny.reader import is_right
from . import clock
from .networks import META

CPU = torch.device("cpu")
SOLVER = "dpmpp_2m"  # where a recipe names no sampler
SHAPE_C, SHAPE_B = (16, CELLS, CELLS), (4, SIZE // 4, SIZE // 4)  # of latents
MOST = 100.0  # decibels of equal pictures


@dataclass(frozen=True)
class Recipe:
    """The settings of both stages."""

    c: SamplerSettings
    b: SamplerSettings

    def but(
        self,
        c: int | None = None,
        b: int | None = None,
        half: bool = False,
        plain_b: bool = False,
        reuse: bool = False,
        by: str = "",
    ) -> Recipe:
        """The same with other steps, Stage C guided in its first half alone, Stage B without guidance or with inner
        levels reused, or by another sampler."""
        changed_c = {"steps": c or self.c.steps, "sampler": by or self.c.sampler}
        changed_b = {"steps": b or self.b.steps, "sampler": by or self.b.sampler}
        return Recipe(
            replace(self.c, **changed_c, **({"cfg_end_percent": 0.5} if half else {})),
            replace(self.b, **changed_b, **({"cfg": 1.0} if plain_b else {}), reuse_from=int(reuse)),
        )


OFFICIAL = Recipe(SETTINGS, STAGE_B_DEFAULTS)
SOLVED = OFFICIAL.but(by=SOLVER)
REFERENCE = SOLVED.but(100, 100)
RECIPES = {
    "ddpm, 20 + 10": OFFICIAL,
    "ddpm, 4 + 2": OFFICIAL.but(4, 2),
    "20 + 10": SOLVED,
    "C guided in 0 to 0.5": SOLVED.but(half=True),
    "B at cfg 1": SOLVED.but(plain_b=True),
    "B reuses": SOLVED.but(reuse=True),
    "C in 10 steps": SOLVED.but(10),
    "C in 6 steps": SOLVED.but(6),
    "C in 4 steps": SOLVED.but(4),
    "B in 5 steps": SOLVED.but(b=5),
    "B in 3 steps": SOLVED.but(b=3),
    "B in 2 steps": SOLVED.but(b=2),
    **{
        f"{c} + {b}, B at cfg 1" + ", reuses" * reuse + ", C guided in 0 to 0.5" * half: SOLVED.but(
            c, b, half=half, plain_b=True, reuse=reuse
        )
        for half, reuse, pairs in (
            (False, True, ((20, 10), (10, 6), (8, 6), (6, 4), (4, 4), (4, 2))),
            (False, False, ((10, 5), (6, 4), (6, 3), (4, 3), (4, 2))),
            (True, True, ((20, 10), (10, 6), (6, 4), (4, 4))),
        )
        for c, b in pairs
    },
}


def scenes(count: int) -> list[Scene]:
    """So many prompts of each kind, none of which was trained on."""
    return [scene for kind in RESERVED_PERCENT for scene in test_scenes(kind, count)]


def with_recipe(studio: Studio, recipe: Recipe) -> Studio:
    return replace(studio, settings_c=recipe.c, settings_b=recipe.b)


def paint(studio: Studio, prompts: Sequence[str], seed: int) -> Tensor:
    """Prompts -> pixels (N, 3, 256, 256); picture i has the seed + i."""
    return studio.decode(studio.latents(prompts, seed), prompts, seed)


@torch.inference_mode()
def pictures(studio: Studio, prompts: Sequence[str]) -> np.ndarray:
    """uint8 (N, 256, 256, 3); picture i has the seed i."""
    batches = [paint(studio, prompts[start : start + BATCH], start) for start in range(0, len(prompts), BATCH)]
    return (torch.cat(batches).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def distance(found: np.ndarray, reference: np.ndarray, shown: Sequence[Scene]) -> tuple[float, float]:
    """Decibels over all pictures, and the mean distance of outlines in pixels; both of uint8 (N, H, W, 3)."""
    error = float(np.square((found.astype(np.float32) - reference) / 255).mean())
    decibels = MOST if error == 0 else min(MOST, -10 * float(np.log10(error)))
    outlines = [outline_error(*each) for each in zip(found, reference, shown, strict=True)]
    return decibels, float(np.mean(outlines))


def evaluations(stage: Handle, settings: SamplerSettings) -> int:
    """Of one picture: two for a guided step."""
    times = evaluated(make_course(settings, process_of(stage), [0]).times)
    return sum(2 if settings.guidance.active(time.r) else 1 for time in times)


@dataclass(frozen=True)
class Work:
    """FLOPs of an evaluation of each stage, without what is computed once a picture."""

    c: int
    b: int
    b_reusing: int  # one that takes the inner levels from the one before
    a: int

    def of(self, c: int, b: int, reuses: bool) -> int:
        """FLOPs of a picture by so many evaluations of Stage C and B."""
        return c * self.c + (b // 2 * (self.b + self.b_reusing) + b % 2 * self.b if reuses else b * self.b) + self.a


@torch.no_grad()
def work(studio: Studio) -> Work:
    """Counted on the meta device: a CPU's fast products are operations that the counter does not know."""
    cascade, time = studio.cascade, torch.zeros(1, device=META)
    stages = (cascade.stage_c, cascade.stage_b, cascade.stage_a)
    c, b, a = (cast(Any, deepcopy(stage.module)).to(META) for stage in stages)
    (condition,) = studio.conditions(["a red circle"])
    sequence, pooled = condition.sequence.to(META), condition.pooled.to(META)
    latent_c, latent_b = (torch.zeros(1, *shape, device=META) for shape in (SHAPE_C, SHAPE_B))
    of_c = latent_c, c.modulate(time), c.prepare(sequence, pooled)
    of_b = latent_b, b.modulate(time), b.prepare(latent_c, pooled, SHAPE_B[1:])
    inner = Inner(1)

    def count(run: Callable[[], Any]) -> int:
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    whole, reusing = (count(lambda: b.evaluate(*of_b, inner=inner)) for _ in range(2))
    return Work(count(lambda: c.evaluate(*of_c)), whole, reusing, count(lambda: a.decode(latent_b)))


def seconds(studio: Studio, recipes: Mapping[str, Recipe], rounds: int) -> dict[str, float]:
    """CPU seconds of one picture by each recipe."""

    def run(recipe: Recipe) -> Tensor:
        with torch.inference_mode():
            return paint(with_recipe(studio, recipe), ["a large red circle at the top left on a white background"], 0)

    return clock.medians({name: partial(run, recipe) for name, recipe in recipes.items()}, CPU, rounds, float("inf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=40, help="of each of the four kinds (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="of the timing (%(default)s)")
    parser.add_argument("--recipes", nargs="+", choices=tuple(RECIPES), default=list(RECIPES), metavar="NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)
    studio = Studio.load()
    chosen = {name: RECIPES[name] for name in options.recipes}
    shown = scenes(options.prompts)
    prompts = told(shown)
    taken = seconds(studio, chosen, options.rounds)
    counted = work(studio)
    reference = pictures(with_recipe(studio, REFERENCE), prompts)
    right = np.mean([is_right(picture, scene) for picture, scene in zip(reference, shown, strict=True)])
    print(f"{len(prompts)} prompts; the reference, {SOLVER} in 100 + 100 steps: {right:.1%} right")
    print("| | evaluations C + B | GFLOP | CPU s | right | decibels | outlines, px |\n|---|---|---|---|---|---|---|")
    for name, recipe in chosen.items():
        c, b = evaluations(studio.cascade.stage_c, recipe.c), evaluations(studio.cascade.stage_b, recipe.b)
        found = pictures(with_recipe(studio, recipe), prompts)
        right = np.mean([is_right(picture, scene) for picture, scene in zip(found, shown, strict=True)])
        decibels, outlines = distance(found, reference, shown)
        giga = counted.of(c, b, recipe.b.reuse_from > 0) / 1e9
        print(
            f"| {name} | {c} + {b} | {giga:.2f} | {taken[name]:.3f} | {right:.1%} | {decibels:.1f} | {outlines:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
