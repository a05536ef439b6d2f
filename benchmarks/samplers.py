"""How many pictures of the built-in cascade show their prompts, by sampler and schedule.

    python benchmarks/samplers.py [--prompts 100] [--kind one] [SAMPLER...]

Prompts of the picture world that were never trained on; picture i has the seed i. Samplers of two evaluations a step
take half as many steps. Two columns for each schedule: Stage C's latent shown by the previewer, where Stage B is left
out, and whole pictures, both stages by that sampler and schedule.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from stable_cascade_nodes.cascade_core.sampling.samplers import SAMPLERS
from stable_cascade_nodes.cascade_core.sampling.schedules import SCHEDULES
from stable_cascade_nodes.recipes.tiny.data import test_scenes
from stable_cascade_nodes.recipes.tiny.judge import Studio, judge

OFFICIAL = ("cosine", "simple")  # of every sampler
MORE = ("euler_ancestral", "dpmpp_2m")  # of these every schedule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samplers", nargs="*", default=list(SAMPLERS))
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--kind", default="one")
    parser.add_argument("--painters", nargs="*", default=["stage_c", "whole"])
    options = parser.parse_args()
    scenes = test_scenes(options.kind, options.prompts)
    studio = Studio.load()
    for sampler in options.samplers:
        for schedule in SCHEDULES if sampler in MORE else OFFICIAL:
            halved = 2 if SAMPLERS[sampler].second else 1
            chosen = {"sampler": sampler, "schedule": schedule}
            c, b = (
                replace(settings, steps=settings.steps // halved, **chosen)
                for settings in (studio.settings_c, studio.settings_b)
            )
            started = time.perf_counter()
            right = [
                judge(replace(studio, settings_c=c, settings_b=b), painter, scenes)["right"]
                for painter in options.painters
            ]
            shares = "  ".join(f"{share:6.1%}" for share in right)
            print(f"{sampler:20} {schedule:13} {c.steps:3} {shares}  {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
