"""The pictures that ComfyUI's registry shows of the pack, drawn by the built-in models from prompts.

python -m stable_cascade_nodes.recipes.registry

Both show what the cascade does: a picture from a few cells, over more of them, to its pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from ...cascade_core.pipeline import Cascade

FOLDER = Path(__file__).parent
ICON, BANNER = FOLDER / "icon.png", FOLDER / "banner.png"

SIDE = 256  # pixels of a picture, the built-in models' own size
SEED = 1
PAPER, INK, FAINT = (24, 25, 32), (244, 244, 248), (160, 163, 178)
FINER = 4  # all is laid out so many times larger, for smooth edges

ICON_PROMPT = "a large red heart at the center on a cream background"
ICON_SIDE, ICON_CORNER = 400, 84
ICON_PART = (34, 35, 214, 215)  # of the picture
ICON_CELLS = (6, 15, SIDE)  # along a side, of the bands from left to right; thirds of each are whole cells

TILE, GAP, TILE_CORNER = 192, 20, 22  # 7 by 3 tiles are 21 by 9
ROWS: tuple[tuple[str | None, ...], ...] = (
    (
        "a large red heart at the center on a cream background",
        "a large blue circle at the center on a rose background",
        "a large orange triangle at the center on a mint background",
        "a large purple diamond at the center on a cream background",
        "a large green square at the center on a sky background",
        "a face with brown skin, long black hair, glasses and a smile on a sky background",
        "three pink hearts on a cream background",
    ),
    (
        *(None, None, None),  # the name stands here
        "a large pink cross at the center on a mint background",
        "two yellow stars on a rose background",
        "a large red triangle at the center on a white background",
        "a face with pale skin, short red hair, no glasses and a smile on a mint background",
    ),
    (
        "a large green diamond at the center on a white background",
        "a large purple star at the center on a mint background",
        "a large yellow cross at the center on a sky background",
        "a large red circle at the center on a cream background",
        "a face with tan skin, long blonde hair, no glasses and a smile on a rose background",
        "a large blue square at the center on a mint background",
        "a large orange star at the center on a sky background",
    ),
)
TILE_CELLS = (5, 8, 12, 20, 40, 100, SIDE)  # along a side, of the columns
LINES = (  # size, and height of the foot in the middle row
    ("Stable Cascade", 76, 104, INK),
    ("text to pictures, in three stages", 32, 154, FAINT),
)


def models() -> Cascade:
    """The built-in cascade."""
    from ...cascade_core.builtin import built_in
    from ...cascade_core.files.load import load
    from ...cascade_core.pipeline import Cascade

    kinds = ("text_encoder", "stage_c", "stage_b", "stage_a")
    return Cascade(*(load(kind, *built_in(kind).values()) for kind in kinds))


def draw(cascade: Cascade, prompt: str, seed: int) -> Image.Image:
    """What a prompt shows: RGB, `SIDE` by `SIDE` pixels."""
    from ...cascade_core.pipeline import text_to_image

    (pixels,) = text_to_image(cascade, prompt, width=SIDE, height=SIDE, seed=seed)
    return Image.fromarray((pixels.permute(1, 2, 0) * 255).round().byte().numpy())


def icon(cascade: Cascade) -> Image.Image:
    """RGBA with round corners: the middle of a picture, in bands of finer and finer cells."""
    side = ICON_SIDE * FINER
    middle = draw(cascade, ICON_PROMPT, SEED).crop(ICON_PART)
    result = Image.new("RGB", (side, side))
    for place, cells in enumerate(ICON_CELLS):
        left, right = (each * side // len(ICON_CELLS) for each in (place, place + 1))
        result.paste(_in_cells(middle, cells, side).crop((left, 0, right, side)), (left, 0))
    result.putalpha(_rounded(side, ICON_CORNER * FINER))
    return result.resize((ICON_SIDE, ICON_SIDE), Image.Resampling.LANCZOS)


def banner(cascade: Cascade) -> Image.Image:
    """RGB, 21 by 9: pictures that become finer from left to right, and the pack's name."""
    tile, gap = TILE * FINER, GAP * FINER
    result = Image.new("RGB", (len(TILE_CELLS) * tile, len(ROWS) * tile), PAPER)
    side = tile - gap
    shape = _rounded(side, TILE_CORNER * FINER)
    for row, prompts in enumerate(ROWS):
        for column, (prompt, cells) in enumerate(zip(prompts, TILE_CELLS, strict=True)):
            if prompt is not None:
                place = (column * tile + gap // 2, row * tile + gap // 2)
                result.paste(_in_cells(draw(cascade, prompt, SEED), cells, side), place, shape)
    pen = ImageDraw.Draw(result)
    for text, size, height, colour in LINES:
        font = ImageFont.load_default(size * FINER)
        pen.text((gap, (TILE + height) * FINER), text, colour, font, anchor="ls")
    return result.resize((result.width // FINER, result.height // FINER), Image.Resampling.LANCZOS)


def _in_cells(picture: Image.Image, cells: int, side: int) -> Image.Image:
    """The picture as so many even squares a side; as it is where its pixels are no more."""
    if cells >= picture.width:
        return picture.resize((side, side), Image.Resampling.LANCZOS)
    return picture.resize((cells, cells), Image.Resampling.BOX).resize((side, side), Image.Resampling.NEAREST)


def _rounded(side: int, radius: int) -> Image.Image:
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, side - 1, side - 1), radius, 255)
    return mask
