"""The pictures beside the shipped workflows, made anew by the workflows themselves, and all of them as one sheet.

python -m tests.thumbnails                      # all of them, and docs/uses.jpg
python -m tests.thumbnails canny inpainting     # these
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stable_cascade_nodes.cascade_core.builtin.pictures import BUILT_IN_PICTURES, SIDE
from stable_cascade_nodes.headless import graph, shipped
from stable_cascade_nodes.runtime import host

from .workflow_runs import FOLDER, Runner

COLUMNS, TILE, GAP, CAPTION = 4, 236, 12, 36  # of the sheet: pixels of a tile, between tiles, and of a name's row
PAPER, INK, FRAME = (38, 38, 43), (225, 225, 228), (98, 98, 103)
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


def sheet() -> Image.Image:
    """The thumbnails in rows, each with its workflow's name below."""
    names = [name for name in shipped.names() if name not in DRAWN]
    rows = -(-len(names) // COLUMNS)
    paper = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, rows * (TILE + CAPTION) + GAP), PAPER)
    write = ImageDraw.Draw(paper)
    for number, name in enumerate(names):
        row, column = divmod(number, COLUMNS)
        left, top = GAP + column * (TILE + GAP), GAP + row * (TILE + CAPTION)
        with Image.open(FOLDER / f"{name}.jpg") as picture:
            paper.paste(picture.resize((TILE, TILE), Image.Resampling.LANCZOS), (left, top))
        words = name.replace("_", " ")
        write.text((left + TILE / 2, top + TILE + 6), words, INK, ImageFont.load_default(17), anchor="ma")
    return paper


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "input"
        inputs.mkdir()
        host.configure(input=inputs, output=Path(folder) / "output")
        for name in names or sorted(set(shipped.names()) - set(DRAWN)):
            thumbnail(name, inputs).save(FOLDER / f"{name}.jpg", quality=88)
    sheet().save(FOLDER.parent / "docs" / "uses.jpg", quality=85)


if __name__ == "__main__":
    main(sys.argv[1:])
