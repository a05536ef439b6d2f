"""Data for a Stage C of one's own, and how right its pictures are: run this module with `python -m`.

    draw FOLDER      4,000 pictures of the picture world, each with its captions in a text file, one in a line
    judge FILE...    the share of unseen prompts of one shape that pictures of these Stage Cs show, by the previewer,
                     and the ceiling: of the drawn pictures themselves, encoded and shown by the same previewer

Between the two, with any other command:

    cascade encode FOLDER --to latents.safetensors --caption-lines each
    cascade train stage_c --latents latents.safetensors --architecture architecture.json --name mine
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ...cascade_core.files.load import load
from .captions import captions, sample_caption
from .data import picture, test_scenes, training_scene
from .judge import Studio, judge

VARIATIONS = 4  # of a picture's caption, beside the full one


def draw(folder: Path, count: int) -> None:
    """Write `count` scenes of training: none is held out or reserved to test with."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        scene, random = training_scene(index), np.random.default_rng((5, index))
        Image.fromarray(picture(scene)).save(folder / f"{index:05}.png")
        told = [*captions(scene), *(sample_caption(scene, random) for _ in range(VARIATIONS))]
        (folder / f"{index:05}.txt").write_text("\n".join(dict.fromkeys(told)))


def judged(paths: list[Path], count: int) -> dict[str, dict[str, float]]:
    """What the reader sees in the pictures of each Stage C, by its file's name, and of the drawn ones ("ceiling")."""
    studio, scenes = Studio.load(), test_scenes("one", count)
    found = {"ceiling": judge(studio, "previewer", scenes)}
    for path in paths:
        own = replace(studio, cascade=replace(studio.cascade, stage_c=load("stage_c", path)))
        found[path.name] = judge(own, "stage_c", scenes)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="stable_cascade_nodes.recipes.tiny.own_stage_c",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    drawing = commands.add_parser("draw", help="pictures with captions")
    drawing.add_argument("folder", metavar="FOLDER", type=Path)
    drawing.add_argument("--count", metavar="N", type=int, default=4000, help="pictures (%(default)s)")
    judging = commands.add_parser("judge", help="the share of right pictures")
    judging.add_argument("files", metavar="FILE", type=Path, nargs="+")
    judging.add_argument("--count", metavar="N", type=int, default=200, help="prompts (%(default)s)")
    options = parser.parse_args()
    if options.command == "draw":
        draw(options.folder, options.count)
    else:
        for name, shares in judged(options.files, options.count).items():
            print(name, json.dumps({key: round(share, 3) for key, share in shares.items()}))


if __name__ == "__main__":
    main()
