"""Made-up headers of files that nobody has to download, and what is said of one that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.header import Header, TensorInfo, read_header
from stable_cascade_nodes.cascade_core.files.identify import find_parts
from stable_cascade_nodes.cascade_core.files.layouts import from_official

from .networks import Shapes, published_shapes

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4, dtype=torch.float16)}


@cache
def shapes(kind: str, preset: str = "published", layout: str = "official") -> Shapes:
    """A published network's tensors in a layout."""
    ours = published_shapes(kind, preset)
    return {name: source.shape(ours) for name, source in from_official(kind, layout, ours).items()}


def behind(prefix: str, tensors: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in tensors.items()}


def header_of(tensors: Mapping[str, Any], dtype: str = "BF16", metadata: Mapping[str, str] | None = None) -> Header:
    path = Path("file")
    infos = {name: TensorInfo(dtype, tuple(shape), path) for name, shape in tensors.items()}
    return Header(path, infos, metadata or {})


def refusal_to_read(path: Path) -> str:
    """The one sentence about a file that cannot be used."""
    with pytest.raises(CascadeError) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(path.name) and "\n" not in message
    return message


def refusal(tensors: Mapping[str, Any], error: type[CascadeError] = CascadeError) -> str:
    with pytest.raises(error) as caught:
        find_parts(header_of(tensors))
    assert type(caught.value) is error
    message = str(caught.value)
    assert message.startswith("file ") and "\n" not in message
    return message
