"""Training a LoRA: branches beside weights of Stage C and of the text encoder, and new words of the latter."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..lora.attach import beside
from ..lora.lora import Lora, NewToken, lora_of
from ..lora.tokens import starting_words, with_tokens
from ..lora.write import check_dialect, save_lora
from ..models.adapters import adapted
from ..models.handle import Handle
from ..models.stage_c import StageC
from ..models.text import TextEncoder
from ..sampling.activations import text_bytes
from .branches import Branches
from .data.cache import Cache, Entry
from .data.dataset import Dataset
from .data.examples import Conditioning
from .data.prompts import draw_prompts
from .denoising import denoising_loss
from .lora_settings import LoraSettings
from .models import TrainingModels
from .preservation import Preservation
from .samples import paint
from .task import PictureTask, stage_c_bytes

PLAIN_WORD = re.compile(r"\^?(\w+)(?:</w>)?\$?")  # a regex that finds one word


class LoraTask(PictureTask[LoraSettings, Branches]):
    kind = "LoRA"

    def __init__(self, models: TrainingModels, dataset: Dataset, settings: LoraSettings, cache: Cache) -> None:
        super().__init__(models, dataset, settings, cache, text=not settings.learns_text)
        self.models = models
        with torch.inference_mode(False), torch.no_grad():
            self.module = _branches(models, settings)
            stage_c = cast(StageC, adapted(models.stage_c.module, self.module.by_weight()))
            stage_c.checkpointing = settings.checkpointing
            self.stage_c, self.text_encoder = beside(models.stage_c, stage_c), models.text_encoder
            words = cast(TextEncoder, models.text_encoder.module)
            if self.module.text is not None:
                words = cast(TextEncoder, adapted(words, self.module.text.by_weight()))
            if self.module.rows is not None:
                words = with_tokens(words, self._tokens(), self.module.rows)
            if settings.learns_text:
                self.text_encoder = beside(models.text_encoder, words)
        self.preservation: Preservation | None = None
        if settings.keep_weight:
            prompts = draw_prompts(settings.keep, settings.keep_count)
            self.preservation = Preservation(models, self.examples, prompts, self._plain_caption)

    def encode(self) -> Sequence[tuple[str, Callable[[], Entry]]]:
        return [*super().encode(), *(self.preservation.tasks() if self.preservation else ())]

    @contextmanager
    def begin(self) -> Generator[None]:
        self._acquire()
        yield

    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        settings, device = self.settings, self._acquire()
        batch = self.examples.batch(random, self.models.stage_c)
        new = batch.noised.part(slice(None), device)
        if self.preservation is None:
            conditioning = Conditioning(*self._encode(batch.captions), batch.images)
            predict = partial(self._call, self.stage_c, conditioning, device)
            return {"denoising": denoising_loss(new, predict, self.examples.loss_weight)}
        # What is learned and what shall stay go through the network together.
        count = len(batch.indices)
        preserved = self.preservation.draw(random, batch.indices, settings.keep_batch or count)
        encodings = self._encode([*batch.captions, *preserved.captions])
        conditioning = Conditioning(*encodings, torch.cat([batch.images, preserved.images]))
        old = preserved.noised.part(slice(None), device)
        x, condition = torch.cat([new.x, old.x]), torch.cat([new.condition, old.condition])
        with torch.no_grad():
            before = self._call(self.models.stage_c, preserved.conditioning, device, old.x, old.condition)
        after = self._call(self.stage_c, conditioning, device, x, condition)
        learned, unchanged = after[:count], after[count:]
        return {
            "denoising": denoising_loss(new, lambda x, condition: learned, self.examples.loss_weight),
            "keeping": settings.keep_weight * (unchanged.float() - before.float()).square().mean(),
        }

    def samples(self) -> list[Tensor]:
        sizes = [(self.settings.size, self.settings.size)] * len(self.settings.prompts)
        return paint(self.models, self.settings, sizes, self.stage_c, self.text_encoder)

    def result(self, name: str) -> Lora:
        """A copy of what was learned so far."""
        rows = None if self.module.rows is None else self.module.rows.detach().cpu().float()
        tokens = [
            replace(token, rows=rows[i : i + 1].clone()) for i, token in enumerate(self._tokens()) if rows is not None
        ]
        return lora_of(name, self.module.by_kind(), tokens, self.models.stage_c.family)

    def write(self, path: Path) -> None:
        lora = replace(self.result(path.stem), filters=self.settings.filters)
        save_lora(path, lora, _changed(self.models), dialect=self.settings.dialect)

    def _tokens(self) -> list[NewToken]:
        """The new words, with rows of zeros. Only the official code reads the pooled vector at a new word."""
        width, pooled = self.models.text_encoder.config.hidden_size, self.settings.dialect == "official"
        return [NewToken(text, torch.zeros(1, width), start, pooled) for text, start in self.settings.tokens]

    def _acquire(self) -> torch.device:
        settings, batch = self.settings, self.settings.batch_size
        if self.preservation is not None:
            batch += settings.keep_batch or settings.batch_size
        device = self.stage_c.acquire(stage_c_bytes(self.models, settings, batch))
        if settings.learns_text:
            text = self.models.text_encoder
            self.text_encoder.acquire(8 * text_bytes(text.config, batch, text.dtype))
        return device

    def _encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        if not self.settings.learns_text:
            return self.examples.encodings(captions)
        sequence, pooled = cast(TextEncoder, self.text_encoder.module).encode(captions, truncate=True)
        return sequence, pooled

    def _call(
        self, handle: Handle, conditioning: Conditioning, device: torch.device, x: Tensor, condition: Tensor
    ) -> Tensor:
        return handle.module(x.to(handle.dtype), condition, *conditioning.part(slice(None), device, handle.dtype))

    def _plain_caption(self, caption: str) -> str:
        """A caption with the words that new ones start from in their place."""
        for text, start in self.settings.tokens:
            word = PLAIN_WORD.fullmatch(start)
            caption = caption.replace(text, word[1] if word else "")
        return caption


def _branches(models: TrainingModels, settings: LoraSettings) -> Branches:
    text = models.text_encoder
    return Branches(models.stage_c.module, settings, text.config.hidden_size, text.module)


def untrained_lora(models: TrainingModels, settings: LoraSettings, name: str) -> Lora:
    """The LoRA that a training begins with, by shapes alone; CascadeError where it cannot begin, or not be written."""
    width = models.text_encoder.config.hidden_size
    branches = _branches(models, settings)
    tokens = [NewToken(text, torch.zeros(1, width), start) for text, start in settings.tokens]
    for token in tokens:
        starting_words(cast(TextEncoder, models.text_encoder.module), token)
    lora = lora_of(name, branches.by_kind(), tokens, models.stage_c.family)
    check_dialect(replace(lora, filters=settings.filters), _changed(models), settings.dialect)
    return lora


def _changed(models: TrainingModels) -> list[Handle]:
    """The models that a LoRA of a training belongs to."""
    return [models.stage_c.root, models.text_encoder.root]
