"""The recipe's networks: built, loaded and shipped."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

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
from .captions import VOCABULARY

X0_CLAMP = {"stage_b": 5.0, "stage_c": 5.0}  # beyond what their latents reach

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


def begun(network: type[Network]) -> Network:
    """The shipped network of this class to be trained on; a fresh one where none is shipped."""
    if weights_path(KIND_OF[network]).exists():
        return shipped(network).requires_grad_(True)
    return built(network)


def begun_controlnet(mode: str) -> ControlNet | None:
    """The shipped ControlNet for this kind of hint, to be trained on; None where none is shipped."""
    if not control_path(mode).exists():
        return None
    module = load("controlnet", control_path(mode), dtype="float32").module
    assert isinstance(module, ControlNet)
    return module.requires_grad_(True)


def ship(module: nn.Module) -> None:
    """Write a network as the built-in one of its class, in half precision."""
    kind = KIND_OF[type(module)]
    save(
        weights_path(kind),
        module.cpu(),
        kind=kind,
        family=FAMILY,
        dtype="float16",
        target="v" if kind in X0_CLAMP else "epsilon",
        x0_clamp=X0_CLAMP.get(kind),
        vocabulary=VOCABULARY if kind == "text_encoder" else None,
    )


def ship_controlnet(module: ControlNet, mode: str) -> None:
    """Write a ControlNet as the built-in one for this kind of hint, in half precision."""
    save(control_path(mode), module.cpu(), kind="controlnet", family=FAMILY, dtype="float16")
