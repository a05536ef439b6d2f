"""The parts about pictures: Stage A, the compressor (effnet with Stage B), Stage B alone, the previewer."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.models.config import PRESETS
from ...cascade_core.models.effnet import IMAGENET_MEAN, IMAGENET_STD, Effnet
from ...cascade_core.models.previewer import Previewer
from ...cascade_core.models.stage_a import MixingResidualBlock, StageA
from ...cascade_core.models.stage_b import StageB
from ...cascade_core.training.plan import Plan
from .attributes import ATTRIBUTE_SIZES
from .data import CELLS, picture, training_scene
from .networks import begun, built, ship
from .training_data import Data, Rows
from .training_part import Denoising, Part, WarmUp, attribute_loss, autocast

EFFNET_NOISE = 0.08  # on the latent while the compressor learns, so that near latents mean near pictures
OUTLINE_WEIGHT = 3.0  # of the error in a cell near an outline, over 1 in the plain


def stage_a(data: Data, steps: int) -> Part[StageA]:
    """Crops to themselves; afterwards the latent is scaled to mean 0 and deviation 1 in model space, exactly."""
    module = StageA(replace(PRESETS["stage_a"]["tiny"], bottleneck_blocks=2))  # deep enough for what it encodes itself
    norm = _latent_norm(module)
    nn.init.constant_(norm.weight, module.config.scale)
    norm.requires_grad_(False)
    data.ready(module)
    for block in module.modules():
        if isinstance(block, MixingResidualBlock):  # from zero, as officially, the blocks take too long to wake up
            block.gammas.data[[2, 5]] = 0.5
    warm_up = WarmUp(module)
    batch = data.batch(24)

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        pixels = _crops(random, batch, 64).to(data.device)
        warm_up()
        latent = module.encode(pixels)
        decoded = module.decode(latent + 0.05 * torch.randn_like(latent))
        return {"l1": F.l1_loss(decoded, pixels), "mse": 5 * F.mse_loss(decoded, pixels)}

    return Part(module, loss, Plan(steps, 3e-3, ema=0.998, weight_decay=0.0), _ship_stage_a, batch, warm_up)


def _latent_norm(module: StageA) -> nn.BatchNorm2d:
    return cast(nn.BatchNorm2d, module.down_blocks[-1].get_submodule("1"))


def _crops(random: np.random.Generator, batch: int, side: int) -> Tensor:
    """A crop each of different pictures: few backgrounds would make BatchNorm's statistics jump."""
    rows: list[np.ndarray] = []
    for index in random.integers(1 << 20, size=batch):
        full = picture(training_scene(int(index)))
        top, left = random.integers(len(full) - side + 1, size=2)
        rows.append(full[top : top + side, left : left + side])
    return to_pixels(np.stack(rows))


@torch.no_grad()
def _ship_stage_a(trained: StageA) -> None:
    """Scale and shift the latent, by the layers on either side of it, to deviation 1 and mean 0 in model space."""
    full = to_pixels(np.stack([picture(training_scene(i)) for i in range(256)]))
    trained.cpu()
    latent = torch.cat([trained.encode(part) for part in torch.split(full, 16)]) * trained.config.scale
    mean, std = latent.mean((0, 2, 3)), latent.std((0, 2, 3))
    ratio = trained.config.scale / std
    norm, first = _latent_norm(trained), trained.up_blocks.get_submodule("0.0")
    norm.weight.mul_(ratio)
    norm.bias.sub_(mean).mul_(ratio)
    weight, bias = first.get_parameter("weight"), first.get_parameter("bias")
    bias.add_(weight[:, :, 0, 0] @ mean)
    weight.div_(ratio[None, :, None, None])
    ship(trained)


class Compressor(nn.Module):
    """The encoder, its decoder, and a linear reader that keeps a scene's attributes plain in the latent."""

    def __init__(self) -> None:
        super().__init__()
        self.effnet, self.stage_b = begun(Effnet), begun(StageB)
        self.reader = nn.Linear(16 * CELLS**2, sum(ATTRIBUTE_SIZES))


def compressor(data: Data, steps: int) -> Part[Compressor]:
    """Stage B's loss trains the encoder too; more times near 1 than later, since there the latent alone must do."""
    encoded, latents, labels, weights = data.encoded(), data.latents_a(), data.labels(), outline_weights(data)
    texts = data.texts("plain", drop=0.3)
    mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device=data.device)[:, None, :, None, None]
    module = data.ready(Compressor())
    warm_up, denoising = WarmUp(module.effnet), Denoising(data.device)
    batch = data.batch(16)

    def loss(_: np.random.Generator) -> dict[str, Tensor]:
        warm_up()
        indices = data.some(data.amounts.pictures, batch)
        clean = latents(indices)
        with autocast(data.device, enabled=data.device.type == "cuda"):  # a CPU's convolutions gain nothing
            effnet = module.effnet.encode((encoded(indices) - mean) / std).float()
        spread = (effnet.square().mean((0, 2, 3)) - 1).square().mean()
        effnet = effnet + EFFNET_NOISE * torch.randn_like(effnet)
        pooled = texts(indices).pooled
        v = denoising.loss(
            clean,
            denoising.times(batch, 0.5),
            lambda x, r: module.stage_b(x, r, effnet, pooled),
            weights(indices),
        )
        read = attribute_loss(module.reader(effnet.flatten(1)), labels(indices))
        return {"v": v, "read": 0.2 * read, "spread": 0.1 * spread}

    def finish(trained: Compressor) -> None:
        _normalise(trained.effnet, data)
        ship(trained.effnet)
        ship(trained.stage_b)

    return Part(module, loss, Plan(steps, 2e-3, ema=0.998, optimizer="muon"), finish, batch, warm_up)


def outline_weights(data: Data) -> Rows:
    """Weights (B, 1, 64, 64) of the cells of Stage A's latent, larger near outlines, 1 on average."""
    outlines = data.outlines()

    def weights(indices: Tensor) -> Tensor:
        weight = 1 + (OUTLINE_WEIGHT - 1) * outlines(indices)
        return weight / weight.mean()

    return weights


@torch.no_grad()
def _normalise(effnet: Effnet, data: Data) -> None:
    """Set the statistics of the last norm so that the latents have mean 0 and deviation 1."""
    encoded = data.encoded()
    every = torch.arange(min(2048, data.amounts.pictures), device=data.device)
    latent = torch.cat([effnet(encoded(indices)) for indices in torch.split(every, 64)])
    mean, variance = effnet.get_buffer("mapper.1.running_mean"), effnet.get_buffer("mapper.1.running_var")
    mean.add_(latent.mean((0, 2, 3)) * variance.sqrt())
    variance.mul_(latent.var((0, 2, 3)))


def stage_b(data: Data, steps: int) -> Part[StageB]:
    """Stage B alone: a latent noisier than the encoder's own, since Stage C will not be exact, and none in 10 %."""
    latents, effnets, weights = data.latents_a(), data.latents_c(), outline_weights(data)
    texts = data.texts("plain", drop=0.2)
    module = data.ready(begun(StageB))
    denoising = Denoising(data.device)
    batch = data.batch(16)

    def loss(_: np.random.Generator) -> dict[str, Tensor]:
        indices = data.some(data.amounts.pictures, batch)
        clean, effnet = latents(indices), effnets(indices)
        noise = torch.rand(batch, 1, 1, 1, device=data.device) * 0.2
        effnet = effnet + noise * torch.randn_like(effnet)
        effnet = effnet * data.happens(0.9, batch, 1, 1, 1)
        pooled = texts(indices).pooled
        v = denoising.loss(
            clean, denoising.times(batch, 0.25), lambda x, r: module(x, r, effnet, pooled), weights(indices)
        )
        return {"v": v}

    return Part(module, loss, Plan(steps, 2e-3, optimizer="muon"), ship, batch)


def previewer(data: Data, steps: int) -> Part[Previewer]:
    """Latents to small pictures; an extra loss on differences of neighbours keeps the edges."""
    encoded, effnets = data.encoded(), data.latents_c()
    module = data.ready(built(Previewer))
    warm_up = WarmUp(module)
    batch = data.batch(24)

    def loss(_: np.random.Generator) -> dict[str, Tensor]:
        warm_up()
        indices = data.some(data.amounts.pictures, batch)
        latent = effnets(indices)
        latent = latent + 0.06 * torch.randn_like(latent)
        error = module(latent) - F.avg_pool2d(encoded(indices), 4)
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return {"l1": error.abs().mean(), "mse": 5 * error.square().mean(), "edges": edges}

    return Part(module, loss, Plan(steps, 2e-3, ema=0.998), ship, batch, warm_up)
