"""The ControlNets' parts: each learns to steer the frozen Stage C by its hint, under captions that leave things out.

A linear reader of the latent sits on the hint's features while they learn: it shows them at once what to see.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cascade_core.builtin.draw import draw
from ...cascade_core.builtin.faces import EMBEDDED_SIZE, face_box, on_plain
from ...cascade_core.builtin.pixels import to_pixels
from ...cascade_core.hints import FoundFace, canny_edges, masked_picture, paint_faces
from ...cascade_core.models.config import PRESETS
from ...cascade_core.models.controlnet import ControlNet
from ...cascade_core.models.effnet import Effnet
from ...cascade_core.models.stage_c import StageC
from ...cascade_core.models.text import TextEncoder
from ...cascade_core.models.vision import ImageEncoder
from ...cascade_core.training.plan import Plan
from .caches import LATENTS, PICTURES, SMALL_PICTURES, fill_latents, fill_small_latents, latents_cache, pictures_cache
from .captions import bare_face_caption, sample_caption, sparse_caption
from .data import ENCODED_SIZE, picture, training_scene
from .masks import sample_mask
from .training_part import Part, denoising_loss, ship_controlnet, shipped, times, warming_up

BATCH = 32
NOISY = 0.4  # share of the times from the noisiest tenth, where the layout is decided
FULL_CAPTIONS = 0.3
READING = 0.3  # weight of the guess of the latent
DROPPED_FACES, FILLING_FACES = 0.05, 0.3  # faces not painted, faces painted all over the map: as officially
EMBEDDING_NOISE = 0.005


class Reader(nn.Module):
    """A ControlNet, and while it learns a linear reader that guesses the latent from its features."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.net = ControlNet(PRESETS["controlnet"][f"tiny {mode}"])
        self.reader = nn.Conv2d(self.net.config.c_out, 16, 1)
        if self.net.config.bottleneck == "effnet":
            _learn_from(self.net, shipped(Effnet))
        if self.net.config.bottleneck == "simple":  # numbers of length 1 in all are small for a first convolution
            self.net.backbone[0].get_parameter("weight").data *= 8


def _learn_from(net: ControlNet, effnet: Effnet) -> None:
    """Start the backbone with the encoder's, but for its first and last layer."""
    own, others = list(net.backbone.children()), list(effnet.backbone.children())
    for mine, other in zip(own[1:-1], others[1:-1], strict=True):
        mine.load_state_dict(other.state_dict())
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()


def told(indices: np.ndarray, random: np.random.Generator) -> list[str]:
    """Captions that tell all, or leave out much."""

    def caption(index: int) -> str:
        scene = training_scene(index)
        if random.random() < FULL_CAPTIONS:
            return sample_caption(scene, random)
        return sparse_caption(scene, random, float(random.random()))

    return [caption(int(index)) for index in indices]


Captions = Callable[[np.ndarray, np.random.Generator], list[str]]
Hints = Callable[[np.ndarray, np.random.Generator], Tensor]


def _steering(
    mode: str, work: Path, steps: int, rows: int | np.ndarray, hints: Hints, captions: Captions = told
) -> Part[Reader]:
    """The part that all ControlNets share, on the first `rows` latents or on these."""
    fill_latents(work, LATENTS)
    latents = latents_cache(work)
    stage_c, text = shipped(StageC), shipped(TextEncoder)
    module = Reader(mode)
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        indices = random.choice(rows, BATCH)
        for norm in norms:
            norm.train(warming_up(norm))
        clean = torch.as_tensor(latents[indices]).float()
        hint = hints(indices, random)
        with torch.no_grad():
            sequence, pooled = text.encode(captions(indices, random))
        with torch.autocast("cpu", torch.bfloat16):
            features = module.net.backbone(hint.contiguous(memory_format=torch.channels_last))
            control = [projection(features) for projection in module.net.projections]
            guess = module.reader(features)
        v = denoising_loss(
            clean, times(random, BATCH, NOISY), lambda x, r: stage_c(x, r, sequence, pooled, control=control)
        )
        return {"v": v, "latent": READING * F.mse_loss(guess.float(), clean)}

    return Part(module, loss, Plan(steps, 2e-3, ema=0.998), lambda trained: ship_controlnet(trained.net, mode), BATCH)


def canny(work: Path, steps: int) -> Part[Reader]:
    """Edges of the drawn picture."""

    def hints(indices: np.ndarray, random: np.random.Generator) -> Tensor:
        edges = canny_edges(to_pixels(np.stack([picture(training_scene(int(i))) for i in indices])))
        return F.interpolate(edges, (ENCODED_SIZE, ENCODED_SIZE), mode="bilinear")

    return _steering("canny", work, steps, LATENTS, hints)


def inpainting(work: Path, steps: int) -> Part[Reader]:
    """The picture with a hole: over an object, anywhere, or all around."""
    pixels, _ = pictures_cache(work)

    def hints(indices: np.ndarray, random: np.random.Generator) -> Tensor:
        masks = np.stack([sample_mask(training_scene(int(i)), ENCODED_SIZE, random) for i in indices])
        return masked_picture(to_pixels(pixels[indices]), torch.as_tensor(masks)[:, None].float())

    return _steering("inpainting", work, steps, PICTURES, hints)


def super_resolution(work: Path, steps: int) -> Part[Reader]:
    """The latent of the picture shrunk to a few pixels."""
    small = fill_small_latents(work)

    def hints(indices: np.ndarray, random: np.random.Generator) -> Tensor:
        return torch.as_tensor(small[indices]).float()

    return _steering("super_resolution", work, steps, SMALL_PICTURES, hints)


def identity(work: Path, steps: int) -> Part[Reader]:
    """Faces by their embedding; the captions tell little of them."""
    rows = np.array([i for i in range(LATENTS) if training_scene(i).kind == "face"])
    embedding = dict(zip(rows.tolist(), _embeddings(rows), strict=True))
    size = ENCODED_SIZE

    def hints(indices: np.ndarray, random: np.random.Generator) -> Tensor:
        return torch.stack([painted(int(i), random) for i in indices])

    def painted(index: int, random: np.random.Generator) -> Tensor:
        face = training_scene(index).face
        assert face is not None
        filling = random.random() < FILLING_FACES
        vector = embedding[index] + EMBEDDING_NOISE * torch.randn_like(embedding[index])
        found = FoundFace((0, 0, size, size) if filling else face_box(face, size), F.normalize(vector, dim=0))
        return paint_faces([found], size, size) * (random.random() >= DROPPED_FACES)

    def captions(indices: np.ndarray, random: np.random.Generator) -> list[str]:
        bare = random.random(len(indices)) < 0.5
        full = told(indices, random)
        return [
            bare_face_caption(training_scene(int(i)).background) if is_bare else caption
            for i, is_bare, caption in zip(indices, bare, full, strict=True)
        ]

    return _steering("identity", work, steps, rows, hints, captions)


@torch.no_grad()
def _embeddings(rows: np.ndarray) -> list[Tensor]:
    """The detector's embeddings of these scenes' faces."""
    encoder = shipped(ImageEncoder)
    embeddings: list[Tensor] = []
    for start in range(0, len(rows), 64):
        scenes = [on_plain(training_scene(int(i))) for i in rows[start : start + 64]]
        pictures = np.stack([np.asarray(draw(scene, EMBEDDED_SIZE)) for scene in scenes])
        embeddings += F.normalize(encoder(to_pixels(pictures)), dim=-1)
    return embeddings
