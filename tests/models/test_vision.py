"""The image encoder against plain transformers; preprocessing; meta build."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from stable_cascade_nodes.cascade_core.models.clip_config import PUBLISHED_VISION, TINY_VISION
from stable_cascade_nodes.cascade_core.models.vision import CLIP_MEAN, CLIP_STD, ImageEncoder


@pytest.fixture(scope="module")
def tiny() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(TINY_VISION).requires_grad_(False)


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]


def test_equals_plain_transformers(tiny: ImageEncoder) -> None:
    model: Any = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=TINY_VISION.hidden_size,
            intermediate_size=TINY_VISION.intermediate_size,
            num_hidden_layers=TINY_VISION.layers,
            num_attention_heads=TINY_VISION.heads,
            image_size=TINY_VISION.image_size,
            patch_size=TINY_VISION.patch_size,
            projection_dim=TINY_VISION.projection_dim,
            hidden_act="quick_gelu",
        )
    )
    model.load_state_dict(tiny.state_dict(), strict=True)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model.eval()(normalize(pixels)).image_embeds
    torch.testing.assert_close(tiny(pixels), expected, rtol=0, atol=1e-6)


def test_preprocessing_fits_the_short_side_and_crops_the_middle(tiny: ImageEncoder) -> None:
    wide = torch.zeros(1, 3, 64, 164)
    wide[..., 50:114] = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(tiny.preprocess(wide), normalize(wide[..., 50:114]))
    torch.testing.assert_close(tiny.preprocess(wide.mT), normalize(wide[..., 50:114]).mT)
    for height, width in ((200, 100), (99, 333), (16, 17), (64, 65)):
        assert tiny.preprocess(torch.rand(1, 3, height, width)).shape == (1, 3, 64, 64)


def test_preprocessing_is_antialiased_bicubic_as_pillow(tiny: ImageEncoder) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = torch.rand(3, 150, 201)
    resized = [
        torch.from_numpy(np.array(image.fromarray(channel.numpy()).resize((85, 64), image.Resampling.BICUBIC)))
        for channel in pixels
    ]
    expected = normalize(torch.stack(resized)[None, ..., 10:74])
    torch.testing.assert_close(tiny.preprocess(pixels[None]), expected, rtol=0, atol=1e-4)


def test_meta_build_then_assign(tiny: ImageEncoder) -> None:
    with torch.device("meta"):
        encoder = ImageEncoder(TINY_VISION)
    encoder.load_state_dict(tiny.state_dict(), strict=True, assign=True)
    encoder.to("cpu")
    pixels = torch.rand(1, 3, 70, 90)
    assert torch.equal(encoder(pixels), tiny(pixels))
    assert encoder.bfloat16()(pixels).dtype == torch.bfloat16


def test_published_names_and_sizes() -> None:
    with torch.device("meta"):
        names = ImageEncoder(PUBLISHED_VISION).state_dict()
    assert all(name.startswith("vision_model.") for name in names if name != "visual_projection.weight")
    assert names["visual_projection.weight"].shape == (768, 1024)
    assert names["vision_model.embeddings.position_embedding.weight"].shape == (257, 1024)
    assert "vision_model.pre_layrnorm.weight" in names
    assert sum(tensor.numel() for tensor in names.values()) == 303_966_208
