"""How many pictures of the built-in cascade show their prompts, by sampler and schedule.

    python -m stable_cascade_nodes.benchmarks.samplers [--prompts 100] [OPTIONS] [SAMPLER:SCHEDULE ...]

Prompts of the picture world that were never trained on; picture i has the seed i. Samplers of two evaluations a step
take half as many steps. The painter `stage_c` shows Stage C's latent by the previewer; `whole` samples both stages so.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from ..cascade_core.sampling.samplers import SAMPLERS
from ..cascade_core.sampling.schedules import SCHEDULES
from ..recipes.tiny.data import test_scenes
from ..recipes.tiny.judge import PAINTERS, Studio, judge

PAIRS = [f"{sampler}:{schedule}" for sampler in SAMPLERS for schedule in ("cosine", "simple")]
PAIRS += [f"{sampler}:{schedule}" for sampler in ("euler_ancestral", "dpmpp_2m") for schedule in list(SCHEDULES)[2:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", metavar="SAMPLER:SCHEDULE", default=PAIRS)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--kind", default="one")
    parser.add_argument("--painter", choices=PAINTERS, default="stage_c")
    options = parser.parse_args()
    scenes = test_scenes(options.kind, options.prompts)
    studio = Studio.load()
    for sampler, schedule in (pair.split(":") for pair in options.pairs):
        halved = 2 if SAMPLERS[sampler].second else 1
        c, b = (
            replace(settings, steps=settings.steps // halved, sampler=sampler, schedule=schedule)
            for settings in (studio.settings_c, studio.settings_b)
        )
        started = time.perf_counter()
        right = judge(replace(studio, settings_c=c, settings_b=b), options.painter, scenes)["right"]
        print(
            f"{sampler:20} {schedule:13} {c.steps:3} steps {right:6.1%} {time.perf_counter() - started:5.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
