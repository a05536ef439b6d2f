"""Networks of random weights and inputs, and one evaluation of them: ours without what is constant over an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..cascade_core.kinds import KINDS
from ..cascade_core.models.body import slice_modulation
from ..cascade_core.models.config import PRESETS
from ..cascade_core.models.stage_a import StageA
from ..cascade_core.models.stage_b import StageB
from ..cascade_core.models.stage_c import StageC
from ..cascade_core.sampling.sizes import stage_b_size, stage_c_size
from .clock import Run
from .peers import alive

TOKENS = 77
META = torch.device("meta")


@torch.inference_mode(False)
@torch.no_grad()
def network(kind: str, preset: str, device: torch.device) -> Any:
    """The network in float32 on the device, random in all of its weights; on the meta device without any."""
    build, config = KINDS[kind].network_class(), PRESETS[kind][preset]
    if device == META:
        with META:
            return build(config).eval().requires_grad_(False)
    return alive(build, config, device)


@torch.inference_mode(False)
@torch.no_grad()
def in_type(module: nn.Module, dtype: torch.dtype) -> Any:
    """A copy of the network in another type, without what it was told of its stream."""
    with META:
        copy = type(module)(cast(Any, module).config)
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in module.state_dict().items()
    }
    copy.load_state_dict(state, assign=True)
    return copy.eval().requires_grad_(False)


@dataclass(frozen=True)
class Inputs:
    """What one evaluation of a stage gets; None where a stage has no such thing."""

    x: Tensor
    r: Tensor  # (B,), noise conditions
    pooled: Tensor | None = None
    text: Tensor | None = None
    images: Tensor | None = None
    effnet: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Inputs:
        """The same in another type; the noise conditions stay in float32."""
        changed = {name: each.to(dtype) for name, each in vars(self).items() if each is not None and name != "r"}
        return Inputs(**{**vars(self), **changed})


def inputs(kind: str, preset: str, size: int, batch: int, device: torch.device) -> Inputs:
    """Random inputs of an evaluation for a picture of `size` x `size` pixels, in float32."""
    config = PRESETS[kind][preset]
    generator = None if device == META else torch.Generator(device).manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, device=device)

    r = torch.full((batch,), 0.5, device=device)
    stage_c, stage_b = stage_c_size(size, size), stage_b_size(size, size)
    if kind == "stage_c":
        shapes = (1, config.c_clip_text_pooled), (TOKENS, config.c_clip_text), (1, config.c_clip_img)
        return Inputs(draw(config.channels, *stage_c), r, *(draw(*shape) for shape in shapes))
    if kind == "stage_b":
        effnet = draw(config.c_effnet, *stage_c)
        return Inputs(draw(config.channels, *stage_b), r, draw(1, config.c_clip), effnet=effnet)
    return Inputs(draw(config.c_latent, *stage_b), r)


def constants(module: Any, given: Inputs) -> tuple[Any, ...]:
    """The arguments of an evaluation, of which ours computes all but the latent once an image."""
    if isinstance(module, StageA):
        return (given.x,)
    if isinstance(module, StageC):
        prepared = module.prepare(cast(Tensor, given.text), cast(Tensor, given.pooled), given.images)
    else:
        h, w = given.x.shape[-2:]
        prepared = cast(StageB, module).prepare(cast(Tensor, given.effnet), cast(Tensor, given.pooled), (h, w))
    return given.x, slice_modulation(module.modulate(given.r[:1]), 0), prepared


def ours(module: Any, given: Inputs, evaluate: Callable[..., Tensor] | None = None) -> Run:
    """An evaluation; `evaluate` instead of the network's own."""
    arguments = constants(module, given)
    call = evaluate or (module.decode if isinstance(module, StageA) else module.evaluate)
    return lambda: call(*arguments)


def rms(found: Tensor, expected: Tensor) -> float:
    """Root of the mean squared difference, relative to that of what is expected."""
    found, expected = found.double(), expected.double()
    return float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())
