# pyright: reportMissingImports=false
"""Placement by ComfyUI's memory manager: whole where it must be, else weight by weight, as its own models.

ComfyUI's modules are named inside functions alone: nothing is imported before it is needed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Model:
    """A network as the memory manager has it: one patcher, of one of two kinds.

    Streamed, the manager has the weights one by one, in modules that it may leave off the device, in part or until one
    is used (Dynamic VRAM). Whole, it has the network itself, whose plain layers compute only where all of them lie: for
    gradients, and where there is nothing to stream to. Its weak references see patchers and what they hold, so these
    are held here, and this by handles alone: the last handle of a model takes its memory along.
    """

    def __init__(self, module: nn.Module) -> None:
        from comfy import model_management as manager

        self.module = module
        self.device, self.home = manager.get_torch_device(), manager.unet_offload_device()
        state = manager.VRAMState  # in the others there is one memory, or all stays on the card
        apart = manager.vram_state in (state.NORMAL_VRAM, state.LOW_VRAM, state.NO_VRAM)
        self.can_stream = apart and self.device != self.home
        self.streams = False
        self.must_be_whole = False
        self.brought = 0  # bytes on the device after the last request: with less, there may be room again for more
        self.patcher: Any = None
        self._register(self.can_stream)

    def _register(self, streams: bool) -> None:
        from comfy import model_patcher

        if streams:
            # ModelPatcherDynamic under Dynamic VRAM; 0.3.64 has only one kind
            patcher = getattr(model_patcher, "CoreModelPatcher", model_patcher.ModelPatcher)
            self.patcher = patcher(in_single_weights(self.module, self.device), self.device, self.home)
        else:
            from ..cascade_core.streaming import settle

            settle(self.module)
            self.patcher = model_patcher.ModelPatcher(self.module, self.device, self.home)
        self.streams = streams

    def turn(self, whole: bool) -> None:
        """Streamed or whole from now on; what lies whole on the device stays so."""
        from comfy import model_management as manager

        wanted = self.can_stream and not (whole or self.must_be_whole)
        if self.streams == wanted or (wanted and self.is_ready()):
            return
        if any(patcher is self.patcher for patcher in manager.loaded_models()):
            others = [loaded for loaded in manager.current_loaded_models if loaded.model is not self.patcher]
            manager.free_memory(1e32, self.device, others)
        self._register(not self.streams)

    def is_ready(self) -> bool:
        """Whether it can compute as it lies, by what the manager knows: this is asked at each step."""
        from comfy import model_management as manager

        there = any(patcher is self.patcher for patcher in manager.loaded_models())
        return there and self.patcher.loaded_size() >= self.brought


class Group:
    """Models that are brought to their devices by one request, and the room that was asked for so far."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = models
        self.room = -1

    def acquire(self, model: Model, room: int) -> None:
        """This one is ready, with `room` bytes beside it; else all of them are brought."""
        import torch

        model.turn(whole=torch.is_grad_enabled())
        if room > self.room or not model.is_ready():
            self.room = max(room, self.room)
            self._bring()

    def _bring(self) -> None:
        import torch
        from comfy import model_management as manager

        # Moving under the host's inference_mode makes inference tensors, which can never be trained. The manager moves
        # ours away like that; bringing them back here makes them ordinary ones again.
        with torch.inference_mode(False), torch.no_grad():
            for whole in (False, True):  # whole ones last: what streams can do with less
                patchers = [model.patcher for model in self.models if model.streams != whole]
                if patchers:
                    manager.load_models_gpu(patchers, memory_required=self.room, force_full_load=whole)
            for model in self.models:
                # --novram brings nothing of plain layers
                if not model.streams and not _lies_on(model.module, model.device):
                    model.patcher.partially_load(model.device, 2 * model.patcher.model_size())
                model.brought = model.patcher.loaded_size()


class Managed:
    """Placement by ComfyUI's memory manager, for the networks of one handle and of those that share them."""

    def __init__(self) -> None:
        self.models: dict[nn.Module, Model] = {}
        self.group: Group | None = None  # while `together`

    def model(self, module: nn.Module) -> Model:
        if module not in self.models:
            self.models[module] = Model(module)
        return self.models[module]

    def patcher(self, module: nn.Module) -> Any:
        return self.model(module).patcher

    def acquire(self, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        model = self.model(module)
        (self.group or Group([model])).acquire(model, activation_bytes)
        return model.device


def in_single_weights(module: nn.Module, device: torch.device) -> nn.Module:
    """The weights of a network, which streams from now on, each as a layer of ComfyUI's without a computation."""
    import torch
    from comfy import ops
    from torch import nn

    from ..cascade_core.streaming import lay, lift, stream

    give_back = getattr(ops, "uncast_bias_weight", None)  # 0.3.64 takes nothing back
    offloadable = {} if give_back is None else {"offloadable": True}

    class SingleWeight(nn.Module, ops.CastWeightBiasOp):
        def __init__(self, tensor: Tensor) -> None:
            super().__init__()
            self.device = device
            self.weight = nn.Parameter(tensor.data, requires_grad=False)
            self.bias = None
            self.tensor = weakref.ref(tensor)  # the network's

        def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
            super()._apply(fn, recurse)  # the manager moves it
            tensor = self.tensor()
            if tensor is not None and self.weight.device == device:
                lay(tensor, self.weight.data)
            elif tensor is not None:
                lift(tensor)
            return self

        def take(self) -> tuple[Tensor, Callable[[], None] | None]:
            weight = self.weight
            if weight.device == device:
                return weight, None
            lent = ops.cast_bias_weight(self, dtype=weight.dtype, device=device, bias_dtype=weight.dtype, **offloadable)
            return lent[0], (lambda: None) if give_back is None else partial(give_back, self, *lent)

        def home(self) -> Tensor:
            return self.weight.data

    network = type(module).__name__  # so that the log names it
    with torch.inference_mode(False):
        return type(network, (nn.ModuleList,), {})(stream(module, SingleWeight))


def _lies_on(module: nn.Module, where: torch.device) -> bool:
    devices = {tensor.device for tensors in (module.parameters(), module.buffers()) for tensor in tensors}
    return all(found.type == where.type and where.index in (None, found.index) for found in devices)
