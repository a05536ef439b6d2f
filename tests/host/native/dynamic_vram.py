"""A stand-in for comfy-aimdo, which needs a GPU: Dynamic VRAM of ComfyUI's own on any device of torch's.

ComfyUI's ModelPatcherDynamic, its cast of weights and its manager run as they are. What is ours here is the library
below them: which weights stay on a full card. The rule is simple: a weight that is used comes to the card while there
is room, and takes the room of models that were asked for longer ago; where there is none it is lent for the operation.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

import torch
from torch import Tensor

Allocation = tuple[Any, int, int]  # the model's, its place, its bytes


class Pages:
    """What Dynamic VRAM has on one card, of all models."""

    def __init__(self, device: torch.device, room: Callable[[], int]) -> None:
        self.device = device
        self.room = room  # bytes that are free on the card
        self.models: list[weakref.ref[Any]] = []  # the last asked for is the last
        self.limit: int | None = None  # bytes that pages may take, counted anew after each request

    def used(self) -> int:
        return sum(model.size for model in self.alive())

    def alive(self) -> list[Any]:
        return [model for reference in self.models if (model := reference()) is not None]

    def bring(self, model: Any, size: int) -> bool:
        if self.limit is None:
            self.limit = self.used() + self.room()
        for other in self.alive():
            if other is not model and (missing := self.used() + size - self.limit) > 0:
                other.release(missing)
        return self.used() + size <= self.limit


def install(device: torch.device, room: Callable[[], int]) -> Pages:
    """Turn Dynamic VRAM on, as main.py does where comfy-aimdo has found a GPU; what it has on the card."""
    import comfy.memory_management
    import comfy.model_patcher
    import comfy_aimdo.host_buffer
    import comfy_aimdo.model_vbar
    import comfy_aimdo.torch
    from comfy.cli_args import args

    pages, signatures = Pages(device, room), count(1)

    class ModelVBAR:
        def __init__(self, size: int, device: Any) -> None:
            self.offset = 0
            self.size = 0  # bytes that are there
            self.there: dict[int, tuple[bytes, Tensor]] = {}  # by place: its signature and the memory
            self.pinned: dict[int, int] = {}  # by place: how many use it now
            pages.models.append(weakref.ref(self))

        def alloc(self, size: int) -> Allocation:
            self.offset += size
            return self, self.offset, size

        def prioritize(self) -> None:
            pages.limit = None
            pages.models.sort(key=lambda reference: reference() is self)

        def fault(self, place: int, size: int) -> bytes | None:
            if place not in self.there:
                if not pages.bring(self, size):
                    return None
                memory = torch.empty(size, dtype=torch.uint8, device=pages.device)
                self.there[place] = next(signatures).to_bytes(8), memory
                self.size += size
            self.pinned[place] = self.pinned.get(place, 0) + 1
            return self.there[place][0]

        def unpin(self, place: int, size: int) -> None:
            self.pinned[place] = max(0, self.pinned.get(place, 0) - 1)

        def loaded_size(self) -> int:
            return self.size

        def free_memory(self, size: int) -> int:
            pages.limit = None
            return self.release(size)

        def release(self, size: int) -> int:
            freed = 0
            for place in sorted(self.there, reverse=True):
                if freed < size and not self.pinned.get(place):
                    memory = self.there.pop(place)[1]
                    freed += memory.nbytes
                    with torch.inference_mode():
                        memory.fill_(255)  # what still reads it reads no number
            self.size -= freed
            return freed

    class HostBuffer:
        def __init__(self, *_: Any) -> None:
            self.size = 0

        def truncate(self, *_: Any, **__: Any) -> None:
            pass

    def to_tensor(allocation: Allocation, device: Any) -> Tensor:
        vbar, place, _ = allocation
        return vbar.there[place][1]

    comfy_aimdo.model_vbar.ModelVBAR = ModelVBAR
    comfy_aimdo.torch.aimdo_to_tensor = to_tensor
    comfy_aimdo.host_buffer.HostBuffer = HostBuffer
    args.disable_pinned_memory = True
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True
    return pages
