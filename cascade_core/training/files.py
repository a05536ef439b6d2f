"""Text and tensors that a training keeps: there whole or not at all, even when the power fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..files.atomic import durable
from ..files.dtypes import NAMES
from ..files.tensors import write_tensors


def write_state(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file of these tensors, each in its own type; equal tensors make equal files."""
    specs = {name: (NAMES[tensors[name].dtype], tuple(tensors[name].shape)) for name in sorted(tensors)}
    with durable(path) as temporary:
        write_tensors(temporary, specs, lambda names: ([tensors[name]] for name in names), metadata)


def write_text(path: Path, text: str) -> None:
    with durable(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
