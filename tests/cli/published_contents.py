"""What is published, as far as a header tells: contents of full size, all zeros, for the stand-in of the hub."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from stable_cascade_nodes.cascade_core.files.published import FILES, Published
from stable_cascade_nodes.cascade_core.kinds import KINDS
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.tokenizer import WordTokenizer

from .fake_hub import Content

TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}
NAMES = {file.label: file for file in FILES}
STAGE_A, PREVIEWER, EFFNET = (NAMES[f"vae/{name}.safetensors"] for name in ("stage_a", "previewer", "effnet_encoder"))
TEXT_ENCODER = NAMES["text_encoders/model.bf16.safetensors"]


@cache
def content(kind: str, preset: str, precision: str | None = None) -> Content:
    """What is published as this, of zeros."""
    extra = (WordTokenizer(("a",), 77),) if kind == "text_encoder" else ()
    with torch.device("meta"):
        cls: Any = KINDS[kind].network_class()
        network = cls(PRESETS[kind][preset], *extra)
    if precision == "bfloat16":
        network = network.to(torch.bfloat16)
    return Content.zeros({key: (TYPES[tensor.dtype], tensor.shape) for key, tensor in network.state_dict().items()})


@cache
def controlnet(mode: str) -> Content:
    """A ControlNet as far as it tells its mode."""
    first = {"canny": (24, 1, 3, 3), "inpainting": (24, 4, 3, 3), "super_resolution": (16384, 16, 1, 1)}[mode]
    if mode == "super_resolution":
        shapes = {"backbone.0.weight": first, "backbone.10.blocks.0.weight": (1024,)}
    else:
        shapes = {"backbone.0.0.weight": first, "backbone.1.0.block.0.1.running_mean": (24,)}
    shapes |= {"projections.0.0.weight": (1280, 1280, 1, 1), "projections.0.2.weight": (2048, 1280, 1, 1)}
    return Content.zeros({name: ("BF16", shape) for name, shape in shapes.items()})


def content_of(file: Published) -> Content:
    if file.kind == "controlnet":
        return controlnet(file.preset)
    return content(file.kind, file.preset, file.precision)
