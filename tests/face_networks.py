"""Small networks with the inputs and outputs of InsightFace's det_10g and w600k_r50, whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
SIDE = 320
OUTPUTS = [f"{what}_{stride}" for what in ("scores", "boxes", "landmarks") for stride in STRIDES]
WIDTHS = {"scores": 1, "boxes": 4, "landmarks": 10}
UPRIGHT = ((-10.0, -10.0), (10.0, -10.0), (0.0, 0.0), (-8.0, 10.0), (8.0, 10.0))  # eyes, nose, mouth about its nose


@dataclass(frozen=True)
class Answer:
    """A face that a detector claims to see, in pixels of its 320 x 320 square."""

    box: tuple[float, float, float, float]
    score: float = 0.9
    landmarks: Sequence[Sequence[float]] | None = None  # None: UPRIGHT about the box's middle
    stride: int = 8
    anchor: int = 0  # which of the two at the place


def write_answering_detector(file: Path, answers: Sequence[Answer]) -> Path:
    """A detector that says the same of every picture."""
    values = {
        f"{what}_{stride}": np.zeros((2 * (SIDE // stride) ** 2, width), np.float32)
        for what, width in WIDTHS.items()
        for stride in STRIDES
    }
    for answer in answers:
        left, top, right, bottom = answer.box
        across, down = (left + right) / 2, (top + bottom) / 2
        landmarks = answer.landmarks or [(across + x, down + y) for x, y in UPRIGHT]
        column, row = int(across // answer.stride), int(down // answer.stride)
        x, y = column * answer.stride, row * answer.stride
        index = (row * (SIDE // answer.stride) + column) * 2 + answer.anchor
        values[f"scores_{answer.stride}"][index] = answer.score
        values[f"boxes_{answer.stride}"][index] = np.array([x - left, y - top, right - x, bottom - y]) / answer.stride
        values[f"landmarks_{answer.stride}"][index] = (np.array(landmarks) - (x, y)).ravel() / answer.stride
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in OUTPUTS]
    return _write(file, nodes, OUTPUTS, {f"{name}_value": value for name, value in values.items()})


def write_seeing_detector(file: Path, filters: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> Path:
    """A detector of one convolution at each stride, with weights (30, 3, stride, stride) and biases (30).

    Of 2 x 15 channels the first of 15 is the score, before the sigmoid; then come a box and landmarks, in strides.
    """
    nodes: list[onnx.NodeProto] = []
    values: dict[str, np.ndarray] = {"rows": np.array([-1, 15]), "widths": np.array([1, 4, 10])}
    for s in STRIDES:
        values[f"weight_{s}"], values[f"bias_{s}"] = (part.astype(np.float32) for part in filters[s])
        nodes += [
            helper.make_node("Conv", ["picture", f"weight_{s}", f"bias_{s}"], [f"map_{s}"], strides=[s, s]),
            helper.make_node("Transpose", [f"map_{s}"], [f"last_{s}"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"last_{s}", "rows"], [f"anchors_{s}"]),
            helper.make_node(
                "Split", [f"anchors_{s}", "widths"], [f"logits_{s}", f"boxes_{s}", f"landmarks_{s}"], axis=1
            ),
            helper.make_node("Sigmoid", [f"logits_{s}"], [f"scores_{s}"]),
        ]
    return _write(file, nodes, OUTPUTS, values)


def red_filters() -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """For write_seeing_detector: a face is where a cell of stride 16 is pure red, in a box of 32 pixels about it."""
    filters = {s: (np.zeros((30, 3, s, s)), np.zeros(30)) for s in STRIDES}
    for _, bias in filters.values():
        bias[[0, 15]] = -100
    weight, bias = filters[16]
    for channel, sign in enumerate((1, -1, -1)):  # red alone makes 3 of them, less 2.5
        weight[0, channel] = sign * 100 / 16**2
    bias[0] = -250
    bias[1:5] = (0.5, 0.5, 1.5, 1.5)
    bias[5:15] = (np.array(UPRIGHT) / 16 + 0.5).ravel()
    return filters


def white_filters(least: float, most: float) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """For write_seeing_detector: faces are everywhere if the network is given white as a number within these bounds.

    One of them is infinite.
    """
    filters = {s: (np.zeros((30, 3, s, s)), np.full(30, -100.0)) for s in STRIDES}
    weight, bias = filters[32]
    sign = 1 if most == np.inf else -1
    weight[0] = sign * 1e4 / (3 * 32**2)
    bias[0] = -sign * 1e4 * (least if sign > 0 else most)
    bias[1:15] = 1
    return filters


def random_filters(seed: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """For write_seeing_detector: dozens of overlapping faces in a noisy picture."""
    generator = np.random.default_rng(seed)
    filters: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for s in STRIDES:
        weight = generator.normal(size=(30, 3, s, s)) / s
        bias = generator.normal(size=30) * 0.2
        for first in (0, 15):
            weight[first] -= weight[first].mean()  # nothing is seen in plain black, where all scores would be the same
            bias[first] = -1.0
            bias[first + 1 : first + 5] = 2.5
            bias[first + 5 : first + 15] += (np.array(UPRIGHT) / 8).ravel()
        filters[s] = weight, bias
    return filters


def write_embedder(file: Path, weight: np.ndarray, bias: float = 0) -> Path:
    """An embedder of one convolution with weights (C, 3, k, k) at stride k: C x (112 / k) x (112 / k) = 512 values."""
    nodes = [
        helper.make_node("Conv", ["picture", "weight", "bias"], ["map"], strides=list(weight.shape[2:])),
        helper.make_node("Reshape", ["map", "row"], ["embedding"]),
    ]
    values = {"weight": weight.astype(np.float32), "bias": np.full(len(weight), bias, np.float32)}
    return _write(file, nodes, ["embedding"], {**values, "row": np.array([1, -1])}, side=112)


def thumbnail_filters() -> np.ndarray:
    """For write_embedder: red and blue of the crop in 16 x 16 fields."""
    weight = np.zeros((2, 3, 7, 7))
    weight[0, 0] = weight[1, 2] = 1 / 49
    return weight


def _write(
    file: Path,
    nodes: list[onnx.NodeProto],
    outputs: Sequence[str],
    values: Mapping[str, np.ndarray],
    side: int | None = None,
) -> Path:
    """A graph from `picture` (1, 3, H, W), of any size where `side` is None, to these outputs."""
    shape = [1, 3, side or "height", side or "width"]
    graph = helper.make_graph(
        nodes,
        "faces",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), file)
    return file
