"""A part of the recipe: networks built, loaded and shipped, and the losses that parts share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cascade_core.builtin import FAMILY, control_path, weights_path
from ...cascade_core.files.load import load
from ...cascade_core.files.save import save
from ...cascade_core.models.body import Body
from ...cascade_core.models.config import PRESETS
from ...cascade_core.models.controlnet import ControlNet
from ...cascade_core.models.effnet import Effnet
from ...cascade_core.models.previewer import Previewer
from ...cascade_core.models.stage_a import StageA
from ...cascade_core.models.stage_b import StageB
from ...cascade_core.models.stage_c import StageC
from ...cascade_core.models.text import TextEncoder
from ...cascade_core.models.tokenizer import WordTokenizer
from ...cascade_core.models.vision import ImageEncoder
from ...cascade_core.sampling.process import TARGETS, Process
from ...cascade_core.training import denoising
from ...cascade_core.training.loop import Loss
from ...cascade_core.training.plan import Plan
from .attributes import ATTRIBUTE_SIZES, attributes
from .captions import VOCABULARY, sample_caption
from .data import training_scene

X0_CLAMP = {"stage_b": 5.0, "stage_c": 5.0}  # beyond what their latents reach
PROCESS = Process(TARGETS["v"])
WARM_UP = 300  # steps after which BatchNorm keeps its statistics: those of a small batch blur the colours

KIND_OF: dict[type[nn.Module], str] = {
    StageA: "stage_a",
    StageB: "stage_b",
    StageC: "stage_c",
    Effnet: "effnet",
    Previewer: "previewer",
    TextEncoder: "text_encoder",
    ImageEncoder: "image_encoder",
}

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Part(Generic[Network]):
    """One stretch of training: what is trained, on what loss, how long, and how its result is shipped."""

    module: Network
    loss: Loss
    plan: Plan
    ship: Callable[[Network], None]
    batch: int


def built(network: type[Network]) -> Network:
    """A fresh tiny network of this class."""
    config = PRESETS[KIND_OF[network]]["tiny"]
    tokenizer = [WordTokenizer(VOCABULARY, config.max_positions)] if network is TextEncoder else []
    module = network(config, *tokenizer)
    if isinstance(module, Body):
        module.initialise()
    return module


def shipped(network: type[Network]) -> Network:
    """The shipped network of this class, frozen, in float32."""
    kind = KIND_OF[network]
    module = load(kind, weights_path(kind), dtype="float32").module
    assert isinstance(module, network)
    return module


def ship(module: nn.Module) -> None:
    """Write a network as the built-in one of its class, in half precision."""
    kind = KIND_OF[type(module)]
    save(
        weights_path(kind),
        module,
        kind=kind,
        family=FAMILY,
        dtype="float16",
        target="v" if kind in X0_CLAMP else "epsilon",
        x0_clamp=X0_CLAMP.get(kind),
        vocabulary=VOCABULARY if kind == "text_encoder" else None,
    )


def ship_controlnet(module: ControlNet, mode: str) -> None:
    """Write a ControlNet as the built-in one for this kind of hint, in half precision."""
    save(control_path(mode), module, kind="controlnet", family=FAMILY, dtype="float16")


def warming_up(norm: nn.Module) -> bool:
    """Shall this BatchNorm's statistics still follow the batches?"""
    return int(norm.get_buffer("num_batches_tracked")) < WARM_UP


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of all attributes; logits (B, sum of ATTRIBUTE_SIZES), labels (B, n)."""
    parts = torch.split(logits, list(ATTRIBUTE_SIZES), dim=1)
    losses = [F.cross_entropy(part, labels[:, i]) for i, part in enumerate(parts)]
    return torch.stack(losses).mean()


def labels_of(indices: np.ndarray) -> Tensor:
    return torch.as_tensor(np.stack([attributes(training_scene(int(i))) for i in indices]))


def captions_of(indices: np.ndarray, random: np.random.Generator, drop: float = 0.0) -> list[str]:
    """A caption for each scene, the empty one with probability `drop`."""
    return ["" if random.random() < drop else sample_caption(training_scene(int(i)), random) for i in indices]


def times(random: np.random.Generator, batch: int, noisy: float) -> Tensor:
    """Times in 0.001..1, a share of them from the noisiest tenth."""
    t = np.where(random.random(batch) < noisy, 1 - 0.1 * random.random(batch), random.random(batch))
    return torch.as_tensor(t).float().clamp(0.001, 1)


def denoising_loss(clean: Tensor, t: Tensor, predict: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean squared error of the network's v; predict(x, noise condition)."""
    noised = denoising.noised_at(t, clean, torch.randn_like(clean), PROCESS)
    with torch.autocast("cpu", torch.bfloat16):
        return denoising.denoising_loss(noised, predict)
