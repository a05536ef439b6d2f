"""The shapes of the two CLIP networks, published and tiny; field names stay close to their `config.json`."""

from dataclasses import dataclass

AT_GREATEST_ID = 2  # the `eos_token_id` of old CLIP files; the id itself means nothing


@dataclass(frozen=True)
class TextConfig:
    """A CLIP text encoder with projection.

    `eos_token_id` says where the pooled vector is read. AT_GREATEST_ID, as in the published (old) files, means at the
    greatest id of the prompt: the end token, or a trained token, whose ids lie above it. Any other id means at the
    first place where that id stands. Start, end and padding ids are the tokenizer's.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    max_positions: int
    projection_dim: int
    hidden_act: str = "gelu"
    eos_token_id: int = AT_GREATEST_ID


@dataclass(frozen=True)
class VisionConfig:
    """A CLIP image encoder with projection; `image_size` and `patch_size` in pixels."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    image_size: int
    patch_size: int
    projection_dim: int
    hidden_act: str = "quick_gelu"


PUBLISHED_TEXT = TextConfig(
    vocab_size=49408,
    hidden_size=1280,
    intermediate_size=5120,
    layers=32,
    heads=20,
    max_positions=77,
    projection_dim=1280,
)
PUBLISHED_VISION = VisionConfig(
    hidden_size=1024,
    intermediate_size=4096,
    layers=24,
    heads=16,
    image_size=224,
    patch_size=14,
    projection_dim=768,
)
TINY_TEXT = TextConfig(
    vocab_size=100,
    hidden_size=128,
    intermediate_size=384,
    layers=3,
    heads=4,
    max_positions=24,
    projection_dim=128,
)
TINY_VISION = VisionConfig(
    hidden_size=96,
    intermediate_size=288,
    layers=2,
    heads=4,
    image_size=64,
    patch_size=8,
    projection_dim=128,
)
