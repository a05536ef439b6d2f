"""What is on the card after each of eight orders of loads, ours and a native model's. See card.py.

`--dynamic` turns Dynamic VRAM on, by dynamic_vram.py, on a ComfyUI that has it. The networks have the published sizes,
and no values: their memory is never touched, so it costs none.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import bare_comfyui
import torch
from card import CARD, Card, Natives, on_card, size_of
from torch import nn

GB = 10**9
NATIVE = 7 * GB
PUBLISHED = {"stage_c": "3.6B", "stage_b": "1.5B", "stage_a": "published", "controlnet": "canny"}
Run = Callable[[], dict[str, Any]]


class Table:
    def __init__(self) -> None:
        from comfy import model_management as manager
        from the_pack.runtime import host as hosts

        self.manager, self.host = manager, hosts.current()
        self.networks: dict[str, nn.Module] = {}
        self.card = Card(manager)
        self.natives = Natives(manager, self.card)
        if dynamic:
            from dynamic_vram import install

            pages = install(CARD, lambda: self.card.free() - int(manager.minimum_inference_memory()))
            self.card.pages = pages.used

    def load(self, kind: str) -> Any:
        """A network of the published size, as a loader gives it."""
        from the_pack.cascade_core.builtin import built_in
        from the_pack.cascade_core.files.load import load
        from the_pack.cascade_core.kinds import KINDS
        from the_pack.cascade_core.models.config import PRESETS

        (name, path), *_ = built_in(kind).items()
        tiny, config = load(kind, path, name=name), PRESETS[kind][PUBLISHED[kind]]
        dtype = torch.bfloat16 if kind in ("stage_c", "stage_b") else torch.float32
        with torch.inference_mode(False):
            if kind not in self.networks:
                with torch.device("meta"):
                    module = KINDS[kind].network_class()(config)
                self.networks[kind] = module.type(dtype).requires_grad_(False).eval()
            module = deepcopy(self.networks[kind]).to_empty(device="cpu")
        self.card.watch(module)
        return replace(tiny, module=module, config=config, dtype=dtype, placement=self.host.placement())

    @staticmethod
    def on_card(model: Any) -> int:
        """Bytes of a model on the card: of a handle, or of a native model's patcher."""
        patcher = getattr(model, "patcher", model)
        pages = [vbar.loaded_size() for vbar in getattr(patcher.model, "dynamic_vbars", {}).values()]
        return on_card(patcher.model) + sum(pages)

    def order(self, run: Run, room: float) -> dict[str, Any]:
        """Bytes on the card at the end, of each model, all that it has, and of the card's room for weights."""
        self.manager.unload_all_models()
        gc.collect()
        assert self.card.used() == 0
        self.card.size = int(room) + int(self.manager.minimum_inference_memory())
        with torch.inference_mode():
            models = run()
        found = {name: (self.on_card(model), size_of(_weights(model))) for name, model in models.items()}
        assert sum(there for there, _ in found.values()) == self.card.used()
        return found | {"card": (self.card.used(), int(room))}


def _weights(model: Any) -> Any:
    return getattr(model, "patcher", model).model


def use(handle: Any) -> None:
    """One use of the model as a node makes it: acquired, then each weight asked for (stream_weights.py computes)."""
    handle.acquire()
    for tensor in (*handle.root.module.parameters(), *handle.root.module.buffers()):
        if hasattr(tensor, "source"):
            _, give_back = tensor.source.take()
            if give_back is not None:
                give_back()


def with_lora(handle: Any) -> Any:
    """The model with a low rank beside one of its weights."""
    from the_pack.cascade_core.lora.attach import beside
    from the_pack.cascade_core.models.adapters import LowRank, adaptable, adapted

    name, weight = next((name, weight) for name, weight in adaptable(handle.module).items() if "in_proj" in name)
    down, up = (torch.empty(shape, device=CARD) for shape in ((4, weight.shape[1]), (weight.shape[0], 4)))
    return beside(handle, adapted(handle.module, {name: [LowRank(down, up)]}))


def find(pack: Any) -> dict[str, Any]:
    table = Table()

    def ours(*kinds: str) -> dict[str, Any]:
        handles = {kind: table.load(kind) for kind in kinds}
        for handle in handles.values():
            use(handle)
        return handles

    def native(size: int = NATIVE) -> dict[str, Any]:
        return {"native": table.natives.load(size)}

    def steered() -> dict[str, Any]:
        handles = {kind: table.load(kind) for kind in ("stage_c", "controlnet")}
        with table.host.together(*handles.values()):
            for _ in range(3):
                for handle in handles.values():
                    use(handle)
        return handles

    def plain_after_lora() -> dict[str, Any]:
        stage_c = table.load("stage_c")
        adapted = with_lora(stage_c)
        assert adapted.patcher is stage_c.patcher  # one model for the manager
        for handle in (adapted, stage_c):
            use(handle)
        return {"stage_c": stage_c}

    def under_pressure() -> dict[str, Any]:
        stage_c = table.load("stage_c")
        use(stage_c)
        large = native(12 * GB)
        use(stage_c)
        return {"stage_c": stage_c, **large}

    def after_training() -> dict[str, Any]:
        stage_c = table.load("stage_c")
        with torch.inference_mode(False), torch.enable_grad():
            stage_c.acquire()
        return {"stage_c": stage_c, **native()}

    orders: dict[str, tuple[Run, float]] = {
        "C": (lambda: ours("stage_c"), 9 * GB),
        "C, native": (lambda: ours("stage_c") | native(), 9 * GB),
        "native, C": (lambda: native() | ours("stage_c"), 9 * GB),
        "C, B, A": (lambda: ours("stage_c", "stage_b", "stage_a"), 9 * GB),
        "C and ControlNet together": (steered, 9 * GB),
        "C with a LoRA, C": (plain_after_lora, 9 * GB),
        "C, larger native, C": (under_pressure, 9 * GB),
        "C in training, native": (after_training, 9 * GB),
        "native, C, room for both": (lambda: native() | ours("stage_c"), 20 * GB),
        "C, room for half of it": (lambda: ours("stage_c"), 4 * GB),
    }
    return {name: table.order(run, room) for name, (run, room) in orders.items()}


if __name__ == "__main__":
    dynamic = "--dynamic" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--dynamic"]
    bare_comfyui.run(find)
