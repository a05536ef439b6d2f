"""The image encoder: pictures to the CLIP vectors that Stage C takes for image variation.

The preprocessing is the official one, on tensors.
"""

from torch import Tensor, nn
from torch.nn.functional import interpolate

from .clip import VisionTower
from .clip_config import VisionConfig

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder(nn.Module):
    """CLIP image encoder with projection."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = VisionTower(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        nn.init.normal_(self.visual_projection.weight, std=config.hidden_size**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in 0..1, any size -> image_embeds (B, projection_dim), not normalised."""
        weight = self.visual_projection.weight
        return self.visual_projection(self.vision_model(self.preprocess(pixels).to(weight.dtype)))

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
