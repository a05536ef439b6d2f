"""Recognising one shape of the picture world from how much of each pixel it covers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...cascade_core.builtin.draw import draw
from ...cascade_core.builtin.world import SHAPES, one_shape

TEMPLATE_SIZE = 192
TEMPLATE_SHAPE_RADIUS = 0.24


@dataclass(frozen=True)
class ShapeFit:
    """The shape that fits best, its centre and radius in pixels, and its overlap (intersection over union, 0 to 1)."""

    shape: str
    x: float
    y: float
    r: float
    overlap: float


@dataclass(frozen=True)
class _Template:
    """A shape's coverage on a grid of unit radius, with its area and centroid in units of the radius."""

    shape: str
    coverage: np.ndarray
    area: float
    x: float
    y: float


def fit_shape(coverage: np.ndarray) -> ShapeFit:
    """The best of all shapes for a coverage (H, W) from 0 to 1 that is not all zero.

    Area and centroid give each template's radius and centre: unlike a bounding box they survive blur and specks.
    """
    rows, columns = np.nonzero(coverage > 0)
    top, left = max(rows.min() - 3, 0), max(columns.min() - 3, 0)
    window = coverage[top : rows.max() + 4, left : columns.max() + 4]
    y, x = np.mgrid[: window.shape[0], : window.shape[1]] + 0.5
    area = float(window.sum())
    center_x, center_y = float((x * window).sum()) / area, float((y * window).sum()) / area
    fits: list[ShapeFit] = []
    for template in _templates():
        r = float(np.sqrt(area / template.area))
        shape_x, shape_y = center_x - template.x * r, center_y - template.y * r
        expected = _sampled(template, (x - shape_x) / r, (y - shape_y) / r)
        overlap = float(np.minimum(window, expected).sum() / np.maximum(window, expected).sum())
        fits.append(ShapeFit(template.shape, shape_x + float(left), shape_y + float(top), r, overlap))
    return max(fits, key=lambda fit: fit.overlap)


def _sampled(template: _Template, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The template's coverage at places given in units of the radius around its centre."""
    scale = TEMPLATE_SIZE * TEMPLATE_SHAPE_RADIUS
    column = (x * scale + TEMPLATE_SIZE / 2).clip(0, TEMPLATE_SIZE - 1).astype(np.intp)
    row = (y * scale + TEMPLATE_SIZE / 2).clip(0, TEMPLATE_SIZE - 1).astype(np.intp)
    return template.coverage[row, column]


@lru_cache(maxsize=1)
def _templates() -> tuple[_Template, ...]:
    unit = 1 / (TEMPLATE_SIZE * TEMPLATE_SHAPE_RADIUS)
    y, x = (np.mgrid[:TEMPLATE_SIZE, :TEMPLATE_SIZE] + 0.5 - TEMPLATE_SIZE / 2) * unit
    templates: list[_Template] = []
    for shape in SHAPES:
        picture = np.asarray(draw(one_shape("black", shape, "large", "center", "white"), TEMPLATE_SIZE), np.float32)
        red = picture[..., 0]
        coverage = (red.max() - red) / (red.max() - red.min())
        total = float(coverage.sum())
        centroid = float((x * coverage).sum()) / total, float((y * coverage).sum()) / total
        templates.append(_Template(shape, coverage, total * unit * unit, *centroid))
    return tuple(templates)
