"""The parts about pictures: Stage A, the compressor (effnet with Stage B), Stage B alone, the previewer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.models.config import PRESETS
from ...cascade_core.models.effnet import Effnet
from ...cascade_core.models.previewer import Previewer
from ...cascade_core.models.stage_a import MixingResidualBlock, StageA
from ...cascade_core.models.stage_b import StageB
from ...cascade_core.models.text import TextEncoder
from ...cascade_core.training.plan import Plan
from .attributes import ATTRIBUTE_SIZES
from .caches import PICTURES, Cache, fill_latents, fill_pictures, latents_cache, pictures_cache
from .data import CELLS, picture, training_scene
from .training_part import (
    Part,
    attribute_loss,
    built,
    captions_of,
    denoising_loss,
    labels_of,
    ship,
    shipped,
    times,
    warming_up,
)

EFFNET_NOISE = 0.08  # on the latent while the compressor learns, so that near latents mean near pictures


def stage_a(work: Path, steps: int) -> Part[StageA]:
    """Crops to themselves; afterwards the latent is scaled to mean 0 and deviation 1 in model space, exactly."""
    module = StageA(replace(PRESETS["stage_a"]["tiny"], bottleneck_blocks=2))  # deep enough for what it encodes itself
    norm = _latent_norm(module)
    nn.init.constant_(norm.weight, module.config.scale)
    norm.requires_grad_(False)
    for block in module.modules():
        if isinstance(block, MixingResidualBlock):  # from zero, as officially, the blocks take too long to wake up
            block.gammas.data[[2, 5]] = 0.5
    batch = 24

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        pixels = _crops(random, batch, 64)
        norm.train(warming_up(norm))
        latent = module.encode(pixels)
        decoded = module.decode(latent + 0.05 * torch.randn_like(latent))
        return {"l1": F.l1_loss(decoded, pixels), "mse": 5 * F.mse_loss(decoded, pixels)}

    return Part(module, loss, Plan(steps, 3e-3, ema=0.998, weight_decay=0.0), _ship_stage_a, batch)


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
        self.effnet, self.stage_b = built(Effnet), built(StageB)
        self.reader = nn.Linear(16 * CELLS**2, sum(ATTRIBUTE_SIZES))


def compressor(work: Path, steps: int) -> Part[Compressor]:
    """Stage B's loss trains the encoder too; more times near 1 than later, since there the latent alone must do."""
    fill_pictures(work)
    pixels, latents = pictures_cache(work)
    text = shipped(TextEncoder)
    module = Compressor()
    norm = module.effnet.mapper[1]
    batch = 16

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        module.effnet.train(warming_up(norm))
        indices = random.integers(PICTURES, size=batch)
        clean = torch.as_tensor(latents[indices]).float()
        effnet = module.effnet(to_pixels(pixels[indices]))
        spread = (effnet.square().mean((0, 2, 3)) - 1).square().mean()
        effnet = effnet + EFFNET_NOISE * torch.randn_like(effnet)
        with torch.no_grad():
            pooled = text.encode(captions_of(indices, random, drop=0.3)).pooled
        denoising = denoising_loss(clean, times(random, batch, 0.5), lambda x, r: module.stage_b(x, r, effnet, pooled))
        read = attribute_loss(module.reader(effnet.flatten(1)), labels_of(indices))
        return {"v": denoising, "read": 0.2 * read, "spread": 0.1 * spread}

    def finish(trained: Compressor) -> None:
        _normalise(trained.effnet, pixels)
        ship(trained.effnet)
        ship(trained.stage_b)

    return Part(module, loss, Plan(steps, 2e-3, ema=0.998), finish, batch)


@torch.no_grad()
def _normalise(effnet: Effnet, pixels: Cache) -> None:
    """Set the statistics of the last norm so that the latents have mean 0 and deviation 1."""
    latent = torch.cat([effnet(to_pixels(pixels[np.arange(i, i + 64)])) for i in range(0, 2048, 64)])
    mean, variance = effnet.get_buffer("mapper.1.running_mean"), effnet.get_buffer("mapper.1.running_var")
    mean.add_(latent.mean((0, 2, 3)) * variance.sqrt())
    variance.mul_(latent.var((0, 2, 3)))


def stage_b(work: Path, steps: int) -> Part[StageB]:
    """Stage B alone: a latent noisier than the encoder's own, since Stage C will not be exact, and none in 10 %."""
    fill_latents(work)
    _, latents = pictures_cache(work)
    effnets = latents_cache(work)
    text = shipped(TextEncoder)
    module = shipped(StageB).requires_grad_(True)
    batch = 16

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.integers(PICTURES, size=batch)
        clean = torch.as_tensor(latents[indices]).float()
        effnet = torch.as_tensor(effnets[indices]).float()
        effnet = effnet + torch.rand(batch, 1, 1, 1) * 0.2 * torch.randn_like(effnet)
        effnet = effnet * (torch.rand(batch, 1, 1, 1) >= 0.1)
        with torch.no_grad():
            pooled = text.encode(captions_of(indices, random, drop=0.2)).pooled
        return {"v": denoising_loss(clean, times(random, batch, 0.25), lambda x, r: module(x, r, effnet, pooled))}

    return Part(module, loss, Plan(steps, 2e-3, muon=True), ship, batch)


def previewer(work: Path, steps: int) -> Part[Previewer]:
    """Latents to small pictures; an extra loss on differences of neighbours keeps the edges."""
    fill_latents(work)
    pixels, _ = pictures_cache(work)
    effnets = latents_cache(work)
    module = built(Previewer)
    norm = module.blocks[2]
    batch = 24

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        module.train(warming_up(norm))
        indices = random.integers(PICTURES, size=batch)
        latent = torch.as_tensor(effnets[indices]).float()
        latent = latent + 0.06 * torch.randn_like(latent)
        error = module(latent) - F.avg_pool2d(to_pixels(pixels[indices]), 4)
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return {"l1": error.abs().mean(), "mse": 5 * error.square().mean(), "edges": edges}

    return Part(module, loss, Plan(steps, 2e-3, ema=0.998), ship, batch)
