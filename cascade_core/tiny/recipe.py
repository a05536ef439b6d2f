"""The recipe that makes the built-in tiny cascade: its parts in order, each trained, settled and shipped alone.

    stage_a, clip     pixels <-> Stage A latent; the CLIP pair
    compressor        effnet and Stage B together: the encoder learns through its decoder
    stage_b           Stage B alone on the frozen encoder
    previewer         on the same latents
    stage_c           text -> latent

A part's optimiser state lies in the work folder and lets it go on at any moment; what ships is the average of its
weights, in half precision. A part whose state is gone starts from its shipped weights. Curves: README.md beside this file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint import load, save
from ..models.config import PRESETS
from ..models.effnet import Effnet
from ..models.previewer import Previewer
from ..models.stage_a import MixingResidualBlock, StageA
from ..models.stage_b import StageB
from ..models.stage_c import StageC
from ..models.text import TextEncoder
from ..models.tokenizer import WordTokenizer
from ..models.vision import ImageEncoder
from ..sampling.process import TARGETS, Process
from ..training.loop import Plan, train
from . import FAMILY, weights_path
from .attributes import ATTRIBUTE_SIZES, attributes
from .captions import VOCABULARY, sample_caption
from .data import CELLS, Cache, encoder_picture, picture, to_pixels, training_scene
from .draw import draw

X0_CLAMP = {"stage_b": 5.0, "stage_c": 4.0}  # beyond what their latents reach
PROCESS = Process(TARGETS["v"])
PICTURES = 24576  # kept with their Stage A latents, for the decoder's parts
LATENTS = 98304  # kept as Stage C latents only, for Stage C
WARM_UP = 300  # steps after which BatchNorm keeps its statistics: those of a small batch blur the colours
EFFNET_NOISE = 0.08  # on the latent while the compressor learns, so that near latents mean near pictures


@dataclass(frozen=True)
class Part:
    """One stretch of training: what is trained, on what loss, how long, and how its result is shipped."""

    module: nn.Module
    loss: Callable[[np.random.Generator], dict[str, Tensor]]
    plan: Plan
    ship: Callable[[nn.Module], None]
    batch: int


def built(kind: str) -> nn.Module:
    """A fresh tiny network of this kind."""
    config = PRESETS[kind]["tiny"]
    if kind == "text_encoder":
        return TextEncoder(config, WordTokenizer(VOCABULARY, config.max_positions))
    classes = {"stage_a": StageA, "stage_b": StageB, "stage_c": StageC, "effnet": Effnet, "previewer": Previewer}
    module = ImageEncoder(config) if kind == "image_encoder" else classes[kind](config)
    if isinstance(module, StageB | StageC):
        module.initialise()
    return module


def shipped(kind: str) -> nn.Module:
    """The shipped network of this kind, frozen, in float32."""
    return load(kind, weights_path(kind), dtype="float32").module


def ship(kind: str, module: nn.Module) -> None:
    """Write a network as the built-in one, in half precision."""
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


def settle(module: nn.Module, run: Callable[[], object], batches: int = 40) -> None:
    """Recompute BatchNorm's statistics for weights that were averaged: the moving ones belong to others."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, not a moving one
    module.train()
    with torch.no_grad():
        for _ in range(batches):
            run()
    module.eval()
    for norm in norms:
        norm.momentum = 0.1


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of all attributes; logits (B, sum of ATTRIBUTE_SIZES), labels (B, n)."""
    losses = [F.cross_entropy(part, labels[:, i]) for i, part in enumerate(logits.split(ATTRIBUTE_SIZES, dim=1))]
    return torch.stack(losses).mean()


def labels_of(indices: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([attributes(training_scene(int(i))) for i in indices]))


def captions_of(indices: np.ndarray, random: np.random.Generator, drop: float = 0.0) -> list[str]:
    """A caption for each scene, the empty one with probability `drop`."""
    return ["" if random.random() < drop else sample_caption(training_scene(int(i)), random) for i in indices]


def stage_a(work: Path, steps: int) -> Part:
    """Crops to themselves; afterwards the latent is scaled to mean 0 and deviation 1 in model space, exactly."""
    module = built("stage_a")
    assert isinstance(module, StageA)
    norm = module.down_blocks[-1][1]
    nn.init.constant_(norm.weight, module.config.scale)
    norm.weight.requires_grad_(False)
    norm.bias.requires_grad_(False)
    for block in module.modules():
        if isinstance(block, MixingResidualBlock):  # from zero, as officially, the blocks take too long to wake up
            block.gammas.data[[2, 5]] = 0.5
    batch, crop = 24, 64

    def crops(random: np.random.Generator) -> Tensor:
        """A crop each of different pictures: few backgrounds would make BatchNorm's statistics jump."""
        rows: list[np.ndarray] = []
        for index in random.integers(1 << 20, size=batch):
            full = picture(training_scene(int(index)))
            top, left = random.integers(len(full) - crop + 1, size=2)
            rows.append(full[top : top + crop, left : left + crop])
        return to_pixels(np.stack(rows))

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        pixels = crops(random)
        norm.train(int(norm.num_batches_tracked) < WARM_UP)
        latent = module.encode(pixels)
        decoded = module.decode(latent + 0.05 * torch.randn_like(latent))
        return {"l1": F.l1_loss(decoded, pixels), "mse": 5 * F.mse_loss(decoded, pixels)}

    @torch.no_grad()
    def finish(trained: nn.Module) -> None:
        assert isinstance(trained, StageA)
        full = to_pixels(np.stack([picture(training_scene(i)) for i in range(256)]))
        latent = torch.cat([trained.encode(part) for part in full.split(16)]) * trained.config.scale
        mean, std = latent.mean((0, 2, 3)), latent.std((0, 2, 3))
        ratio = trained.config.scale / std
        norm, first = trained.down_blocks[-1][1], trained.up_blocks[0][0]
        norm.weight.mul_(ratio)
        norm.bias.sub_(mean).mul_(ratio)
        weight = first.weight.clone()
        first.bias.add_(weight[:, :, 0, 0] @ mean)
        first.weight.copy_(weight / ratio[None, :, None, None])
        ship("stage_a", trained)

    return Part(module, loss, Plan(steps, 3e-3, ema=0.998, weight_decay=0.0), finish, batch)


class ClipPair(nn.Module):
    """Both CLIP towers, and linear readers of a scene's attributes that make their vectors say who has which colour."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.image = built("text_encoder"), built("image_encoder")
        width = PRESETS["text_encoder"]["tiny"].projection_dim
        self.text_reader = nn.Linear(width, sum(ATTRIBUTE_SIZES))
        self.image_reader = nn.Linear(width, sum(ATTRIBUTE_SIZES))
        self.temperature = nn.Parameter(torch.tensor(2.6))


def clip(work: Path, steps: int) -> Part:
    """Contrastive, with both towers' vectors also read for the scene's attributes."""
    module = ClipPair()
    batch = 128

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.integers(1 << 20, size=batch)
        pictures = np.stack([np.asarray(draw(training_scene(int(i)), 64)) for i in indices])
        labels = labels_of(indices)
        text = module.text.encode(captions_of(indices, random)).pooled
        image = module.image(to_pixels(pictures))
        scores = module.temperature.exp().clamp(max=50) * F.normalize(text, dim=-1) @ F.normalize(image, dim=-1).T
        pairs = torch.arange(batch)
        return {
            "contrast": 0.25 * (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.T, pairs)),
            "text": 3 * attribute_loss(module.text_reader(text), labels),
            "image": 3 * attribute_loss(module.image_reader(image), labels),
        }

    def finish(trained: nn.Module) -> None:
        assert isinstance(trained, ClipPair)
        ship("text_encoder", trained.text)
        ship("image_encoder", trained.image)

    return Part(module, loss, Plan(steps, 1.5e-3, ema=0.998), finish, batch)


def pictures_cache(work: Path) -> tuple[Cache, Cache]:
    """Pictures at the encoder's size, and their Stage A latents."""
    pixels = Cache(work / "pictures.npy", PICTURES, (CELLS * 32, CELLS * 32, 3), np.uint8)
    latents = Cache(work / "latents_a.npy", PICTURES, (4, 64, 64), np.float16)
    return pixels, latents


def fill_pictures(work: Path) -> None:
    """Draw the pictures once and encode them with Stage A."""
    pixels, latents = pictures_cache(work)
    module = shipped("stage_a")
    assert isinstance(module, StageA)

    @torch.no_grad()
    def make(indices: range) -> np.ndarray:
        full = [picture(training_scene(i)) for i in indices]
        pixels.fill_rows(indices, np.stack([encoder_picture(each) for each in full]))
        with torch.autocast("cpu", torch.bfloat16):
            return module.encode(to_pixels(np.stack(full))).half().numpy()

    torch.set_num_threads(2)
    latents.fill(make, batch=16)
    torch.set_num_threads(1)


def fill_latents(work: Path) -> None:
    """Encode the cached pictures with the frozen effnet."""
    pixels, _ = pictures_cache(work)
    cache = latents_cache(work)
    module = shipped("effnet")

    @torch.no_grad()
    def make(indices: range) -> np.ndarray:
        if indices.stop <= PICTURES:
            pictures = pixels[np.arange(indices.start, indices.stop)]
        else:
            pictures = np.stack([encoder_picture(picture(training_scene(i))) for i in indices])
        return module(to_pixels(pictures)).half().numpy()

    cache.fill(make)


def latents_cache(work: Path) -> Cache:
    """Stage C latents of the cached pictures, and of more."""
    return Cache(work / "latents_c.npy", LATENTS, (16, CELLS, CELLS), np.float16)


def times(random: np.random.Generator, batch: int, noisy: float) -> Tensor:
    """Times in 0.001..1, a share of them from the noisiest tenth."""
    t = np.where(random.random(batch) < noisy, 1 - 0.1 * random.random(batch), random.random(batch))
    return torch.from_numpy(t).float().clamp(0.001, 1)


def denoising_loss(clean: Tensor, t: Tensor, predict: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean squared error of the network's v; predict(x, noise condition)."""
    noise = torch.randn_like(clean)
    a, b = PROCESS.coefficients(t)
    condition = PROCESS.schedule.noise_condition(PROCESS.schedule.log_snr(t))
    with torch.autocast("cpu", torch.bfloat16):
        prediction = predict(a * clean + b * noise, condition)
    return F.mse_loss(prediction.float(), PROCESS.target.of(clean, noise, a, b))


class Compressor(nn.Module):
    """The encoder, its decoder, and a linear reader that keeps a scene's attributes plain in the latent."""

    def __init__(self) -> None:
        super().__init__()
        self.effnet, self.stage_b = built("effnet"), built("stage_b")
        self.reader = nn.Linear(16 * CELLS**2, sum(ATTRIBUTE_SIZES))


def compressor(work: Path, steps: int) -> Part:
    """Stage B's loss trains the encoder too; more times near 1 than later, since there the latent alone must do."""
    fill_pictures(work)
    pixels, latents = pictures_cache(work)
    text = shipped("text_encoder")
    assert isinstance(text, TextEncoder)
    module = Compressor()
    norm = module.effnet.mapper[1]
    batch = 16

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        module.effnet.train(int(norm.num_batches_tracked) < WARM_UP)
        indices = random.integers(PICTURES, size=batch)
        clean = torch.from_numpy(latents[indices]).float()
        effnet = module.effnet(to_pixels(pixels[indices]))
        spread = (effnet.square().mean((0, 2, 3)) - 1).square().mean()
        effnet = effnet + EFFNET_NOISE * torch.randn_like(effnet)
        with torch.no_grad():
            pooled = text.encode(captions_of(indices, random, drop=0.3)).pooled
        denoising = denoising_loss(
            clean, times(random, batch, 0.5), lambda x, r: module.stage_b(x, r, effnet, pooled)
        )
        read = attribute_loss(module.reader(effnet.flatten(1)), labels_of(indices))
        return {"v": denoising, "read": 0.2 * read, "spread": 0.1 * spread}

    @torch.no_grad()
    def finish(trained: nn.Module) -> None:
        assert isinstance(trained, Compressor)
        parts = [trained.effnet(to_pixels(pixels[np.arange(i, i + 64)])) for i in range(0, 2048, 64)]
        latent = torch.cat(parts)
        norm = trained.effnet.mapper[1]
        norm.running_mean.add_(latent.mean((0, 2, 3)) * norm.running_var.sqrt())
        norm.running_var.mul_(latent.var((0, 2, 3)))
        ship("effnet", trained.effnet)
        ship("stage_b", trained.stage_b)

    return Part(module, loss, Plan(steps, 2e-3, ema=0.998), finish, batch)


def stage_b(work: Path, steps: int) -> Part:
    """Stage B alone, with a noisier latent than the encoder's own (Stage C will not be exact) and a dropped one in 10 %."""
    fill_latents(work)
    _, latents = pictures_cache(work)
    effnets = latents_cache(work)
    text = shipped("text_encoder")
    assert isinstance(text, TextEncoder)
    module = shipped("stage_b").requires_grad_(True)
    batch = 16

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.integers(PICTURES, size=batch)
        clean = torch.from_numpy(latents[indices]).float()
        effnet = torch.from_numpy(effnets[indices]).float()
        effnet = effnet + torch.rand(batch, 1, 1, 1) * 0.2 * torch.randn_like(effnet)
        effnet = effnet * (torch.rand(batch, 1, 1, 1) >= 0.1)
        with torch.no_grad():
            pooled = text.encode(captions_of(indices, random, drop=0.2)).pooled
        return {"v": denoising_loss(clean, times(random, batch, 0.25), lambda x, r: module(x, r, effnet, pooled))}

    return Part(module, loss, Plan(steps, 1.5e-3, ema=0.999), lambda trained: ship("stage_b", trained), batch)


def previewer(work: Path, steps: int) -> Part:
    """Latents to small pictures; an extra loss on differences of neighbours keeps the edges."""
    fill_latents(work)
    pixels, _ = pictures_cache(work)
    effnets = latents_cache(work)
    module = built("previewer")
    batch = 24

    def latent_and_picture(random: np.random.Generator) -> tuple[Tensor, Tensor]:
        indices = random.integers(PICTURES, size=batch)
        latent = torch.from_numpy(effnets[indices]).float()
        return latent + 0.06 * torch.randn_like(latent), F.avg_pool2d(to_pixels(pixels[indices]), 4)

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        latent, wanted = latent_and_picture(random)
        error = module(latent) - wanted
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return {"l1": error.abs().mean(), "mse": 5 * error.square().mean(), "edges": edges}

    def finish(trained: nn.Module) -> None:
        random = np.random.default_rng(5)
        settle(trained, lambda: trained(latent_and_picture(random)[0]))
        ship("previewer", trained)

    return Part(module, loss, Plan(steps, 2e-3, ema=0.998), finish, batch)


def stage_c(work: Path, steps: int) -> Part:
    """Text to latent; the text is dropped in 8 %, and 12 % see the picture's own CLIP vector, half of them no text."""
    fill_latents(work)
    effnets = latents_cache(work)
    text, image = shipped("text_encoder"), shipped("image_encoder")
    assert isinstance(text, TextEncoder)
    module = shipped("stage_c").requires_grad_(True) if weights_path("stage_c").exists() else built("stage_c")
    batch = 48

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.integers(LATENTS, size=batch)
        clean = torch.from_numpy(effnets[indices]).float()
        told = captions_of(indices, random, drop=0.08)
        seen = np.flatnonzero(random.random(batch) < 0.12)
        told = ["" if i in seen and random.random() < 0.5 else caption for i, caption in enumerate(told)]
        images = torch.zeros(batch, 1, PRESETS["image_encoder"]["tiny"].projection_dim)
        with torch.no_grad():
            sequence, pooled = text.encode(told)
            if len(seen):
                drawn = [np.asarray(draw(training_scene(int(i)), 64)) for i in indices[seen]]
                images[seen, 0] = image(to_pixels(np.stack(drawn)))
        return {
            "v": denoising_loss(
                clean, times(random, batch, 0.3), lambda x, r: module(x, r, sequence, pooled, images)
            )
        }

    return Part(module, loss, Plan(steps, 2e-3, ema=0.999), lambda trained: ship("stage_c", trained), batch)


PARTS: dict[str, tuple[Callable[[Path, int], Part], int]] = {
    "stage_a": (stage_a, 3000),
    "clip": (clip, 1600),
    "compressor": (compressor, 4500),
    "stage_b": (stage_b, 10000),
    "previewer": (previewer, 3000),
    "stage_c": (stage_c, 12000),
}
"""The parts in order, and how many steps each takes."""


def train_tiny(parts: Sequence[str], work: Path, minutes: float | None = None) -> None:
    """Train `parts` (all when empty), each until its steps are done or `minutes` have passed, and ship what is there.

    The optimisers' states, the data and the curves (`<part>.jsonl`) lie in `work`. Prints to stderr.
    """
    torch.set_num_threads(1)
    for name in parts or PARTS:
        make, steps = PARTS[name]
        part = make(work, steps)
        part.module.train()
        started, cpu = time.monotonic(), time.process_time()
        averaged = None
        sums: dict[str, float] = {}
        with (work / f"{name}.jsonl").open("a") as curve:
            for progress, averaged in train(part.module, part.loss, part.plan, work / f"{name}.safetensors"):
                for key, value in progress.losses.items():
                    sums[key] = sums.get(key, 0.0) + value
                late = minutes is not None and time.monotonic() - started > 60 * minutes
                if progress.step % 100 == 0:
                    row = {"step": progress.step, "samples": progress.step * part.batch}
                    row |= {"cpu_minutes": round((time.process_time() - cpu) / 60, 2)}
                    row |= {key: round(value / 100, 5) for key, value in sums.items()}
                    sums = {}
                    curve.write(json.dumps(row) + "\n")
                    curve.flush()
                    print(name, row, file=sys.stderr, flush=True)
                if late:
                    break
        if averaged is not None:
            part.module.load_state_dict(averaged.tensors)
            part.module.eval()
            part.ship(part.module)
