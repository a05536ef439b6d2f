"""ComfyUI's own memory manager, with our models, on the stand-in for a GPU of card.py. See bare_comfyui.py."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import bare_comfyui
import torch
from card import CARD, Card, Natives, places, size_of, tensors_of
from torch import nn


def find(pack: Any) -> dict[str, Any]:
    from comfy import model_management as manager
    from the_pack.cascade_core.builtin import built_in
    from the_pack.cascade_core.files.load import load as load_file
    from the_pack.runtime import host as hosts

    host = hosts.current()
    card = Card(manager)
    natives = Natives(manager, card)
    reserve = int(manager.minimum_inference_memory())

    def load(kind: str) -> Any:
        ((name, path),) = built_in(kind).items()
        handle = load_file(kind, path, name=name, device=host.device(), placement=host.placement())
        card.watch(handle.module)
        return handle

    @contextmanager
    def fresh(*kinds: str, room: float = 0.0) -> Iterator[list[Any]]:
        """Models on a card of their size, ComfyUI's reserve and `room` times the first one's size."""
        manager.unload_all_models()
        handles = [load(kind) for kind in kinds]
        card.size = int(size_of(*(h.module for h in handles)) + reserve + room * size_of(handles[0].module))
        card.requests.clear()
        with torch.inference_mode():
            yield handles

    facts: dict[str, Any] = {}

    for name, share in (("in part", 0.5), ("wholly", 2.0)):
        with fresh("stage_c", room=0.2) as (stage_c,):
            stage_c.acquire()
            before = places(stage_c.module)
            native = natives.load(int(share * size_of(stage_c.module)))
            evicted = places(stage_c.module)
            del native
            stage_c.acquire()
            facts[f"evicted {name}"] = [before, evicted, places(stage_c.module)]
            facts[f"trainable after eviction {name}"] = [is_ordinary(stage_c.module)]
            with torch.inference_mode(False), torch.enable_grad():  # as a training does, which another load interrupts
                stage_c.acquire()
                in_training = [places(stage_c.module)]
                native = natives.load(int(share * size_of(stage_c.module)))
                in_training.append(places(stage_c.module))
                del native
                stage_c.acquire()
            facts[f"evicted in training {name}"] = [*in_training, places(stage_c.module)]
            facts[f"trainable after eviction {name}"].append(is_ordinary(stage_c.module))
        del stage_c

    with fresh("stage_c") as handles:
        stage_c = handles.pop()
        stage_c.acquire()
        held, module = len(manager.current_loaded_models), weakref.ref(stage_c.module)
        other = replace(stage_c, name="another handle of the model")
        del stage_c
        gc.collect()
        shared = len(manager.current_loaded_models)
        del other
        gc.collect()
        facts["registered, shared, dropped"] = [held, shared, len(manager.current_loaded_models)]
        facts["left behind"] = [module() is not None, card.used()]

    with fresh("stage_c", "previewer") as (stage_c, previewer):
        stage_c.acquire()
        previewer.acquire()
        facts["apart"] = [places(stage_c.module), places(previewer.module)]
    with fresh("stage_c", "previewer", room=0.01) as (stage_c, previewer):
        with host.together(stage_c, previewer):
            seen: set[str] = set()
            for _ in range(5):
                for handle in (stage_c, previewer):
                    handle.acquire(1000)
                    seen |= {*places(stage_c.module), *places(previewer.module)}
            facts["together"] = [sorted(seen), len(card.requests)]
            natives.load(size_of(stage_c.module))
            evicted = places(stage_c.module)
            stage_c.acquire(1000)
            facts["evicted while together"] = [evicted, places(stage_c.module), places(previewer.module)]
        before = len(card.requests)
        stage_c.acquire(1000)
        facts["requests after together"] = len(card.requests) - before
    del stage_c, previewer, handle

    with fresh("stage_c") as (stage_c,):
        facts["asked for"] = ask(host, stage_c, card.requests)
        manager.unload_all_models()
        facts["unloaded"] = [places(stage_c.module), len(manager.current_loaded_models)]
        manager.vram_state = manager.VRAMState.NO_VRAM
        stage_c.acquire()
        facts["with --novram"] = [places(stage_c.module)]
        with torch.inference_mode(False), torch.enable_grad():
            stage_c.acquire()
        facts["with --novram"].append(places(stage_c.module))
    return facts


def is_ordinary(module: nn.Module) -> bool:
    """Whether nothing of the module is an inference tensor, which could never be trained."""
    return not any(tensor.is_inference() for tensor in tensors_of(module))


def ask(host: Any, stage_c: Any, requests: list[int]) -> list[list[int]]:
    """What three steps of Stage C ask a plain placement for, and what they ask the manager for."""
    from the_pack.cascade_core.sampling.condition import Condition
    from the_pack.cascade_core.sampling.latent import Latent
    from the_pack.cascade_core.sampling.settings import STAGE_C_DEFAULTS
    from the_pack.cascade_core.sampling.stages import sample_stage_c

    class Noting:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def acquire(self, module: nn.Module, activation_bytes: int = 0) -> torch.device:
            self.asked.append(activation_bytes)
            return CARD

    def steps(handle: Any) -> Iterable[Any]:
        config = handle.config
        condition = Condition(
            torch.zeros(1, 24, config.c_clip_text), torch.zeros(1, config.c_clip_text_pooled), family="tiny"
        )
        latent = Latent(torch.zeros(1, config.channels, 6, 6))
        return sample_stage_c(
            handle, [condition], [condition], latent, seed=0, settings=replace(STAGE_C_DEFAULTS, steps=3)
        )

    noting = Noting()
    with host.together(stage_c):
        for _ in steps(stage_c):
            pass
    for _ in steps(replace(stage_c, placement=noting)):
        pass
    return [noting.asked, list(requests)]


if __name__ == "__main__":
    bare_comfyui.run(find)
