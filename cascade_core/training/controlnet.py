"""Training a ControlNet beside a frozen Stage C."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CascadeError
from ..files.save import save
from ..hints import Detector
from ..lora.attach import beside
from ..memory import StayPut
from ..models.adapters import share
from ..models.blocks import ResBlock
from ..models.config import ControlNetConfig, StageCConfig
from ..models.controlnet import ControlNet
from ..models.effnet import IMAGENET_MEAN, IMAGENET_STD, Effnet
from ..models.family import check_family, check_kind
from ..models.handle import Handle
from ..models.stage_c import StageC
from ..sampling import control as sampling
from ..sampling.activations import controlnet_bytes
from .controlnet_settings import BOTTLENECK_OF_HINT, ControlNetSettings
from .data.buckets import CELL
from .data.cache import Cache, Entry, fingerprint
from .data.dataset import Dataset
from .denoising import denoising_loss
from .hint_makers import CHANNELS, CachedHints, fits_family
from .models import TrainingModels
from .samples import paint
from .task import PictureTask, stage_c_bytes

ALL_BLOCKS = 31  # a Stage C with so few residual blocks gets a map for each
FEWEST_FEATURES = 128  # least number of features that are projected
WIDE = 1024  # a Stage C of at least this width gets the published sizes
LARGE = {True: {"c_wide": 16384, "c_blocks": 1024, "blocks": 8}, False: {"c_wide": 512, "c_blocks": 96, "blocks": 3}}


def shape_controlnet(settings: ControlNetSettings, stage_c: Handle, effnet: Handle, channels: int) -> ControlNetConfig:
    """The network for these hints and this Stage C, of the published sizes where it is of published width."""
    config = cast(StageCConfig, stage_c.config)
    widths = {*config.c_hidden}
    if len(widths) != 1:
        raise CascadeError(f"Stage C {stage_c.name} has levels of different widths, for which there is no ControlNet")
    (width,) = widths
    count = sum(isinstance(module, ResBlock) for module in stage_c.module.modules())
    few = (0, 4, 8, 12, count - 13, count - 9, count - 5, count - 1)
    bottleneck = BOTTLENECK_OF_HINT[settings.hint] if settings.bottleneck == "auto" else settings.bottleneck
    everywhere = count <= ALL_BLOCKS or bottleneck == "simple"
    shape = ControlNetConfig(
        bottleneck,
        channels,
        width,
        tuple(range(count)) if everywhere else few,
        effnet.config.stem,
        effnet.config.stages,
    )
    if bottleneck == "effnet":
        return replace(shape, c_out=effnet.config.head)
    if bottleneck == "simple":
        return replace(shape, c_wide=width, c_out=max(channels, FEWEST_FEATURES))
    return replace(shape, c_out=1280 if width >= WIDE else FEWEST_FEATURES, **LARGE[width >= WIDE])


@torch.no_grad()
def build_controlnet(config: ControlNetConfig, effnet: nn.Module, seed: int) -> ControlNet:
    """A new ControlNet in float32, which changes nothing yet; of pixels, it begins with the encoder's weights.

    The encoder's first layer sees normalised colours; here its weights take them as they are, with the same result.
    Other channels than three are seen by the mean of its colours.
    """
    with torch.random.fork_rng([]):  # pyright: ignore[reportUnknownMemberType]  (half typed)
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]  (half typed)
        net = ControlNet(config)
    if config.bottleneck != "effnet":
        return net
    backbone = cast(Effnet, effnet).backbone
    for mine, theirs in zip(list(net.backbone.children())[1:], list(backbone.children())[1:], strict=True):
        mine.load_state_dict(theirs.state_dict())
    first, norm = (net.backbone.get_submodule(name) for name in ("0.0", "0.1"))
    norm.load_state_dict(backbone.get_submodule("0.1").state_dict())
    weight = backbone.get_submodule("0.0").get_parameter("weight").float()
    mean, std = (torch.tensor(values, device=weight.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    adapted = weight / std
    norm.get_buffer("running_mean").add_((adapted * mean).sum((1, 2, 3)).to(norm.get_buffer("running_mean")))
    if config.c_in != 3:
        adapted = adapted.sum(1, keepdim=True).expand(-1, config.c_in, -1, -1) / config.c_in
    first.get_parameter("weight").copy_(adapted)
    return net


class ControlNetTask(PictureTask[ControlNetSettings, ControlNet]):
    kind = "ControlNet"

    def __init__(
        self,
        models: TrainingModels,
        dataset: Dataset,
        settings: ControlNetSettings,
        cache: Cache,
        start: Handle | None = None,
        detector: Detector | None = None,
    ) -> None:
        """start: a ControlNet to go on from. detector: of faces, for identity hints."""
        fits_family(detector, models.stage_c)
        super().__init__(models, dataset.with_controls() if settings.hint == "own" else dataset, settings, cache)
        self.models = models
        self.hints = CachedHints(self.examples, settings.hint, detector if settings.hint == "identity" else None)
        with torch.inference_mode(False), torch.no_grad():
            config = _config(models, settings, self.hints.maker.channels, start)
            if start is None:
                net = build_controlnet(config, models.effnet.module, settings.seed)
            else:
                net = deepcopy(cast(ControlNet, start.module)).float().cpu()
            self.module = net.eval().requires_grad_(True)  # BatchNorm's statistics stay as they are, as officially
            frozen = share(models.stage_c.module)
            cast(StageC, frozen).checkpointing = settings.checkpointing
        self.stage_c = beside(models.stage_c, frozen)
        self.fingerprints |= {"controlnet": fingerprint(self.module)}

    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        return [*super().encode(), *self.hints.tasks()]

    @contextmanager
    def begin(self) -> Generator[None]:
        self.module.to(self._acquire())
        yield

    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        device = self._acquire()
        batch = self.examples.batch(random, self.stage_c, self.settings.offset_noise)
        cells = (batch.noised.x.shape[-2], batch.noised.x.shape[-1])
        hint = sampling.fit_hint(self.hints.draw(batch.indices, random), self.module.cell, cells)
        maps = self.module.project(hint.to(device))
        dtype = self.stage_c.dtype
        conditioning = self.examples.conditioning(batch).part(slice(None), device, dtype)

        def predict(x: Tensor, condition: Tensor) -> Tensor:
            return self.stage_c.module(x.to(dtype), condition, *conditioning, control=maps)

        noised = batch.noised.part(slice(None), device)
        return {"denoising": denoising_loss(noised, predict, self.examples.loss_weight)}

    def samples(self) -> list[Tensor]:
        numbers = [i % len(self.examples.sizes) for i in range(len(self.settings.prompts))]
        sizes = [self.examples.sizes[i] for i in numbers]
        random = np.random.default_rng(self.settings.seed)
        hints = [self.hints.draw([i], random) for i in numbers]
        models = self.models
        net = _handle(self.module, "in training", models.stage_c)
        steering = [sampling.Control(net, hint, size) for hint, size in zip(hints, sizes, strict=True)]
        return paint(models, self.settings, sizes, models.stage_c, models.text_encoder, steering)

    def write(self, path: Path) -> None:
        save(path, self.module, "controlnet", family=self.models.stage_c.family)

    def _acquire(self) -> torch.device:
        batch, cells = self.settings.batch_size, self.settings.size // CELL
        own = 8 * controlnet_bytes(self.module.config, (cells, cells), batch, torch.float32)
        return self.stage_c.acquire(stage_c_bytes(self.models, self.settings, batch) + own)


def _config(
    models: TrainingModels, settings: ControlNetSettings, channels: int, start: Handle | None
) -> ControlNetConfig:
    """The network to train: a new one, or `start`, where that can go on with these hints."""
    if start is None:
        return shape_controlnet(settings, models.stage_c, models.effnet, channels)
    check_start(start, models.stage_c, settings, channels)
    return start.config


def untrained_controlnet(
    models: TrainingModels,
    dataset: Dataset,
    settings: ControlNetSettings,
    name: str,
    start: Handle | None = None,
    width: int | None = None,
) -> Handle:
    """The ControlNet that a training makes, by shapes alone; CascadeError where it cannot begin.

    width: of faces' embeddings.
    """
    if settings.hint == "own":
        dataset.with_controls()
    channels: int = width or CHANNELS.get(settings.hint) or models.effnet.config.c_latent
    with torch.device("meta"):
        net = ControlNet(_config(models, settings, channels, start))
    return _handle(net, name, models.stage_c)


def _handle(net: ControlNet, name: str, stage_c: Handle) -> Handle:
    family = stage_c.family
    return Handle(net, "controlnet", name, family, net.config, "epsilon", None, torch.float32, StayPut())


def check_start(start: Handle, stage_c: Handle, settings: ControlNetSettings, channels: int) -> None:
    """Refuse a ControlNet that cannot go on learning these hints beside this Stage C."""
    check_kind(start, "controlnet")
    check_family(stage_c, "controlnet", start.family)
    if start.config.c_in != channels:
        raise CascadeError(
            f"ControlNet {start.name} takes hints of {start.config.c_in} channels, but {settings.hint} hints have"
            f" {channels}: choose the ControlNet for these hints, or begin with none"
        )
    if {start.config.c_proj} != {*stage_c.config.c_hidden}:
        raise CascadeError(
            f"ControlNet {start.name} was made for a Stage C of width {start.config.c_proj}, but {stage_c.name} is"
            f" {stage_c.config.c_hidden[0]} wide: choose two that belong together"
        )
