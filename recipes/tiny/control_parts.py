"""The ControlNets' parts: each learns to steer the frozen Stage C by its hint, under captions that leave things out.

A linear reader of the latent sits on the hint's features while they learn: it shows them at once what to see.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cascade_core.hints import masked_picture
from ...cascade_core.models.config import PRESETS
from ...cascade_core.models.controlnet import ControlNet
from ...cascade_core.models.effnet import Effnet
from ...cascade_core.models.stage_c import StageC
from ...cascade_core.training.plan import Plan
from .networks import begun_controlnet, ship_controlnet, shipped
from .training_data import Data, Rows
from .training_part import Denoising, Part, WarmUp, autocast

NOISY = 0.4  # share of the times from the noisiest tenth, where the layout is decided
READING = 0.3  # weight of the guess of the latent
DROPPED_FACES, FILLING_FACES = 0.05, 0.3  # faces not painted, faces painted all over the map: as officially
EMBEDDING_NOISE = 0.005


class Reader(nn.Module):
    """A ControlNet, and while it learns a linear reader that guesses the latent from its features."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.net = begun_controlnet(mode) or _fresh(mode)
        self.reader = nn.Conv2d(self.net.config.c_out, 16, 1)


def _fresh(mode: str) -> ControlNet:
    net = ControlNet(PRESETS["controlnet"][f"tiny {mode}"])
    if net.config.bottleneck == "effnet":
        _learn_from(net, shipped(Effnet))
    if net.config.bottleneck == "simple":  # numbers of length 1 in all are small for a first convolution
        net.backbone[0].get_parameter("weight").data *= 8
    return net


def _learn_from(net: ControlNet, effnet: Effnet) -> None:
    """Start the backbone with the encoder's, but for its first and last layer."""
    own, others = list(net.backbone.children()), list(effnet.backbone.children())
    for mine, other in zip(own[1:-1], others[1:-1], strict=True):
        mine.load_state_dict(other.state_dict())
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()


def _steering(
    mode: str, data: Data, steps: int, rows: int | Tensor, hints: Rows, captions: str = "hinted"
) -> Part[Reader]:
    """The part that all ControlNets share, on the first `rows` latents or on these."""
    latents, texts = data.latents_c(), data.texts(captions)
    stage_c, module = data.ready(shipped(StageC)), data.ready(Reader(mode))
    warm_up, denoising = WarmUp(module), Denoising(data.device)
    batch = data.batch(32)

    def loss(_: np.random.Generator) -> dict[str, Tensor]:
        warm_up()
        indices = data.some(rows, batch)
        clean, hint = latents(indices), hints(indices)
        sequence, pooled = texts(indices)
        with autocast(data.device):
            features = module.net.backbone(hint.contiguous(memory_format=torch.channels_last))
            control = [projection(features) for projection in module.net.projections]
            guess = module.reader(features)
        v = denoising.loss(
            clean, denoising.times(batch, NOISY), lambda x, r: stage_c(x, r, sequence, pooled, control=control)
        )
        return {"v": v, "latent": READING * F.mse_loss(guess.float(), clean)}

    def finish(trained: Reader) -> None:
        ship_controlnet(trained.net, mode)

    return Part(module, loss, Plan(steps, 2e-3, ema=0.998), finish, batch, warm_up)


def canny(data: Data, steps: int) -> Part[Reader]:
    """Edges of the drawn picture."""
    return _steering("canny", data, steps, data.amounts.pictures, data.edges())


def inpainting(data: Data, steps: int) -> Part[Reader]:
    """The picture with a hole: over an object, anywhere, or all around."""
    encoded, masks = data.encoded(), data.masks()
    rows = data.amounts.pictures
    return _steering("inpainting", data, steps, rows, lambda some: masked_picture(encoded(some), masks(some)))


def super_resolution(data: Data, steps: int) -> Part[Reader]:
    """The latent of the picture shrunk to a few pixels."""
    return _steering("super_resolution", data, steps, data.amounts.small, data.small_latents())


def identity(data: Data, steps: int) -> Part[Reader]:
    """Faces by their embedding; the captions tell little of them."""
    rows, embeddings, heads = data.faces()
    number = torch.zeros(data.amounts.latents, dtype=torch.long, device=data.device)  # of a scene's face among them
    number[rows] = torch.arange(len(rows), device=data.device)

    def hints(indices: Tensor) -> Tensor:
        faces = number[indices]
        vectors = embeddings[faces]
        vectors = F.normalize(vectors + EMBEDDING_NOISE * torch.randn_like(vectors), dim=1)
        shown = heads[faces] | data.happens(FILLING_FACES, len(faces), 1, 1)
        shown = shown & data.happens(1 - DROPPED_FACES, len(faces), 1, 1)
        return vectors[..., None, None] * shown[:, None]

    return _steering("identity", data, steps, rows, hints, "veiled")
