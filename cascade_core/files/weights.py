"""A file's tensors to a network's: its pages as they are where they can serve, else copies; quantised where wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from ..models.blocks import large_weights
from ..models.linear import hold
from ..models.quantised import Quantised, Rotations, group_of, quantise
from .dtypes import TYPES
from .header import open_tensors
from .layouts import Source
from .model_part import Part
from .tensors import read_pieces


class WeightReader:
    """Reads the weights of one part, as `dtype`.

    name: one of kinds.QUANTISED_NAMES, as which large weights are kept that are not quantised in the file; None keeps
    them whole. worker: the device that quantises them.
    """

    def __init__(self, part: Part, dtype: torch.dtype, name: str | None, worker: torch.device) -> None:
        self.part, self.dtype, self.name = part, dtype, name
        self.worker = worker if worker.type == "cuda" else torch.device("cpu")  # others lack some of the operations

    def read(self, module: nn.Module, sources: Mapping[str, Source], device: torch.device) -> dict[str, Tensor]:
        """The tensors of `module`, which holds quantised weights from here on, as its `load_state_dict` takes them."""
        # A group is the largest that fits, so that the same sizes come back, and one matrix serves all of a size.
        rotations = Rotations(self.dtype, device)
        large = set(large_weights(module))
        stored = {name: source for name, source in sources.items() if name in large and self._is_stored(source)}
        made = {
            name: source
            for name, source in sources.items()
            if self.name and name in large and name not in stored and group_of(self._shape(source)[1])
        }
        tensors = self._read_whole({k: v for k, v in sources.items() if k not in stored and k not in made}, device)
        with open_tensors(self.part.header.as_stored()) as get:
            for name, source in stored.items():
                layers = [self.part.header.quantised[one].read(get, rotations) for one in source.names]
                tensors |= _put(module, name, layers, device)
        for (name, _), pieces in zip(made.items(), read_pieces(self.part.header, made.values()), strict=True):
            assert self.name
            whole = torch.cat([piece.to(self.worker, torch.float32) for piece in pieces])
            tensors |= _put(module, name, [quantise(whole, self.name, rotations)], device)
        return tensors

    def _is_stored(self, source: Source) -> bool:
        """Is it quantised in the file, in one format?"""
        layers = [self.part.header.quantised.get(name) for name in source.names]
        alike = {None if layer is None else (layer.format, layer.group) for layer in layers}
        return len(alike) == 1 and None not in alike and source.rows[1] == 1 and not source.transposed

    def _shape(self, source: Source) -> Sequence[int]:
        return source.shape({stored: self.part.header.tensors[stored].shape for stored in source.names})

    def _read_whole(self, sources: Mapping[str, Source], device: torch.device) -> dict[str, Tensor]:
        """The file's pages where they can serve as they are, else copies as `dtype` on `device`.

        Copies are made one by one, so that no second model lies in memory, and in one block: of many small pieces of
        memory the system would keep some when they are freed.
        """
        header = self.part.header
        kept = {
            name: source
            for name, source in sources.items()
            if len(source.names) == 1
            and not source.transposed
            and source.names[0] not in header.quantised
            and not _differs(header.tensors[source.names[0]].dtype, self.dtype)
        }
        copied = {name: source for name, source in sources.items() if name not in kept}
        shapes = {name: self._shape(source) for name, source in copied.items()}
        block = torch.empty(sum(_aligned(prod(shape)) for shape in shapes.values()), dtype=self.dtype, device=device)
        tensors: dict[str, Tensor] = {}
        start = 0
        for (name, shape), pieces in zip(shapes.items(), read_pieces(header, copied.values()), strict=True):
            tensors[name] = block[start : start + prod(shape)].view(*shape)
            start += _aligned(prod(shape))
            targets = tensors[name].chunk(len(pieces)) if len(pieces) > 1 else (tensors[name],)
            for target, piece in zip(targets, pieces, strict=True):
                target.copy_(piece)
        with open_tensors(header) as get:
            for name, source in kept.items():
                (tensors[name],) = source.pieces(get)
        return tensors


def _put(module: nn.Module, name: str, parts: Sequence[Quantised], device: torch.device) -> dict[str, Tensor]:
    """Have the module hold these weights as one, on `device`; its tensors, by their names in the module."""
    whole = parts[0] if len(parts) == 1 else parts[0].stack(parts)
    whole = whole.to(device)
    hold(module, name, whole)
    return {f"{name}.{field}": tensor for field, tensor in whole.tensors().items()}


def _differs(stored: str, dtype: torch.dtype) -> bool:
    """Is safetensors' type `stored` a floating one other than `dtype`? Whole numbers stay what they are."""
    return TYPES[stored].is_floating_point and TYPES[stored] != dtype


def _aligned(elements: int) -> int:
    """Rounded up so that what comes next begins at a multiple of 64 bytes, whatever the type."""
    return -(-elements // 64) * 64
