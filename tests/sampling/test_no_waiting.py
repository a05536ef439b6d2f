"""What a step does not do on a GPU: wait for it, or walk over the weights.

Torch's meta device stands for the GPU. It has no values, so that reading one (`.item()`, `nonzero`, a copy to the CPU)
fails there; copies to it are seen by a dispatch mode.
"""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stable_cascade_nodes.cascade_core.lora.attach import beside
from stable_cascade_nodes.cascade_core.memory import OneAtATime
from stable_cascade_nodes.cascade_core.models.adapters import LowRank, adapted
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.sampling.condition import Condition
from stable_cascade_nodes.cascade_core.sampling.control import Control
from stable_cascade_nodes.cascade_core.sampling.samplers import SAMPLERS

from .runs import run_b, run_c

GPU = torch.device("meta")
CONFIGS = {
    "stage_c": replace(PRESETS["stage_c"]["tiny"], blocks=((1,), (1,))),
    "stage_b": replace(PRESETS["stage_b"]["tiny"], blocks=((1, 1, 1), (1, 1, 1))),
}
CLASSES = {"stage_c": StageC, "stage_b": StageB}
WEIGHT = {"stage_c": "up_blocks.0.0.channelwise.0.weight", "stage_b": "up_blocks.0.0.channelwise.0.weight"}


class Transfers(TorchDispatchMode):
    """Copies between devices, by whether the CPU waits for them."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        places = {x.device for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor) and x.ndim}
        if len(places) > 1:
            given = [*args, *(kwargs or {}).values()]
            names = [argument.name for argument in func._schema.arguments]
            named = dict(zip(names, args, strict=False)) | (kwargs or {})
            assert given, func
            self.counts["free" if named.get("non_blocking") else "waiting"] += 1
        return result


@pytest.fixture
def model():
    def make(kind, with_lora=False):
        config = CONFIGS[kind]
        with torch.device(GPU):
            network = CLASSES[kind](config).bfloat16().eval().requires_grad_(False)
        made = Handle(network, kind, "m", "tiny", config, "epsilon", None, torch.bfloat16, OneAtATime(GPU))
        if with_lora:
            out, inner = network.get_parameter(WEIGHT[kind]).shape
            branch = LowRank(torch.zeros(2, inner, device=GPU), torch.zeros(out, 2, device=GPU))
            made = beside(made, adapted(network, {WEIGHT[kind]: [branch]}))
        return made

    return make


@pytest.fixture
def prompt():
    config = CONFIGS["stage_c"]
    return lambda tokens=5, **more: Condition(
        torch.zeros(1, tokens, config.c_clip_text), torch.zeros(1, config.c_clip_text_pooled), **more
    )


def watched(run, monkeypatch):
    """The transfers of all steps but the first, which begins with all that is made once a run."""
    next(run)

    def refuse(*_, **__):
        raise AssertionError("a step walks over the weights")

    with monkeypatch.context() as patched, Transfers() as transfers:
        for walk in ("named_parameters", "named_buffers", "named_modules"):
            patched.setattr(nn.Module, walk, refuse)
        steps = sum(1 for _ in run)
    assert steps == 4
    return transfers.counts


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_steps_of_stage_c(sampler, model, prompt, monkeypatch):
    net = Handle(StandInControlNet(), "controlnet", "n", "tiny", PRESETS["controlnet"]["tiny canny"], "epsilon", None,
                 torch.bfloat16, OneAtATime(GPU))  # fmt: skip
    steered = prompt(controls=(Control(net, torch.zeros(1, 1, 64, 64, device=GPU), (64, 64), strength=0.7),))
    run = run_c(
        model("stage_c", with_lora=True),
        [steered, prompt(9, strength=0.5)],
        [prompt(7)],
        torch.zeros(2, 16, 6, 5),
        noise_mask=torch.ones(6, 5),
        denoise=0.8,
        seed=3,
        steps=5,
        sampler=sampler,
    )
    counts = watched(run, monkeypatch)
    assert counts["waiting"] == 0
    assert counts["free"] <= 2 * 4  # noise, drawn on the CPU while the network is evaluated


@pytest.mark.parametrize("over", ["image", "batch"])
def test_steps_of_stage_b(over, model, prompt, monkeypatch):
    given = [prompt()], [prompt()], torch.zeros(1, 16, 6, 5), torch.zeros(2, 4, 32, 24)
    run = run_b(model("stage_b", with_lora=True), *given, seed=3, steps=5, rescale_over=over)
    counts = watched(run, monkeypatch)
    assert counts["waiting"] == 0
    assert counts["free"] == 4


class StandInControlNet(nn.Module):
    """One map for the first block."""

    cell = 32

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, device=GPU))

    def project(self, hint):
        return [torch.zeros(len(hint), 160, 6, 5, device=hint.device, dtype=hint.dtype)]


def test_the_test_sees_what_waits(model, prompt, monkeypatch):
    handle = model("stage_c")
    network = handle.module
    evaluate = network.evaluate
    for wrong, said in (
        (lambda x: x + torch.ones(16, 1, 1).to(GPU), None),
        (lambda x: x * x.max().item(), "meta tensors"),
        (lambda x: x + sum(p.numel() for p in network.parameters()), "walks over the weights"),
    ):
        monkeypatch.setattr(network, "evaluate", lambda *args, wrong=wrong: wrong(evaluate(*args)))
        run = run_c(replace(handle), [prompt()], [], torch.zeros(1, 16, 6, 5), seed=3, steps=5, cfg=1.0)
        if said is None:
            assert watched(run, monkeypatch)["waiting"] == 4
        else:
            with pytest.raises((RuntimeError, AssertionError), match=said):
                watched(run, monkeypatch)
