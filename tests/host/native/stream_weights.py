"""Our networks computed by weights that ComfyUI's own casts bring, beside the same networks as they are.

The card is the CPU under its other name, "cpu:0": what is brought there is a copy, and has values. Nothing stays on it
(`--novram`), so each weight is brought for each operation. With `--dynamic`, which is Dynamic VRAM by dynamic_vram.py,
half of the largest network stays.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bare_comfyui
import torch

sys.path.append(str(Path(__file__).parents[2]))
from network_results import result

CARD = torch.device("cpu:0")
ROOM = 2_500_000  # bytes; Stage C has 4,543,328


class Counted:
    """ComfyUI's cast of a layer's weights, counted."""

    def __init__(self, ops: Any) -> None:
        self.cast, self.calls = ops.cast_bias_weight, 0
        ops.cast_bias_weight = self

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        return self.cast(*args, **options)


def find(pack: Any) -> dict[str, Any]:
    from comfy import model_management as manager
    from comfy import ops
    from the_pack.cascade_core.builtin import lora_path
    from the_pack.cascade_core.lora.attach import attach_lora
    from the_pack.cascade_core.lora.read import read_lora

    loaders = {name: cls for name, cls in pack.NODE_CLASS_MAPPINGS.items() if name.endswith("Loader")}

    def load() -> dict[str, Any]:
        """A model of each loader, and one with a LoRA."""
        found: dict[str, Any] = {}
        for name, cls in loaders.items():
            inputs = cls.INPUT_TYPES()["required"]
            choices = [choice for choice in inputs["model_name"][0] if "(built-in)" in choice]
            for choice in choices:
                options = {"dtype": "float32"} if "dtype" in inputs else {}
                found[f"{name} {choice}"] = getattr(cls(), cls.FUNCTION)(model_name=choice, **options)[0]
        (stage_c,) = (handle for handle in found.values() if handle.kind == "stage_c")
        return found | {"with a LoRA": attach_lora(stage_c, read_lora(lora_path("zig")))[0]}

    plain = {name: result(handle) for name, handle in load().items()}  # on the CPU nothing streams

    casts = Counted(ops)
    manager.get_torch_device = lambda: CARD
    manager.get_free_memory = lambda device=None, torch_free_too=False: (2**40, 0) if torch_free_too else 2**40
    manager.is_device_cpu = lambda device: device is not None and device == torch.device("cpu")
    manager.vram_state = manager.VRAMState.NO_VRAM
    pages = None
    if dynamic:
        from dynamic_vram import install

        pages = install(CARD, lambda: ROOM - pages.used() if pages else ROOM)

    facts: dict[str, Any] = {"equal": {}, "streamed": {}, "casts": {}}
    handles = load()
    with torch.inference_mode():
        for name, handle in handles.items():
            before = casts.calls
            for _ in range(2):  # the second time, some weights are there
                handle.acquire()
                facts["equal"][name] = all(map(torch.equal, result(handle), plain[name]))
            facts["streamed"][name] = all(hasattr(tensor, "source") for tensor in handle.root.module.parameters())
            facts["casts"][name] = casts.calls - before
    facts["pages"] = None if pages is None else [pages.used(), ROOM]
    facts["is a model"] = {name: is_model(handle) for name, handle in handles.items()}
    facts["patchers"] = len({id(handle.patcher) for handle in handles.values()}), len(handles)
    facts["trained"] = train(handles["with a LoRA"].base)
    facts["lying there"] = lie(plain)
    facts["cache"] = None if not hasattr(manager, "ensure_pin_budget") else [*evict(handles["with a LoRA"])]
    return facts


def is_model(handle: Any) -> bool:
    from comfy import model_patcher

    if hasattr(model_patcher, "is_model_patcher_output"):
        return model_patcher.is_model_patcher_output(handle)
    return isinstance(handle.patcher, model_patcher.ModelPatcher)  # an older ComfyUI asks nobody


def lie(plain: dict[str, Any]) -> list[list[Any]]:
    """Of a model away, on the device, and away again: how many of its weights stream, and whether results are equal."""
    from the_pack.cascade_core.builtin import NAME, weights_path
    from the_pack.cascade_core.files.load import load
    from the_pack.cascade_core.streaming import Streamed
    from the_pack.runtime import comfyui_memory

    handle = load("previewer", weights_path("previewer"), name=NAME)
    there = torch.device("cpu")
    weights = comfyui_memory.in_single_weights(handle.module, there)
    homes = [weight.weight.data for weight in weights]
    found: list[list[Any]] = []

    def note() -> None:
        tensors = (*handle.module.parameters(), *handle.module.buffers())
        lent = sum(type(tensor) is Streamed for tensor in tensors)
        same = all(map(torch.equal, result(handle), plain[f"CascadePreviewerLoader {NAME}"]))
        found.append([lent, len(tensors), same])

    with torch.inference_mode():
        note()
        weights.to(there)
        note()
        for weight, home in zip(weights, homes, strict=True):  # to a device without values, and back from its file
            weight.to("meta")
            weight.weight = torch.nn.Parameter(home, requires_grad=False)
        note()
    return found


def train(handle: Any) -> list[bool]:
    """Whether a model that streamed has ordinary parameters and gradients when it is trained, and streams again."""
    with torch.inference_mode(False), torch.enable_grad():
        handle.acquire()
        module = handle.module.requires_grad_(True)
        text = torch.rand(1, 9, handle.config.c_clip_text), torch.rand(1, handle.config.c_clip_text_pooled)
        module(torch.rand(1, 16, 6, 6), torch.rand(1), *text).sum().backward()
        weights = list(module.parameters())
        trained = sum(weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in weights)
        ordinary = all(type(weight) is torch.nn.Parameter for weight in weights)
    return [ordinary, trained > len(weights) / 2]


def evict(handle: Any) -> list[str]:
    """In which order ComfyUI's cache drops last run's outputs, a picture and a model of ours, when memory is short."""
    import psutil
    from comfy_execution.caching import RAMPressureCache

    cache = RAMPressureCache.__new__(RAMPressureCache)
    outputs = {"picture": [[torch.zeros(1, 512, 512, 3)]], "model": [[handle]]}
    cache.cache = {name: SimpleNamespace(outputs=value) for name, value in outputs.items()}
    cache.generation, cache.used_generation = 1, dict.fromkeys(outputs, 0)
    cache.timestamps, cache.children = dict.fromkeys(outputs, 0.0), {}
    psutil.virtual_memory = lambda: SimpleNamespace(available=len(outputs) - len(cache.cache))
    order: list[str] = []
    while cache.cache:
        before = set(cache.cache)
        cache.ram_release(len(order) + 1)
        order += before - set(cache.cache)
    return order


if __name__ == "__main__":
    dynamic = "--dynamic" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--dynamic"]
    bare_comfyui.run(find)
