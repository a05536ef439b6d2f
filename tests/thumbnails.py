"""The pictures beside the shipped workflows, made anew by the workflows themselves.

python -m tests.thumbnails                      # all of them
python -m tests.thumbnails canny inpainting     # these
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from stable_cascade_nodes.cascade_core.builtin.pictures import BUILT_IN_PICTURES, SIDE
from stable_cascade_nodes.headless import graph, shipped
from stable_cascade_nodes.runtime import host

from .workflow_runs import FOLDER, Runner

PAPER, FRAME = (38, 38, 43), (98, 98, 103)
THUMBNAIL = 512  # pixels of a side
GIVEN, MADE = 210, 306  # sides of the picture to start from, at the top left, and of the result, at the bottom right
MARGIN, LINE = 16, 2
LESSONS = {"lora_training": "lora"}  # workflows that train show what another makes of it
DRAWN = ("published_models",)  # drawn by hand: no model is at hand that would make it


def thumbnail(name: str, inputs: Path) -> Image.Image:
    """What a workflow makes as it is, and above it, where there is one, the built-in picture that it starts from."""
    runner = Runner(LESSONS.get(name, name), inputs)
    (made, *_) = runner.run({})
    result = Image.fromarray(np.ascontiguousarray(made))
    given = [node["inputs"]["image"] for node in runner.prompt.values() if graph.title_of(node) == "Picture"]
    if not given:
        return result.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    paper = Image.new("RGB", (THUMBNAIL, THUMBNAIL), PAPER)
    start = BUILT_IN_PICTURES[given[0]].draw()
    side = GIVEN * start.width // SIDE if start.width > SIDE // 2 else GIVEN
    sharp = start.width <= SIDE // 2  # few pixels stay visible
    start = start.resize((side, side), Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS)
    white = Image.new("RGBA", start.size, "white")
    _framed(paper, Image.alpha_composite(white, start.convert("RGBA")).convert("RGB"), MARGIN)
    _framed(paper, result.resize((MADE, MADE), Image.Resampling.LANCZOS), THUMBNAIL - MARGIN - MADE)
    return paper


def _framed(paper: Image.Image, picture: Image.Image, at: int) -> None:
    outside = (picture.width + 2 * LINE, picture.height + 2 * LINE)
    paper.paste(Image.new("RGB", outside, FRAME), (at - LINE, at - LINE))
    paper.paste(picture, (at, at))


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "input"
        inputs.mkdir()
        host.configure(input=inputs, output=Path(folder) / "output")
        for name in names or sorted(set(shipped.names()) - set(DRAWN)):
            thumbnail(name, inputs).save(FOLDER / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main(sys.argv[1:])
