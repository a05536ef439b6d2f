"""Drawing scenes of the picture world as pictures."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .world import Face, Rgb, Scene, Shape

SUPERSAMPLING = 2
SMALLEST_SIZE = 16
CLOTHES: Rgb = (70, 90, 140)
DARK: Rgb = (30, 30, 35)
EYE_WHITE: Rgb = (250, 250, 250)
LIPS: Rgb = (200, 30, 60)
HEART_POINTS = 40
CURVE_POINTS = 24

Points = np.ndarray
"""Points (n, 2) in units of the radius around the centre."""


def draw(scene: Scene, size: int = 256) -> Image.Image:
    """The scene as an RGB picture of ``size`` by ``size`` pixels; the same scene always gives the same pixels.

    Raises ValueError for a size below 16.
    """
    if size < SMALLEST_SIZE:
        raise ValueError(f"a picture needs a size of at least {SMALLEST_SIZE} pixels, not {size}")
    side = size * SUPERSAMPLING
    picture = Image.new("RGB", (side, side), scene.background_rgb)
    pen = ImageDraw.Draw(picture)
    for shape in scene.shapes:
        _draw_shape(Brush(pen, side, shape.x, shape.y, shape.r), shape)
    if scene.face is not None:
        _draw_face(Brush(pen, side, scene.face.x, scene.face.y, scene.face.r), scene.face)
    return picture.reduce(SUPERSAMPLING)


class Brush:
    """Fills outlines given in units of a radius around a centre."""

    def __init__(self, pen: ImageDraw.ImageDraw, side: int, x: float, y: float, r: float) -> None:
        self._pen = pen
        # Pillow's coordinates name the middle of a pixel, the world's its corner.
        self._center = np.array([x * side - 0.5, y * side - 0.5])
        self._unit = r * side

    def polygon(self, points: Points, rgb: Rgb) -> None:
        """Fill a polygon."""
        self._pen.polygon((points * self._unit + self._center).ravel().tolist(), fill=rgb)

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, rgb: Rgb) -> None:
        """Fill an upright ellipse."""
        self._pen.ellipse(self._box(x, y, half_width, half_height), fill=rgb)

    def ring(self, x: float, y: float, radius: float, width: float, rgb: Rgb) -> None:
        """Draw a ring; ``radius`` is that of its middle line."""
        outer = radius + width / 2
        self._pen.ellipse(self._box(x, y, outer, outer), outline=rgb, width=round(width * self._unit))

    def rectangle(self, left: float, top: float, right: float, bottom: float, rgb: Rgb) -> None:
        """Fill a rectangle."""
        half_width, half_height = (right - left) / 2, (bottom - top) / 2
        self._pen.rectangle(self._box(left + half_width, top + half_height, half_width, half_height), fill=rgb)

    def _box(self, x: float, y: float, half_width: float, half_height: float) -> tuple[float, float, float, float]:
        center_x, center_y = self._center[0] + x * self._unit, self._center[1] + y * self._unit
        across, down = half_width * self._unit, half_height * self._unit
        return center_x - across, center_y - down, center_x + across, center_y + down


def _draw_shape(brush: Brush, shape: Shape) -> None:
    if shape.shape == "circle":
        brush.ellipse(0, 0, 1, 1, shape.rgb)
    else:
        brush.polygon(OUTLINES[shape.shape], shape.rgb)


def _draw_face(brush: Brush, face: Face) -> None:
    below = 2.0  # beyond the bottom edge for every place and radius
    brush.ellipse(0, below, 1.3, below - 1.25, CLOTHES)
    if face.long:
        brush.ellipse(0, -0.1, 1.1, 1.02, face.hair_rgb)
        brush.polygon(LONG_HAIR, face.hair_rgb)
    else:
        brush.polygon(SHORT_HAIR, face.hair_rgb)
    brush.rectangle(-0.3, 0.8, 0.3, 1.33, face.skin_rgb)
    brush.ellipse(0, 0.025, 0.92, 1.025, face.skin_rgb)
    brush.polygon(FRINGE, face.hair_rgb)
    for x in (-0.38, 0.38):
        brush.ellipse(x, 0, 0.18, 0.15, EYE_WHITE)
        brush.ellipse(x, 0, 0.1, 0.1, DARK)
        if face.glasses:
            brush.ring(x, 0, 0.32, 0.12, DARK)
    if face.glasses:
        brush.rectangle(-0.12, -0.06, 0.12, 0.06, DARK)
    if face.mouth == "open mouth":
        brush.ellipse(0, 0.62, 0.24, 0.2, LIPS)
    else:
        brush.polygon(SMILE if face.mouth == "smile" else FROWN, LIPS)


def _star() -> Points:
    angles = np.arange(10) * math.pi / 5 - math.pi / 2
    radii = np.where(np.arange(10) % 2 == 0, 1.08, 0.45)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _heart() -> Points:
    turn = np.arange(HEART_POINTS) * 2 * math.pi / HEART_POINTS
    x = 16 * np.sin(turn) ** 3
    y = -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))
    return np.stack([x, y - (y.min() + y.max()) / 2], axis=1) / 16


def _arc(x_radius: float, y_radius: float, y: float, start: float, end: float) -> Points:
    """Points on an ellipse around (0, y); angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, CURVE_POINTS))
    return np.stack([x_radius * np.cos(angles), y + y_radius * np.sin(angles)], axis=1)


def _fringe() -> Points:
    x = np.linspace(0.97, -0.97, CURVE_POINTS)
    hairline = np.stack([x, -0.35 + 0.3 * np.abs(x) ** 3], axis=1)
    return np.concatenate([_arc(1.08, 1.02, -0.1, 180, 360), hairline])


def _smile() -> Points:
    return np.concatenate([_arc(0.45, 0.30, 0.5, 8, 172), _arc(0.31, 0.16, 0.5, 172, 8)])


OUTLINES: dict[str, Points] = {
    "square": np.array([[-0.86, -0.86], [0.86, -0.86], [0.86, 0.86], [-0.86, 0.86]]),
    "triangle": np.array([[0, -1], [0.95, 0.8], [-0.95, 0.8]]),
    "star": _star(),
    "diamond": np.array([[0, -1.05], [0.75, 0], [0, 1.05], [-0.75, 0]]),
    "heart": _heart(),
    "cross": np.array(
        [
            [-0.34, -1], [0.34, -1], [0.34, -0.34], [1, -0.34], [1, 0.34], [0.34, 0.34],
            [0.34, 1], [-0.34, 1], [-0.34, 0.34], [-1, 0.34], [-1, -0.34], [-0.34, -0.34],
        ]
    ),
}  # fmt: skip
"""The outline of every shape but the circle."""

SHORT_HAIR: Points = np.concatenate([_arc(1.1, 1.02, -0.1, 180, 360), np.array([[1.06, 0.45], [-1.06, 0.45]])])
LONG_HAIR: Points = np.concatenate([_arc(1.1, 1.02, -0.1, 180, 360), np.array([[1.22, 1.35], [-1.22, 1.35]])])
FRINGE: Points = _fringe()
SMILE: Points = _smile()
FROWN: Points = _smile() * [1, -1] + [0, 1.26]


def around(x: float, y: float, half: float, size: int) -> np.ndarray:
    """A square hole around a place, in fractions of the side: bool (size, size)."""
    low = np.clip(np.rint((np.array([x, y]) - half) * size), 0, size - 1).astype(int)  # pyright: ignore[reportUnknownMemberType]
    high = np.clip(np.rint((np.array([x, y]) + half) * size), low + 1, size).astype(int)  # pyright: ignore[reportUnknownMemberType]
    mask = np.zeros((size, size), bool)
    mask[low[1] : high[1], low[0] : high[0]] = True
    return mask
