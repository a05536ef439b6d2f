"""The parts that make pictures crisp: Stage B on its own estimates, then Stage A's decoder on what Stage B leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.models.stage_a import StageA
from ...cascade_core.models.stage_b import StageB
from ...cascade_core.models.text import TextEncoder
from ...cascade_core.training import denoising
from ...cascade_core.training.plan import Plan
from .caches import ESTIMATES, fill_estimates, fill_latents, fill_pictures, latents_cache, pictures_cache
from .data import SIZE, picture, training_scene
from .training_part import PROCESS, Part, built, captions_of, ship, shipped

REFINED = 6144  # pictures that the refining parts see
CROP, MARGIN = 32, 4  # latent cells of a crop's side, and from a cut to where there are surroundings enough to count
OUTLINE_WEIGHT = 4.0  # of a pixel near an outline, over 1 anywhere
FRAME_WEIGHT = 10.0  # of a pixel in the outermost four, where convolutions lack surroundings
LATER = {"early": (0.4, 1.0), "late": (0.05, 0.5)}  # the times of the second and third estimate
KEPT = 0.5  # share of the weights that it began with in those that ship
LEAST_NOISE = 0.2  # an error counts by one over b² and this, as v's does, but not without bound where there is no noise


def stage_b_refined(work: Path, steps: int) -> Part[StageB]:
    """Stage B on its own estimates, in place of the clean latent that a sampler never has.

    Each picture is estimated three times, as while sampling: from noise alone, then from noise on the estimate before.
    The later two shall be the clean latent, so they mend what the one before left, and trust nothing that it made up.
    Where the effnet latent is left out, an estimate would be no picture at all: these rows see noise on the clean one.
    What ships lies between this and what it began with: alone it makes of doubtful latents, as inpainting leaves them,
    a mean of several pictures, where a sampler that believes itself makes one.
    """
    fill_pictures(work, REFINED)
    fill_latents(work, REFINED)
    _, latents = pictures_cache(work)
    effnets = latents_cache(work)
    text = shipped(TextEncoder)
    module = shipped(StageB).requires_grad_(True)
    start = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    batch = 8

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.integers(REFINED, size=batch)
        clean = torch.as_tensor(latents[indices]).float()
        effnet = torch.as_tensor(effnets[indices]).float()
        noisy = torch.as_tensor(random.random((batch, 1, 1, 1)) < 0.5) * torch.rand(batch, 1, 1, 1)
        effnet = effnet + 0.2 * noisy * torch.randn_like(effnet)
        given = torch.as_tensor(random.random((batch, 1, 1, 1)) >= 0.06)
        effnet = effnet * given
        with torch.no_grad():
            pooled = text.encode(captions_of(indices, random, drop=0.3)).pooled

        def estimated(estimate: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
            """The next estimate of the clean latent, at times between these, and b there."""
            t = torch.as_tensor(random.uniform(low, high, batch)).float()
            noised = denoising.noised_at(t, torch.where(given, estimate, clean), torch.randn_like(clean), PROCESS)
            a, b = PROCESS.coefficients(t)
            with torch.autocast("cpu", torch.bfloat16):
                v = module(noised.x, noised.condition, effnet, pooled)
            return a * noised.x - b * v.float(), b

        with torch.no_grad():
            estimate, _ = estimated(torch.zeros_like(clean), 1.0, 1.0)
        losses: dict[str, Tensor] = {}
        for name, times in LATER.items():
            estimate, b = estimated(estimate.detach(), *times)
            losses[name] = ((estimate - clean).square() / (b.square() + LEAST_NOISE)).mean()
        return losses

    def finish(trained: StageB) -> None:
        for name, tensor in trained.state_dict().items():
            tensor.lerp_(start[name], KEPT)
        ship(trained)

    return Part(module, loss, Plan(steps, 1e-3, muon=True), finish, batch)


def stage_a_decoder(work: Path, steps: int) -> Part[StageA]:
    """Stage A's decoder on what Stage B leaves, or in a quarter on the true latent; the encoder stays as it is.

    Deeper than the one that the encoder was trained with, so that it sees further than one of Stage B's patches and can
    straighten an outline across them. Pixels near outlines count more, and differences of neighbours count too.
    """
    fill_pictures(work, ESTIMATES)
    fill_latents(work, ESTIMATES)
    _, latents = pictures_cache(work)
    estimates = fill_estimates(work)
    module = deepened(shipped(StageA))
    for part in (module.up_blocks, module.out_block):
        part.requires_grad_(True)
    frame = F.pad(torch.ones(1, SIZE - 8, SIZE - 8), (4, 4, 4, 4), value=FRAME_WEIGHT)
    batch = 12

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.integers(ESTIMATES, size=batch)
        left = random.random((batch, 1, 1, 1)) < 0.75
        latent = torch.as_tensor(np.where(left, estimates[indices], latents[indices])).float()
        latent = latent + 0.05 * torch.rand(batch, 1, 1, 1) * torch.randn_like(latent)
        drawn = to_pixels(np.stack([picture(training_scene(int(i))) for i in indices]))
        edge = 64 - CROP
        places = random.integers(-CROP // 2, edge + CROP // 2 + 1, size=(batch, 2)).clip(0, edge)  # half at edges
        latent = torch.stack([one[:, y : y + CROP, x : x + CROP] for one, (y, x) in zip(latent, places, strict=True)])
        counts = torch.zeros(batch, 1, 4 * CROP, 4 * CROP)
        wanted = torch.empty(batch, 3, 4 * CROP, 4 * CROP)
        for number, (y, x) in enumerate(places):
            rows, columns = (slice(4 * MARGIN * (at > 0), 4 * (CROP - MARGIN * (at < edge))) for at in (y, x))
            part = frame[:, 4 * y : 4 * (y + CROP), 4 * x : 4 * (x + CROP)]
            counts[number, :, rows, columns] = part[:, rows, columns]
            wanted[number] = drawn[number, :, 4 * y : 4 * (y + CROP), 4 * x : 4 * (x + CROP)]
        with torch.autocast("cpu", torch.bfloat16):
            decoded = module.decode(latent)
        error = decoded.float() - wanted
        weight = (1 + (OUTLINE_WEIGHT - 1) * near_outlines(wanted)) * counts / counts.mean()
        across, down = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
        return {
            "l1": (weight * error.abs()).mean(),
            "mse": 5 * (weight * error.square()).mean(),
            "edges": 0.5 * ((weight[..., 1:] * across).mean() + (weight[..., 1:, :] * down).mean()),
        }

    return Part(module, loss, Plan(steps, 2e-3, flat=0.6, ema=0.998, weight_decay=0.0), ship, batch)


def near_outlines(pixels: Tensor) -> Tensor:
    """1 within four pixels of a change of colour, 0 elsewhere: (B, 3, H, W) -> (B, 1, H, W)."""
    spread = F.max_pool2d(pixels, 9, 1, 4) + F.max_pool2d(-pixels, 9, 1, 4)
    return (spread.amax(1, keepdim=True) > 0.06).float()


def deepened(module: StageA) -> StageA:
    """The same autoencoder, frozen, with as many decoder blocks as the preset has; new ones hardly change it."""
    deep = built(StageA).requires_grad_(False)
    old, new = module.config.bottleneck_blocks, deep.config.bottleneck_blocks
    tensors = module.state_dict()
    for name in [name for name in tensors if name.startswith("up_blocks.")]:
        _, number, rest = name.split(".", 2)
        if int(number) > old:
            tensors[f"up_blocks.{int(number) + new - old}.{rest}"] = tensors.pop(name)
    for block in list(deep.up_blocks.children())[1 + old : 1 + new]:
        block.get_parameter("gammas")[[2, 5]] = 0.05
    deep.load_state_dict(tensors, strict=False)
    return deep
