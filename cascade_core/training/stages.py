"""Training all weights of Stage C or Stage B: those of a model, as copies in float32, or of a new one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import tiles
from ..errors import CascadeError
from ..files.dtypes import DTYPES
from ..files.save import save
from ..images import encode_resized
from ..kinds import KINDS
from ..memory import StayPut
from ..models.handle import Handle
from ..models.linear import Held
from ..models.stage_b import StageB
from ..models.stage_c import StageC
from . import sharded
from .data.buckets import CELL
from .data.cache import Cache, Entry, key_of
from .data.dataset import Dataset
from .data.examples import Batches, Examples
from .data.latent_set import EncodedExamples, LatentSet
from .denoising import add_noise, denoising_loss
from .models import StageBModels, StageCModels, TrainingModels
from .plan import WHOLE
from .samples import paint
from .settings import TrainingSettings
from .stage_settings import StageCSettings
from .task import SourceTask

FACTORS = (1.0, 0.75, 0.5)  # scales at which the effnet encodes a picture; officially any from 0.5 to 1
NO_LATENT = 0.1  # share of Stage C's latents that Stage B does without, as officially
OCTAVES, PERSISTENCE, LARGEST = 10, 0.75, 16  # the official shape of Stage B's noise


def to_train(base: Handle, is_new: bool = False) -> nn.Module:
    """All of a stage in float32: a copy, or itself where it `is_new`. CascadeError for quantised weights."""
    if any(isinstance(child, Held) for child in base.module.modules()):
        raise CascadeError(
            f"{KINDS[base.kind].name} {base.name} has quantised weights, over which a LoRA can be trained, but not"
            " all of the stage: load its bfloat16 or float32 file, with a dtype of these"
        )
    with torch.inference_mode(False), torch.no_grad():
        return (base.module if is_new else deepcopy(base.module)).float().requires_grad_(True)


def save_as(path: Path, module: nn.Module, base: Handle) -> None:
    """Write trained weights as a model of the base's kind, family and type."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    told: dict[str, Any] = {"family": base.family, "target": base.target, "x0_clamp": base.x0_clamp}
    save(path, module, base.kind, **told, dtype=names[base.dtype])


class _StageTask(SourceTask[TrainingSettings, nn.Module]):
    """The shared part of both: the weights to train, and the file that they become."""

    def __init__(
        self,
        models: StageCModels | StageBModels,
        base: Handle,
        dataset: Dataset | LatentSet,
        source: Batches,
        settings: TrainingSettings,
        cache: Cache,
        is_new: bool = False,
    ) -> None:
        """source: of batches, of the data set. is_new: the base itself is trained, and no copy of it."""
        sharded.check_batch(settings.batch_size)
        if sharded.count() > 1 and settings.optimizer in WHOLE:
            raise CascadeError(
                f"optimizer: {settings.optimizer} needs whole weights, which several processes have parts of: choose"
                " adamw"
            )
        super().__init__(models, dataset, source, settings, cache)
        self.base = base
        self.module = to_train(base, is_new)
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
        base, module = self.base, self.module
        if sharded.count() > 1:
            with torch.device("meta"):
                module = KINDS[base.kind].network_class()(base.config)
            module.load_state_dict(sharded.whole_state(self.module), assign=True)
        if sharded.rank() == 0:
            save_as(path, module, base)


class StageCTask(_StageTask):
    """Learns from pictures, or from latents of them; with an architecture in its settings models.stage_c is new."""

    kind = "Stage C"

    def __init__(
        self, models: StageCModels, dataset: Dataset | LatentSet, settings: TrainingSettings, cache: Cache
    ) -> None:
        source: Batches
        if isinstance(dataset, LatentSet):
            source = EncodedExamples(models, dataset, settings, cache)
        else:
            source = Examples(cast(TrainingModels, models), dataset, settings, cache)
        is_new = isinstance(settings, StageCSettings) and settings.architecture is not None
        super().__init__(models, models.stage_c, dataset, source, settings, cache, is_new)
        self.models = models

    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        batch = self.source.batch(random, self.base)
        own = sharded.share(len(batch.indices))
        noised = batch.noised.part(own, self.device)
        conditioning = self.source.conditioning(batch).part(own, self.device, torch.float32)
        with self.autocast():
            loss = denoising_loss(noised, lambda x, r: self.module(x, r, *conditioning), self.source.loss_weight)
        return {"denoising": loss}

    def samples(self) -> list[Tensor]:
        if sharded.count() > 1:
            return []  # samplers call the stage by parts, which are not together then
        sizes = [(self.settings.size, self.settings.size)] * len(self.settings.prompts)
        self.module.eval()
        stage_c = replace(self.base, module=self.module, placement=StayPut(), dtype=torch.float32)
        try:
            return paint(self.models, self.settings, sizes, stage_c, self.models.text_encoder)
        finally:
            self.module.train()


class StageBTask(_StageTask):
    kind = "Stage B"
    LEARNS_BY = ("stage_b", "stage_a", "text_encoder", "effnet")

    def __init__(self, models: StageBModels, dataset: Dataset, settings: TrainingSettings, cache: Cache) -> None:
        self.examples = Examples(models, dataset, settings, cache)
        super().__init__(models, models.stage_b, dataset, self.examples, settings, cache)
        self.models = models

    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        pictures = [(self._key(i), lambda i=i: self._encode(i)) for i in range(len(self.examples.sizes))]
        return [*pictures, *self.examples.texts.tasks(self.examples.captions)]

    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        settings, device = self.settings, self.device
        batch = self.examples.draw(random)
        entries = [self.cache.get(self._key(index)) for index in batch]
        clean = torch.stack([entry["latent"] for entry in entries])
        factor = int(random.integers(len(FACTORS)))
        effnet = torch.stack([entry[f"effnet{factor}"] for entry in entries])
        effnet = effnet * torch.as_tensor(random.random((len(batch), 1, 1, 1)) >= NO_LATENT)
        _, pooled = self.examples.encodings(self.examples.captions_of(batch, random))
        noise = pyramid_noise(clean)
        weight = self.source.loss_weight
        noised = add_noise(clean, self.base, weight, settings.noisy_share, noise=noise)
        own = sharded.share(len(batch))
        effnet, pooled = effnet[own].to(device), pooled[own].to(device)
        with self.autocast():
            loss = denoising_loss(noised.part(own, device), lambda x, r: self.module(x, r, effnet, pooled), weight)
        return {"denoising": loss}

    def samples(self) -> list[Tensor]:
        """No pictures: what Stage B learns is finer than what a small sample shows."""
        return []

    def _key(self, index: int) -> str:
        encoders = (self.fingerprints["stage_a"], self.fingerprints["effnet"])
        return key_of("decoder", self.examples.fingerprints[index], self.examples.sizes[index], *encoders)

    @torch.inference_mode()
    def _encode(self, index: int) -> Entry:
        pixels = self.examples.pixels(index)[None]
        entry = {"latent": tiles.encode(self.models.stage_a, pixels)[0]}
        for number, factor in enumerate(FACTORS):
            sides = [max(CELL, int(side * factor) // CELL * CELL) for side in pixels.shape[-2:]]
            (entry[f"effnet{number}"],) = encode_resized(
                self.models.effnet, F.interpolate(pixels, sides, mode="nearest")
            )
        return entry


def pyramid_noise(clean: Tensor) -> Tensor:
    """Noise (B, C, h, w) of deviation 1 with coarser noise in it, as officially: Stage B learns what is coarse, too.

    Drawn by torch's own generator, on the CPU.
    """
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
