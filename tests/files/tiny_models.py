"""Networks of the tiny presets, with random values, and files of them that are changed."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from stable_cascade_nodes.cascade_core.files.header import read_header
from stable_cascade_nodes.cascade_core.kinds import KINDS
from stable_cascade_nodes.cascade_core.models.config import PRESETS

WORDS = ["a", "red", "circle"]
CLASSES: dict[str, Any] = {
    kind: KINDS[kind].network_class()
    for kind in ("stage_c", "stage_b", "stage_a", "effnet", "previewer", "image_encoder")
}


def tiny(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return CLASSES[kind](PRESETS[kind]["tiny"])


def rewrite(source: Path, target: Path, change: Any) -> Path:
    """A copy of a safetensors file after `change(tensors)`."""
    tensors = load_file(source)
    change(tensors)
    save_file(tensors, target, dict(read_header(source).metadata))
    return target
