"""Photographed faces by InsightFace's networks: SCRFD (det_10g) says where they are, ArcFace (w600k_r50) who they are.

What goes before and after the networks is the official identity filter's: a ControlNet knows faces by the embeddings
that it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import CascadeError
from .files.metadata import PUBLISHED_FAMILY
from .hints import Detector, FoundFace
from .libraries import install_command, missing_packages

Array = np.ndarray[Any, np.dtype[Any]]
Network = Callable[[Array], list[Array]]  # a picture (1, 3, H, W) -> outputs

SIDE = 320  # of the square in which faces are looked for
STRIDES = (8, 16, 32)  # pixels between the anchors of SCRFD's three levels
ANCHORS = 2  # at each place
THRESHOLD = 0.5  # least score of a face
OVERLAP = 0.4  # share of the union up to which two boxes are two faces

CROP = 112  # side of the aligned face
EMBEDDED = 512
LANDMARKS = np.array(  # eyes, nose, corners of the mouth: where ArcFace expects them in its crop, as (x, y)
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def insightface_detector(finder: Path, embedder: Path) -> Detector:
    """A detector from InsightFace's two files, which it reads here, on the CPU.

    Raises CascadeError where a package or a file is missing, or a file is another network.
    """
    check_present(finder, embedder)
    anchors = [ANCHORS * (SIDE // stride) ** 2 for stride in STRIDES]
    found = [(count, values) for values in (1, 4, 10) for count in anchors]
    return _InsightFace(
        _load(finder, "SCRFD's det_10g", SIDE, found), _load(embedder, "ArcFace's w600k_r50", CROP, [(1, EMBEDDED)])
    )


class _InsightFace:
    name, family, width = "insightface", PUBLISHED_FAMILY, 512

    def __init__(self, find: Network, embed: Network) -> None:
        self._find = find
        self._embed = embed

    def detect(self, picture: Tensor) -> list[FoundFace]:
        """Faces in a picture (3, H, W) in 0..1, the surest first; their boxes end at whole pixels."""
        levels = (picture.detach().clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        square, scale = letterbox(levels)
        boxes, landmarks = decode(self._find(_network_input(square, 128.0)), scale)
        faces: list[FoundFace] = []
        for box, points in zip(boxes, landmarks, strict=True):
            left, top, right, bottom = (float(int(edge)) for edge in box)
            faces.append(FoundFace((left, top, right, bottom), self._embedding(aligned(levels, points))))
        return faces

    def _embedding(self, crop: Array) -> Tensor:
        return F.normalize(torch.from_numpy(self._embed(_network_input(crop, 127.5))[0][0]).float(), dim=0)  # pyright: ignore[reportUnknownMemberType]


def letterbox(levels: Array) -> tuple[Array, float]:
    """A picture (H, W, 3) in the top left of a black square, as large as it fits; and the factor of its size."""
    import cv2

    height, width = levels.shape[:2]
    ratio = height / width
    new_height, new_width = (SIDE, int(SIDE / ratio)) if ratio > 1 else (int(SIDE * ratio), SIDE)
    new_height, new_width = max(new_height, 1), max(new_width, 1)
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    square[:new_height, :new_width] = cv2.resize(levels, (new_width, new_height))
    return square, new_height / height


def decode(outputs: list[Array], scale: float) -> tuple[Array, Array]:
    """SCRFD's nine outputs -> boxes (N, 4) and landmarks (N, 5, 2) in pixels of the picture, the surest first.

    The levels' scores (K, 1), then distances of the boxes' sides (K, 4), then of the landmarks (K, 10), in strides from
    the anchors.
    """
    scores = np.concatenate([output.reshape(-1) for output in outputs[:3]])  # pyright: ignore[reportUnknownMemberType]
    sides = np.concatenate([output.reshape(-1, 4) * s for output, s in zip(outputs[3:6], STRIDES, strict=True)])  # pyright: ignore[reportUnknownMemberType]
    points = np.concatenate([output.reshape(-1, 5, 2) * s for output, s in zip(outputs[6:], STRIDES, strict=True)])  # pyright: ignore[reportUnknownMemberType]
    sure = np.flatnonzero(scores >= THRESHOLD)
    sure = sure[np.argsort(-scores[sure], kind="stable")]
    anchors = np.concatenate([_anchors(stride) for stride in STRIDES])[sure]
    boxes = np.concatenate([anchors - sides[sure, :2], anchors + sides[sure, 2:]], axis=1) / scale
    kept = distinct(boxes)
    return boxes[kept], (anchors[:, None] + points[sure])[kept] / scale


def distinct(boxes: Array) -> list[int]:
    """Which boxes (N, 4) remain when each suppresses those after it that overlap it by more than OVERLAP."""
    size = boxes[:, 2:] - boxes[:, :2] + 1  # both ends are pixels of the box
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        first, left = left[0], left[1:]
        kept.append(int(first))
        low = np.maximum(boxes[first, :2], boxes[left, :2])
        high = np.minimum(boxes[first, 2:], boxes[left, 2:])
        shared = np.maximum(high - low + 1, 0).prod(axis=1)
        left = left[shared / (size[first].prod() + size[left].prod(axis=1) - shared) <= OVERLAP]
    return kept


def aligned(levels: Array, landmarks: Array) -> Array:
    """The face of a picture (H, W, 3), turned, scaled and moved so that its landmarks (5, 2) fit LANDMARKS."""
    import cv2

    return cv2.warpAffine(levels, similarity(landmarks, LANDMARKS), (CROP, CROP))


def similarity(points: Array, targets: Array) -> Array:
    """The matrix (2, 3) that turns, scales and moves points (N, 2) to where they lie closest to the targets."""
    around, wanted = points - points.mean(axis=0), targets - targets.mean(axis=0)
    spread = (around**2).sum() or 1.0  # points all at one place: nothing to turn or scale
    along = (around * wanted).sum() / spread
    across = (around[:, 0] * wanted[:, 1] - around[:, 1] * wanted[:, 0]).sum() / spread
    turned = np.array([[along, -across], [across, along]])
    return np.column_stack([turned, targets.mean(axis=0) - turned @ points.mean(axis=0)])


def _anchors(stride: int) -> Array:
    """Places (x, y) of a level's anchors, row by row: (K, 2)."""
    steps = np.arange(0, SIDE, stride, dtype=np.float32)
    places = np.column_stack([np.tile(steps, len(steps)), np.repeat(steps, len(steps))])
    return places.repeat(ANCHORS, axis=0)


def _network_input(levels: Array, half: float) -> Array:
    """(H, W, 3) RGB in 0..255 -> (1, 3, H, W) about -1..1."""
    return np.moveaxis((levels.astype(np.float32) - 127.5) / half, -1, 0)[None]


def _load(file: Path, what: str, side: int, shapes: list[tuple[int, int]]) -> Network:
    """The network of a file, tried once on a grey picture.

    Raises CascadeError if it does not answer with these shapes (a leading 1 aside).
    """
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    def run(picture: Array) -> list[Array]:
        return session.run(None, {session.get_inputs()[0].name: picture})

    try:
        session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        answered = [output.shape for output in run(np.zeros((1, 3, side, side), np.float32))]
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise CascadeError(f"{file} is not {what}, or it is damaged: copy it here again ({error})") from error
    if [shape[-2:] for shape in answered] != shapes:
        raise CascadeError(f"{file} is not {what}: expected outputs {shapes}, found {answered}; exchange the file")
    return run


def check_present(finder: Path, embedder: Path) -> None:
    """CascadeError where packages or these files are missing: one message for all of it."""
    packages = missing_packages("cv2", "onnxruntime")
    missing = [str(file) for file in (finder, embedder) if not file.is_file()]
    wanted: list[str] = []
    if packages:
        wanted.append(f"packages ({install_command(*packages)})")
    if missing:
        wanted.append(
            f"{' and '.join(missing)} (of buffalo_l, a model pack of https://github.com/deepinsight/insightface; its"
            " licence allows non-commercial research only, so fetch it yourself)"
        )
    if wanted:
        raise CascadeError(f"The face detector insightface misses {', and '.join(wanted)}")
