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


def content_of(file: Published) -> Content:
    precision = "bfloat16" if file.kind == "controlnet" else file.precision
    return content(file.kind, file.preset, precision)
