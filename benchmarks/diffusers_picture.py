"""Whole pictures by diffusers' pipelines, of random embeddings, at the official steps and guidance."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..cascade_core.sampling.settings import STAGE_B_DEFAULTS, STAGE_C_DEFAULTS
from .networks import TOKENS


class TheirPicture:
    """Their prior and decoder pipeline, with networks over our weights."""

    def __init__(
        self, networks: dict[str, Any], size: int, images: int, steps: tuple[int, int], device: torch.device
    ) -> None:
        diffusers, transformers = map(_module, ("diffusers", "transformers"))
        prior, decoder = networks["stage_c"], networks["stage_b"]
        dtype = next(prior.parameters()).dtype
        # Embeddings are given; of their text encoder the type alone is asked.
        small = transformers.CLIPTextConfig(
            vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
        text_encoder = transformers.CLIPTextModelWithProjection(small).to(device, dtype)
        nothing = None
        self.prior = diffusers.StableCascadePriorPipeline(
            nothing, text_encoder, prior, diffusers.DDPMWuerstchenScheduler()
        )
        self.decoder = diffusers.StableCascadeDecoderPipeline(
            decoder, nothing, text_encoder, diffusers.DDPMWuerstchenScheduler(), networks["stage_a"]
        )
        for pipeline in (self.prior, self.decoder):
            pipeline.set_progress_bar_config(disable=True)
        self.size, self.images, self.steps = size, images, steps
        self.generator = torch.Generator(device).manual_seed(0)
        width, pooled = prior.config.clip_text_in_channels, prior.config.clip_text_pooled_in_channels
        self.embeds = [torch.randn(1, TOKENS, width, device=device, dtype=dtype) for _ in range(2)]
        self.pooled = [torch.randn(1, 1, pooled, device=device, dtype=dtype) for _ in range(2)]

    def __call__(self) -> Tensor:
        said = {
            "prompt_embeds_pooled": self.pooled[0],
            "negative_prompt_embeds_pooled": self.pooled[1],
            "prompt_embeds": self.embeds[0],
            "negative_prompt_embeds": self.embeds[1],
            "num_images_per_prompt": self.images,
            "generator": self.generator,
        }
        stage_c = self.prior(
            height=self.size,
            width=self.size,
            num_inference_steps=self.steps[0],
            guidance_scale=STAGE_C_DEFAULTS.cfg,
            **said,
        ).image_embeddings
        said["num_images_per_prompt"] = 1  # of each of these latents
        said = {name: _for_each(value, self.images) for name, value in said.items()}
        return self.decoder(
            image_embeddings=stage_c,
            num_inference_steps=self.steps[1],
            guidance_scale=STAGE_B_DEFAULTS.cfg,
            output_type="pt",
            **said,
        ).images.cpu()


def _for_each(value: Any, images: int) -> Any:
    return value.repeat(images, 1, 1) if isinstance(value, Tensor) else value


def _module(name: str) -> Any:
    return import_module(name)
