"""Networks without values, and the tensors of a made-up file, for the tests of layouts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stable_cascade_nodes.cascade_core.files.header import Header, TensorInfo
from stable_cascade_nodes.cascade_core.files.load import build
from stable_cascade_nodes.cascade_core.files.model_part import Part
from stable_cascade_nodes.cascade_core.models.config import PRESETS

Shapes = dict[str, tuple[int, ...]]
FULL_SIZE = [("stage_c", "3.6B"), ("stage_c", "1B"), ("stage_b", "1.5B"), ("stage_b", "700M"), ("stage_a", "published")]
PUBLISHED = [
    *FULL_SIZE,
    ("effnet", "published"),
    ("previewer", "published"),
    ("text_encoder", "published"),
    ("image_encoder", "published"),
]


def part_of(
    kind: str,
    config: Any,
    layout: str = "official",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    prefix: str = "",
) -> Part:
    """A part with tensors of these shapes, named without the prefix."""
    path = Path("file.safetensors")
    infos = {prefix + name: TensorInfo("F32", shape, path) for name, shape in (shapes or {}).items()}
    return Part(Header(path, infos, {}), kind, "custom", config, layout, prefix)


def official_shapes(kind: str, config: Any) -> Shapes:
    """Names and shapes of our own network."""
    return shapes_of(build(part_of(kind, config), "file").state_dict())


def published_shapes(kind: str, preset: str) -> Shapes:
    return official_shapes(kind, PRESETS[kind][preset])


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def random_tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
