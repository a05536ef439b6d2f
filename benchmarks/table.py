"""Measured lines for people: a table, and bars of the seconds relative to the fastest other implementation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from ..cascade_core.wording import size_in_words

WIDTH, ROW, MARGIN, LABEL = 960, 26, 24, 250  # pixels
COLORS = ("#2f6fb2", "#8fb3d9", "#c8c8c8", "#a8a8a8", "#888888", "#686868")
INK = "#222222"
COLUMNS = "  {:18}{:>9}  {:>17}  {:>10}  {:>20}  {:>8}"
HEADS = ("", "time", "fastest other = 1", "operations", "bytes beyond weights", "products")


@dataclass(frozen=True)
class Row:
    """A pass or a picture, timed by several."""

    name: str  # "Stage C 1B, bfloat16"
    seconds: Mapping[str, float]  # by who computed
    counted: Mapping[str, Any] | None = None  # of counted.measure, for a pass
    floor: float | None = None  # seconds that its products take alone

    @property
    def fastest(self) -> float | None:
        """Seconds of the fastest of the others."""
        return min((each for name, each in self.seconds.items() if not name.startswith("ours")), default=None)


def ratio(row: Row, name: str) -> str:
    return "" if row.fastest is None else f"{row.seconds[name] / row.fastest:.2f}"


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Columns that stand under each other, and above them their heads."""
    if rows:
        yield COLUMNS.format(*HEADS)
    for row in rows:
        counted = row.counted
        yield row.name
        for name, seconds in row.seconds.items():
            operations = size = share = ""
            if counted is not None and name in counted["operations"]:
                operations, size = counted["operations"][name], size_in_words(counted["bytes"][name])
            if row.floor is not None and name.startswith("ours"):
                # The floor is of one large product, which a network's own may beat: no more than all is said.
                share = f"{min(1.0, row.floor / seconds):.0%}"
            yield COLUMNS.format(name, _seconds(seconds), ratio(row, name), operations, size, share).rstrip()


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def draw(rows: Sequence[Row], title: str) -> Image.Image:
    """Bars: seconds of each, the fastest other implementation being 1."""
    shown = [row for row in rows if row.fastest]
    names = list(dict.fromkeys(name for row in shown for name in row.seconds))
    height = 2 * MARGIN + ROW * (2 + sum(1 + len(row.seconds) for row in shown))
    picture = Image.new("RGB", (WIDTH, height), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((MARGIN, MARGIN), title, fill=INK)
    most = max((max(row.seconds.values()) / (row.fastest or 1) for row in shown), default=1.0)
    y = MARGIN + 2 * ROW
    for row in shown:
        pen.text((MARGIN, y), row.name, fill=INK)
        y += ROW
        for name, seconds in row.seconds.items():
            share = seconds / (row.fastest or 1)
            right = LABEL + share / most * (WIDTH - LABEL - 3 * MARGIN)
            pen.text((2 * MARGIN, y), name, fill=INK)
            pen.rectangle((LABEL, y, right, y + ROW - 8), fill=COLORS[names.index(name) % len(COLORS)])
            pen.text((right + 8, y), f"{share:.2f}", fill=INK)
            y += ROW
    return picture
