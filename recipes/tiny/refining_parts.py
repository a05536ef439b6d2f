"""The parts that make pictures crisp: Stage B on its own estimates, then Stage A's decoder on what Stage B leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...cascade_core.builtin import FAMILY, weights_path
from ...cascade_core.files.load import load
from ...cascade_core.models.stage_a import StageA
from ...cascade_core.models.stage_b import StageB
from ...cascade_core.models.text import TextEncoder
from ...cascade_core.pipeline import last
from ...cascade_core.sampling.condition import Condition
from ...cascade_core.sampling.course import RunNoise, make_course
from ...cascade_core.sampling.latent import Latent
from ...cascade_core.sampling.settings import STAGE_B_DEFAULTS
from ...cascade_core.sampling.stages import process_of, run_stage_b
from ...cascade_core.training.plan import Plan
from .data import SIZE
from .networks import begun, built, ship, shipped
from .picture_parts import outline_weights
from .training_data import Data, Rows, float_pixels, near_outlines, weights_mark
from .training_part import Denoising, Part, autocast

CROP, MARGIN = 32, 4  # latent cells of a crop's side, and from a cut to where there are surroundings enough to count
OUTLINE_WEIGHT = 4.0  # of a pixel near an outline, over 1 anywhere
FRAME_WEIGHT = 10.0  # of a pixel in the outermost four, where convolutions lack surroundings
ESTIMATED = {"first": (1.0, 1.0), "early": (0.4, 1.0), "late": (0.05, 0.5)}  # the times of the three estimates
LEAST_NOISE = 0.2  # an error counts by one over b² and this, as v's does, but not without bound where there is no noise


def stage_b_refined(data: Data, steps: int) -> Part[StageB]:
    """Stage B on its own estimates, in place of the clean latent that a sampler never has, and on clean ones beside.

    Each picture is estimated three times, as while sampling: from noise alone, then from noise on the estimate before.
    All shall be the clean latent, so the later ones mend what the one before left, and trust nothing that it made up.
    Where the effnet latent is left out, an estimate would be no picture at all: these rows see noise on the clean one.
    As many other pictures are learned by v, as in `stage_b`: estimates alone make of doubtful latents, as inpainting
    leaves them, a mean of several pictures, where a sampler that believes itself makes one.
    """
    rows = data.amounts.pictures
    latents, effnets, texts = data.latents_a(), data.latents_c(), data.texts("plain", drop=0.3)
    weights = outline_weights(data)
    module = data.ready(begun(StageB))
    denoising = Denoising(data.device)
    batch = data.batch(8)

    def noisy(effnet: Tensor, share: float) -> Tensor:
        """Of a share of the rows a latent less exact than the encoder's, as Stage C's are."""
        noise = data.happens(share, batch, 1, 1, 1) * torch.rand(batch, 1, 1, 1, device=data.device)
        return effnet + 0.2 * noise * torch.randn_like(effnet)

    def loss(_: np.random.Generator) -> dict[str, Tensor]:
        indices = data.some(rows, batch)
        clean, weight = latents(indices), weights(indices)
        given = data.happens(0.94, batch, 1, 1, 1)
        effnet = noisy(effnets(indices), 0.5) * given
        pooled = texts(indices).pooled
        losses: dict[str, Tensor] = {}
        estimate = torch.zeros_like(clean)
        for name, (low, high) in ESTIMATED.items():
            t = low + (high - low) * torch.rand(batch, device=data.device)
            noised = denoising.noised(torch.where(given, estimate, clean), t)
            a, b, _condition = denoising.coefficients(t)
            with autocast(data.device):
                v = module(noised.x, noised.condition, effnet, pooled)
            found = a * noised.x - b * v.float()
            losses[name] = (weight * (found - clean).square() / (b.square() + LEAST_NOISE)).mean()
            estimate = found.detach()

        others = data.some(rows, batch)
        effnet, pooled = noisy(effnets(others), 1.0), texts(others).pooled
        times = denoising.times(batch, 0.1)
        losses["v"] = denoising.loss(latents(others), times, lambda x, r: module(x, r, effnet, pooled), weights(others))
        return losses

    return Part(module, loss, Plan(steps, 1e-3, flat=0.2, optimizer="muon"), ship, batch)


def estimates(data: Data) -> Rows:
    """Stage A latents (B, 4, 64, 64) as Stage B leaves them, from the pictures' Stage C latents and no text.

    And with no guidance, which doubles the time and hardly changes them.
    """
    effnets = data.latents_c()
    stage_b = load("stage_b", weights_path("stage_b"), dtype="float32", device=data.device)
    settings = replace(STAGE_B_DEFAULTS, cfg=1.0)
    condition = Condition(*shipped(TextEncoder).encode([""]), family=FAMILY)

    def noise(shape: tuple[int, int, int, int], device: torch.device) -> RunNoise:
        first = torch.randn(shape, device=device)
        return RunNoise(first, first, lambda *_: torch.randn(shape, device=device))

    def make(indices: Tensor) -> Tensor:
        given = replace(condition, stage_c=effnets(indices))
        course = replace(make_course(settings, process_of(stage_b), [0]), noise=noise)
        empty = Latent(torch.zeros(len(indices), 4, SIZE // 4, SIZE // 4))
        return last(run_stage_b(stage_b, [given], [given], empty, lambda: course).steps).clone()

    kinds = ("effnet", "stage_b")
    table = data.tables.computed("estimates", weights_mark(*kinds), data.amounts.estimates, make, torch.float16)
    return lambda indices: table[indices].float()


def stage_a_decoder(data: Data, steps: int) -> Part[StageA]:
    """Stage A's decoder on what Stage B leaves, or in a quarter on the true latent; the encoder stays as it is.

    Deeper than the one that the encoder was trained with, so that it sees further than one of Stage B's patches and can
    straighten an outline across them. Pixels near outlines count more, and differences of neighbours count too.
    """
    rows = data.amounts.estimates
    latents, full, left = data.latents_a(), data.full(), estimates(data)
    module = data.ready(deepened(shipped(StageA)))
    for part in (module.up_blocks, module.out_block):
        part.requires_grad_(True)
    frame = F.pad(torch.ones(SIZE - 8, SIZE - 8), (4, 4, 4, 4), value=FRAME_WEIGHT).to(data.device)
    edge = SIZE // 4 - CROP
    batch = data.batch(12)

    def cropped(whole: Tensor, places: Tensor, scale: int) -> Tensor:
        """Crops (B, C, scale * CROP, scale * CROP) of (B or 1, C, H, W) at places (B, 2) in cells, top and left."""
        along = torch.arange(scale * CROP, device=data.device)
        down, across = (scale * places[:, axis, None] + along for axis in (0, 1))
        numbers = torch.arange(batch, device=data.device)[:, None, None]
        channels_last = whole.expand(batch, -1, -1, -1).permute(0, 2, 3, 1)
        return channels_last[numbers, down[:, :, None], across[:, None]].permute(0, 3, 1, 2)

    def surrounded(places: Tensor) -> Tensor:
        """1 for rows or columns (B, 4 * CROP) with enough surroundings in a crop at places (B,), 0 for others."""
        along = torch.arange(4 * CROP, device=data.device)
        first = (4 * MARGIN * (places > 0))[:, None]
        end = (4 * (CROP - MARGIN * (places < edge).long()))[:, None]
        return ((along >= first) & (along < end)).float()

    def loss(_: np.random.Generator) -> dict[str, Tensor]:
        indices = data.some(rows, batch)
        latent = torch.where(data.happens(0.75, batch, 1, 1, 1), left(indices), latents(indices))
        latent = latent + 0.05 * torch.rand(batch, 1, 1, 1, device=data.device) * torch.randn_like(latent)
        places = torch.randint(-CROP // 2, edge + CROP // 2 + 1, (batch, 2), device=data.device)
        places = places.clamp(0, edge)  # half of them at edges
        latent = cropped(latent, places, 1)
        wanted = float_pixels(cropped(full(indices).permute(0, 3, 1, 2), places, 4).permute(0, 2, 3, 1))
        counts = cropped(frame[None, None], places, 4)
        counts = counts * surrounded(places[:, 0])[:, None, :, None] * surrounded(places[:, 1])[:, None, None]
        with autocast(data.device):
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
