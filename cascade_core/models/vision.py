"""The image encoder: pictures to the CLIP vectors that Stage C takes for image variation.

The network is transformers' CLIP, under the names of its checkpoint; the preprocessing is the official one, on tensors.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .clip_config import VisionConfig

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder(nn.Module):
    """CLIP image encoder with projection."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        network = _build_clip(config)
        self.vision_model: Any = network.vision_model
        self.visual_projection: nn.Linear = network.visual_projection
        # Not in the checkpoint, so a build on the meta device would leave it without values, and a load that assigns
        # tensors of another device would leave it behind.
        _place_positions(self)
        self.register_load_state_dict_post_hook(_place_positions)  # pyright: ignore[reportUnknownMemberType]

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in 0..1, any size -> image_embeds (B, projection_dim), not normalised."""
        weight = self.visual_projection.weight
        output: Any = self.vision_model(pixel_values=self.preprocess(pixels).to(weight.dtype))
        return self.visual_projection(output.pooler_output)

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Short side to image_size (bicubic, antialiased), centre crop, CLIP's mean and deviation; in float32."""
        size = self.config.image_size
        pixels = pixels.float()
        height, width = pixels.shape[-2:]
        short = min(height, width)
        if short != size:
            resized = (size * height // short, size * width // short)
            pixels = interpolate(pixels, resized, mode="bicubic", antialias=True)
        top, left = (round((side - size) / 2) for side in pixels.shape[-2:])
        pixels = pixels[..., top : top + size, left : left + size]  # (B, 3, size, size)
        mean = pixels.new_tensor(CLIP_MEAN).view(3, 1, 1)
        std = pixels.new_tensor(CLIP_STD).view(3, 1, 1)
        return (pixels - mean) / std


def _place_positions(encoder: Any, _: Any = None) -> None:
    embeddings, device = encoder.vision_model.embeddings, encoder.visual_projection.weight.device
    positions = torch.arange(embeddings.num_positions, device="cpu" if device.type == "meta" else device)
    embeddings.register_buffer("position_ids", positions[None], persistent=False)


def _build_clip(config: VisionConfig) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection  # heavy: only when an encoder is built

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            projection_dim=config.projection_dim,
            hidden_act=config.hidden_act,
        )
    )
