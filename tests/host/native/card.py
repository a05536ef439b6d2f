"""A stand-in for a GPU: torch's meta device with a size, and native models on it.

What lies there has no values, so nothing that is computed means anything, and nothing is measured of a real GPU. The
manager takes it for one, since it is not the CPU and its memory runs out; what it decides and moves, and so which of
our tensors lie where, is its own doing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

CARD = torch.device("meta")


class Card:
    """What the manager sees of the stand-in: its free memory, from what of `models` really lies on it."""

    def __init__(self, manager: Any) -> None:
        self.size = 0
        self.models: list[weakref.ref[nn.Module]] = []
        self.requests: list[int] = []
        self.pages: Callable[[], int] = lambda: 0  # bytes that Dynamic VRAM has on it (dynamic_vram.py)
        manager.get_torch_device = lambda: CARD
        manager.get_free_memory = self.free
        manager.vram_state = manager.VRAMState.NORMAL_VRAM
        self._load = manager.load_models_gpu
        manager.load_models_gpu = self.load
        nn.Module.to = self.move

    def watch(self, model: nn.Module) -> None:
        self.models.append(weakref.ref(model))

    def used(self) -> int:
        alive = (model for reference in self.models if (model := reference()) is not None)
        return sum(on_card(model) for model in alive) + self.pages()

    def free(self, device: Any = None, torch_free_too: bool = False) -> Any:
        free = self.size - self.used() if device in (None, CARD) else 2**40
        return (free, 0) if torch_free_too else free

    def load(self, models: Any, memory_required: int = 0, **options: Any) -> None:
        self.requests.append(memory_required)
        self._load(models, memory_required=memory_required, **options)

    @staticmethod
    def move(module: nn.Module, device: Any) -> nn.Module:
        """As torch's own, which cannot bring back what lies on the meta device."""
        device = torch.device(device)
        return module._apply(
            lambda t: torch.empty_like(t, device=device) if t.device == CARD != device else Tensor.to(t, device)
        )


def tensors_of(model: nn.Module) -> Iterator[Tensor]:
    """The tensors where they really lie, although those that stream answer the device on which they compute."""
    for tensor in (*model.parameters(), *model.buffers()):
        yield tensor.source.home() if hasattr(tensor, "source") else tensor


def size_of(*models: nn.Module) -> int:
    return sum(tensor.nbytes for model in models for tensor in tensors_of(model))


def on_card(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in tensors_of(model) if tensor.device == CARD)


def places(model: nn.Module) -> list[str]:
    return sorted({tensor.device.type for tensor in tensors_of(model)})


class Natives:
    """Loads of native models, as a native node makes them: under the host's inference_mode."""

    def __init__(self, manager: Any, card: Card) -> None:
        self.manager, self.card = manager, card

    @torch.inference_mode()
    def load(self, size: int) -> Any:
        from comfy import model_patcher, ops

        width = int((size / 4 / 64) ** 0.5)
        model = nn.Sequential(*(ops.disable_weight_init.Linear(width, width, bias=False) for _ in range(64)))
        for layer in model:  # under Dynamic VRAM they have none yet
            layer.weight = nn.Parameter(torch.empty(width, width), requires_grad=False)
        self.card.watch(model)
        kind = getattr(model_patcher, "CoreModelPatcher", model_patcher.ModelPatcher)
        patcher = kind(model, CARD, torch.device("cpu"))
        self.use(patcher)
        return patcher

    @torch.inference_mode()
    def use(self, patcher: Any) -> None:
        self.manager.load_models_gpu([patcher])
        patcher.model(torch.empty(1, patcher.model[0].in_features, device=CARD))
