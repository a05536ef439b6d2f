"""Connected parts of a mask, by OpenCV."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

CV: Any = cv2  # half typed
SQUARE = np.ones((3, 3), np.uint8)
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def components(mask: np.ndarray, smallest: int) -> list[np.ndarray]:
    """The 4-connected parts of a boolean mask (H, W) with at least ``smallest`` pixels, as masks, largest first.

    Parts that touch only by a bridge or tip up to two pixels wide count as separate.
    """
    # Labels are given to the mask's core, so that thin bridges part, and then grow back over what was cut off.
    _, labels = CV.connectedComponents(CV.erode(mask.astype(np.uint8), SQUARE), connectivity=4, ltype=CV.CV_16U)
    for _ in range(2):
        labels = np.where((labels == 0) & mask, CV.dilate(labels, CROSS), labels)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return [labels == label for label in np.argsort(-sizes, kind="stable") if sizes[label] >= smallest]


def dilate(mask: np.ndarray, steps: int) -> np.ndarray:
    """The mask widened by ``steps`` pixels in all eight directions."""
    return CV.dilate(mask.astype(np.uint8), SQUARE, iterations=steps).astype(bool)
