"""Where a model is computed, and which model may stay there.

A `Placement` is asked for a module immediately before each use and answers with the device on which
the module then lies. It knows modules and devices only: no files, no handles, no host. ComfyUI's own
memory manager stands behind the same protocol in the nodes.
"""

import math
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .wording import size_in_words

SMALL = 128 * 2**20  # bytes; Stage A, the effnet and the previewer are below, every diffusion model is far above


class Placement(Protocol):
    def acquire(self, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        """Make `module` ready to compute, with room for `activation_bytes` beside it, and say where."""
        ...


class StayPut:
    """The module computes where it lies."""

    def acquire(self, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        return next(_tensors(module)).device


class Beside:
    """For a second module over the tensors of `base`, which brings them; what is the second's own follows them."""

    def __init__(self, placement: Placement, base: nn.Module) -> None:
        self.placement, self.base = placement, base
        self._where: WeakKeyDictionary[nn.Module, torch.device] = WeakKeyDictionary()  # it lies there, wholly

    def acquire(self, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        device = self.placement.acquire(self.base, activation_bytes)
        if self._where.get(module) == device:
            return device  # as in every step but a run's first
        with torch.inference_mode(False), torch.no_grad():
            for tensor in _tensors(module):
                if tensor.device != device:
                    tensor.data = tensor.data.to(device)
        self._where[module] = device
        return device


class WhenUsed:
    """For a module on the meta device, whose weights `read` puts into it when it is first used.

    What nothing uses, such as the text encoder of a checkpoint that is loaded for its diffusion model, costs no memory.
    """

    def __init__(self, read: Callable[[nn.Module], None], placement: Placement) -> None:
        self.placement = placement
        self._read: Callable[[nn.Module], None] | None = read

    def acquire(self, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        self.read(module)
        return self.placement.acquire(module, activation_bytes)

    def read(self, module: nn.Module) -> None:
        """The weights are in the module from here on."""
        if self._read is not None:
            self._read(module)
            self._read = None


def behind(placement: Placement) -> Placement:
    """The placement that brings a module, once its weights are read."""
    return placement.placement if isinstance(placement, WhenUsed) else placement


class OneAtATime:
    """One large model on `device` at a time; the others wait where they were loaded.

    Small parts stay on the device once they are there: a previewer works between the steps of Stage C,
    and neither may push out the other. Weights that are not being trained are not copied back: their
    home tensors (often pages of the file itself) were kept.
    """

    def __init__(self, device: torch.device, small: int = SMALL) -> None:
        self.device = device
        self.small = small
        self._homes: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}  # (tensor of the module, its data at home)
        self._kept: frozenset[nn.Module] = frozenset()

    @contextmanager
    def together(self, *modules: nn.Module) -> Generator[None]:
        """In here none of these is sent away: for models that compute in turns, or in one graph of gradients."""
        before = self._kept
        self._kept = before | {*modules}
        try:
            yield
        finally:
            self._kept = before

    def acquire(self, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        if module not in self._homes:
            # Moving under inference_mode would make inference tensors, which can never be trained.
            with torch.inference_mode(False), torch.no_grad():
                for other in [m for m in self._homes if _size(m) > self.small and m not in self._kept]:
                    if _size(module) > self.small:
                        self._send_home(other)
                self._bring(module)
        return self.device

    def _bring(self, module: nn.Module) -> None:
        self._homes[module] = [(tensor, tensor.data) for tensor in _tensors(module)]
        try:
            for tensor, home in self._homes[module]:
                tensor.data = home.to(self.device, copy=True)
        except BaseException:  # out of memory, or Ctrl-C: half a model on the device helps nobody
            self._send_home(module)
            raise

    def _send_home(self, module: nn.Module) -> None:
        for tensor, home in self._homes.pop(module):
            if tensor.requires_grad or module.training:
                home.copy_(tensor.data)
            tensor.data = home
        if self.device.type in ("cuda", "xpu", "mps"):
            getattr(torch, self.device.type).empty_cache()


def is_short(device: torch.device, needed: int) -> bool:
    """Whether a computation would take more than half of the device's memory: the other half is for weights.

    Of all its memory, not of what is free at the moment: the same picture is computed the same way on every day, and
    whoever manages the memory can free what others hold.
    """
    return needed > total_bytes(device) / 2


def total_bytes(device: torch.device) -> float:
    """The memory of a device; infinite where nobody says."""
    if device.type in ("cuda", "xpu"):
        return getattr(torch, device.type).get_device_properties(device).total_memory
    if device.type in ("cpu", "mps") and hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return math.inf


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _size(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in _tensors(module))


def most_memory() -> str:
    """The most memory that this process had so far, and on a GPU its tensors, in words; empty where nobody knows."""
    told: list[str] = []
    if find_spec("resource"):
        resource: Any = import_module("resource")
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        told.append(f"{size_in_words(used)} of this process")
    if torch.cuda.is_available():
        told.append(f"{size_in_words(torch.cuda.max_memory_allocated())} on the GPU")
    return ", ".join(told)
