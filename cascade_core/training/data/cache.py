"""A folder of what frozen networks compute of the pictures and captions, once.

An entry is a safetensors file that is there whole or not at all. Its name says what it is computed from and by which
weights, so that nothing stale is ever read and a folder may serve any number of runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]  (half typed)
from torch import Tensor, nn

from ...files.save import save_tensors
from ...reading import open_file

Entry = dict[str, Tensor]
SAMPLES = 64  # values of each tensor that go into a network's fingerprint


class Cache:
    """`remade` counts the entries that were there and of no use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remade = 0

    def get(self, key: str) -> Entry:
        """An entry that `fill` made; its tensors are copies of their own."""
        return {name: tensor.clone() for name, tensor in load_file(self._path(key)).items()}

    def fill(self, key: str, make: Callable[[], Entry]) -> None:
        """Compute the entry if it is not there, or damaged, or has numbers that are not finite."""
        path = self._path(key)
        try:
            open_file(path).close()  # a pipe would never end
            if all(bool(tensor.isfinite().all()) for tensor in load_file(path).values()):
                return
            self.remade += 1
        except FileNotFoundError:
            pass
        except (OSError, SafetensorError):
            self.remade += 1
        save_tensors(path, make(), {})

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def key_of(*parts: object) -> str:
    """A key that is another for any other parts."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


@torch.no_grad()
def fingerprint(module: nn.Module) -> str:
    """A digest of a network's weights: of every name, shape and type, and of some values of each tensor.

    Reading all of them would take minutes for the large ones, whose pages are still on the disk.
    """
    content = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        chosen = flat[:: max(1, flat.numel() // SAMPLES)].double().cpu()
        content.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        content.update(chosen.numpy().tobytes())
    return content.hexdigest()[:16]
