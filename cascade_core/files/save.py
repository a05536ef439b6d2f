"""Models to files: safetensors, with all that `load` needs to know in the metadata; and tensors by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from ..models.handle import Target
from ..models.linear import Held
from .atomic import durable, whole
from .dtypes import DTYPES, NAMES
from .metadata import METADATA_KEY, PUBLISHED_FAMILY, Entry, write_entry
from .tensors import write_tensors


def save(
    path: str | os.PathLike[str],
    module: nn.Module,
    kind: str,
    *,
    family: str = PUBLISHED_FAMILY,
    target: Target = "epsilon",
    x0_clamp: float | None = None,
    vocabulary: Sequence[str] | None = None,
    dtype: str | None = None,
) -> None:
    """Write `module`, a network of this kind with its `config`; the file appears whole or not at all.

    vocabulary: a text encoder's own words. dtype: "float32", "bfloat16" or "float16", for what is floating point; None
    keeps what there is. Raises CascadeError where the file cannot be written.
    """
    config: Any = module.config
    words = None if vocabulary is None else tuple(vocabulary)
    entry = write_entry(Entry(kind, config, family, target, x0_clamp, words))
    state = _decoded(module)
    specs = {
        name: (NAMES[DTYPES[dtype] if dtype and tensor.is_floating_point() else tensor.dtype], tuple(tensor.shape))
        for name, tensor in state.items()
    }
    metadata = {"format": "pt", METADATA_KEY: entry}
    with whole(Path(path)) as temporary:
        write_tensors(temporary, specs, lambda names: ([state[name]] for name in names), metadata)


def _decoded(module: nn.Module) -> dict[str, Tensor]:
    """The module's tensors by name, quantised weights as what they stand for."""
    state: dict[str, Tensor] = module.state_dict()
    for path, child in cast(Iterable[tuple[str, nn.Module]], module.named_modules()):
        if isinstance(child, Held):
            state = {name: tensor for name, tensor in state.items() if not name.startswith(f"{path}.")}
            state[path] = child.value().float().to(child.dtype)
    return state


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write these tensors, each in its own type, whole even when the power fails; equal tensors make equal files."""
    specs = {name: (NAMES[tensors[name].dtype], tuple(tensors[name].shape)) for name in sorted(tensors)}
    with durable(path) as temporary:
        write_tensors(temporary, specs, lambda names: ([tensors[name]] for name in names), metadata)
