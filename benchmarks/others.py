"""Evaluations by other implementations over the tensors of a network of ours."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import torch
from torch import nn

from ..cascade_core.models.config import PRESETS
from ..cascade_core.models.linear import linear
from . import comfyui
from .clock import Run
from .networks import Inputs
from .peers import twin

SCALE = PRESETS["stage_a"]["published"].scale
COMPILED = ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock")


def theirs(other: Any, kind: str, given: Inputs) -> Run:
    """An evaluation by diffusers' network, which computes in every step what is constant."""
    if kind == "stage_a":
        return lambda: other.decode(given.x * SCALE).sample
    said = {"clip_text": given.text, "clip_img": given.images} if kind == "stage_c" else {"effnet": given.effnet}
    r = given.r.to(given.x.dtype)  # as their pipelines do
    return lambda: other(given.x, r, given.pooled, **said).sample


def block_by_block(other: nn.Module) -> nn.Module:
    """diffusers' network with its blocks compiled: those of one kind share what inductor makes."""
    for module in other.modules():
        if type(module).__name__ in COMPILED:
            module.compile()
    return other


def by_onednn(other: nn.Module) -> nn.Module:
    """diffusers' network with its linear layers computed as ours are on a CPU."""
    for module in other.modules():
        if isinstance(module, nn.Linear):
            layer: Any = module
            layer.forward = partial(linear, weight=module.weight, bias=module.bias)
    return other


def peer(name: str, module: Any, kind: str, given: Inputs) -> Run:
    """An evaluation by this one of PEERS, over the network's tensors."""
    if name == "comfyui":
        return comfyui.evaluation(comfyui.twin(module), kind, given)
    prepare = {"diffusers-onednn": by_onednn, "diffusers-compiled": block_by_block}.get(name, lambda other: other)
    return theirs(prepare(twin(module)), kind, given)


def peers_here(device: torch.device) -> list[str]:
    """The peers that make sense on the device, ComfyUI where COMFYUI_PATH names it."""
    second = "diffusers-compiled" if device.type == "cuda" else "diffusers-onednn"
    return ["diffusers", second, *(["comfyui"] if os.environ.get("COMFYUI_PATH") else [])]
