"""Fine-tuning Stage C or Stage B: all of its weights, as copies in float32."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files.load import DTYPES, save
from ..images import encode_resized
from ..memory import StayPut
from ..models.handle import Handle
from ..models.stage_a import StageA
from ..models.stage_b import StageB
from ..models.stage_c import StageC
from ..sampling.activations import stage_a_bytes
from . import sharded
from .buckets import CELL
from .cache import Cache, Entry, key_of
from .dataset import Dataset
from .denoising import add_noise, denoising_loss
from .examples import Examples, Said
from .models import StageBModels, TrainingModels
from .samples import paint, sample_side
from .settings import TrainingSettings

FACTORS = (1.0, 0.75, 0.5)  # of the sides at which the effnet sees a picture; officially any from 0.5 to 1
NO_LATENT = 0.1  # share of Stage C's latents that Stage B does without, as officially
OCTAVES, PERSISTENCE, LARGEST = 10, 0.75, 16  # of Stage B's noise, as officially


class _Stage:
    """What both trainings share: a copy to train, and the file that it becomes."""

    def __init__(self, kind: str, base: Handle, settings: TrainingSettings, cache: Cache) -> None:
        sharded.check_batch(settings.batch_size)
        self.kind, self.base, self.settings, self.cache = kind, base, settings, cache
        with torch.inference_mode(False), torch.no_grad():
            self.module: nn.Module = deepcopy(base.module).float().requires_grad_(True)
        cast(StageC | StageB, self.module).checkpointing = settings.checkpointing
        self.device = torch.device("cpu")

    @contextmanager
    def begin(self) -> Generator[None]:
        """The copy computes where the model would; divided, where there are several processes."""
        self.device = self.base.acquire()
        self.module.to(self.device).train()
        sharded.shard(cast(StageC | StageB, self.module), self.device)
        yield

    def autocast(self) -> torch.autocast:
        """bfloat16 on a GPU, as officially; float32 on a CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def write(self, path: Path) -> None:
        names = {dtype: name for name, dtype in DTYPES.items()}
        base, module = self.base, self.module
        if sharded.count() > 1:
            module = deepcopy(base.module)
            module.load_state_dict(sharded.whole_state(self.module), assign=True)
        if sharded.rank() > 0:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        save(
            path,
            module,
            base.kind,
            family=base.family,
            target=base.target,
            x0_clamp=base.x0_clamp,
            dtype=names[base.dtype],
        )


class StageCTask(_Stage):
    def __init__(self, models: TrainingModels, dataset: Dataset, settings: TrainingSettings, cache: Cache) -> None:
        super().__init__("Stage C", models.stage_c, settings, cache)
        self.models, self._dataset = models, dataset
        self.examples = Examples(models, dataset, settings, cache)

    def origin(self) -> Mapping[str, Any]:
        marks = self.models.marks("stage_c", "text_encoder", "effnet", "image_encoder")
        return {"settings": self.settings.fixed(), "models": marks, "data": self._dataset.marks()}

    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        return self.examples.tasks()

    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        settings, device = self.settings, self.device
        batch = self.examples.draw(random)
        noised = add_noise(self.examples.latents(batch), self.base, settings.loss_weight, settings.noisy_share)
        sequence, pooled = self.examples.say(self.examples.told(batch, random))
        said = Said(sequence, pooled, self.examples.seen(batch, random, self.models.stage_c.config.c_clip_img))
        own = sharded.share(len(batch))
        told = said.part(own, device, torch.float32)
        with self.autocast():
            return {"denoising": denoising_loss(noised.part(own, device), lambda x, r: self.module(x, r, *told))}

    def show(self) -> list[Tensor]:
        if sample_side(self.models, self.settings.size) is None or sharded.count() > 1:
            return []  # samplers call the stage by parts, which are not together then
        sizes = [(self.settings.size, self.settings.size)] * len(self.settings.prompts)
        self.module.eval()
        stage_c = replace(self.base, module=self.module, placement=StayPut(), dtype=torch.float32)
        try:
            return paint(self.models, self.settings, sizes, stage_c, self.models.text_encoder)
        finally:
            self.module.train()


class StageBTask(_Stage):
    def __init__(self, models: StageBModels, dataset: Dataset, settings: TrainingSettings, cache: Cache) -> None:
        super().__init__("Stage B", models.stage_b, settings, cache)
        self.models, self._dataset = models, dataset
        self.examples = Examples(models, dataset, settings, cache)
        self._marks = models.marks("stage_b", "stage_a", "text_encoder", "effnet")

    def origin(self) -> Mapping[str, Any]:
        return {"settings": self.settings.fixed(), "models": self._marks, "data": self._dataset.marks()}

    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        pictures = [(self._key(i), lambda i=i: self._encode(i)) for i in range(len(self.examples.sizes))]
        return [*pictures, *self.examples.caption_tasks(self.examples.captions)]

    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        settings, device = self.settings, self.device
        batch = self.examples.draw(random)
        entries = [self.cache.get(self._key(index)) for index in batch]
        clean = torch.stack([entry["latent"] for entry in entries])
        factor = int(random.integers(len(FACTORS)))
        effnet = torch.stack([entry[f"effnet{factor}"] for entry in entries])
        effnet = effnet * torch.as_tensor(random.random((len(batch), 1, 1, 1)) >= NO_LATENT)
        _, pooled = self.examples.say(self.examples.told(batch, random))
        noise = pyramid_noise(clean)
        noised = add_noise(clean, self.base, settings.loss_weight, settings.noisy_share, noise=noise)
        own = sharded.share(len(batch))
        effnet, pooled = effnet[own].to(device), pooled[own].to(device)
        with self.autocast():
            return {
                "denoising": denoising_loss(noised.part(own, device), lambda x, r: self.module(x, r, effnet, pooled))
            }

    def show(self) -> list[Tensor]:
        """Nothing: what it learns is finer than what a small sample shows."""
        return []

    def _key(self, index: int) -> str:
        marks = (self._marks["stage_a"], self._marks["effnet"])
        return key_of("decoder", self.examples.marks[index], self.examples.sizes[index], *marks)

    @torch.inference_mode()
    def _encode(self, index: int) -> Entry:
        pixels = self.examples.pixels(index)[None]
        stage_a = self.models.stage_a
        device = stage_a.acquire(
            stage_a_bytes(stage_a.config, (pixels.shape[2] // 4, pixels.shape[3] // 4), stage_a.dtype)
        )
        latent = cast(StageA, stage_a.module).encode(pixels.to(device, stage_a.dtype))[0].float().cpu()
        entry = {"latent": latent}
        for number, factor in enumerate(FACTORS):
            sides = [max(CELL, int(side * factor) // CELL * CELL) for side in pixels.shape[-2:]]
            entry[f"effnet{number}"] = encode_resized(self.models.effnet, F.interpolate(pixels, sides, mode="nearest"))[
                0
            ]
        return entry


def pyramid_noise(clean: Tensor) -> Tensor:
    """Noise (B, C, h, w) with coarser noise in it, of deviation 1, as Stage B has it officially: what is coarse is left
    to it, too. By torch's own generator, on the CPU."""
    height, width = clean.shape[-2:]
    noise = torch.randn_like(clean)
    squares = 1.0
    for octave in range(1, OCTAVES + 1):
        side = height // 2**octave
        if not 1 <= side <= LARGEST:
            continue
        weight = PERSISTENCE**octave
        coarse = torch.randn(*clean.shape[:2], side, side)
        noise = noise + weight * F.interpolate(coarse, (height, width), mode="nearest")
        squares += weight**2
    return noise / squares**0.5
