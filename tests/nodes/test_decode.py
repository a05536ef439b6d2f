"""Decoding: Stage A at exactly the wanted size, the previewer, and the same refusals as everywhere."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.nodes.decode import CascadePreviewDecode, CascadeStageADecode

Part = Callable[[str], Handle]


def decode(part: Part, samples: torch.Tensor, **keys: Any) -> torch.Tensor:
    return CascadeStageADecode().decode(part("stage_a"), {"samples": samples, **keys})[0]


def test_the_picture_is_a_clamped_image(part: Part) -> None:
    image = decode(part, 50 * torch.randn(2, 4, 8, 6))
    assert image.shape == (2, 32, 24, 3)
    assert image.dtype == torch.float32 and image.is_contiguous()
    assert image.min() == 0 and image.max() == 1


def test_the_wire_is_in_stage_a_space(part: Part) -> None:
    samples = torch.randn(1, 4, 8, 8)
    module: Any = part("stage_a").module
    with torch.inference_mode():
        expected = module.decode(samples / 0.43).clamp(0, 1).movedim(1, -1)
    assert torch.equal(decode(part, samples), expected)


def test_the_wanted_size_is_cropped_where_it_fits(part: Part) -> None:
    samples = torch.randn(1, 4, 8, 6)
    full = decode(part, samples)
    cropped = decode(part, samples, cascade_size=(30, 21))
    assert cropped.shape == (1, 30, 21, 3)
    assert torch.equal(cropped, full[:, :30, :21])
    assert decode(part, samples, cascade_size=(64, 64)).shape == (1, 32, 24, 3)  # of another latent: ignored


def test_the_previewer_makes_a_small_picture(part: Part) -> None:
    (image,) = CascadePreviewDecode().decode(part("previewer"), {"samples": torch.randn(1, 16, 3, 4)})
    factor = 2 ** (len(part("previewer").config.widths) - 1)
    assert image.shape == (1, 3 * factor, 4 * factor, 3)
    assert image.min() >= 0 and image.max() <= 1


def test_other_families_and_channels(part: Part) -> None:
    stage_a = replace(part("stage_a"), name="tiny (built-in)")
    with pytest.raises(CascadeError, match=r"Stage A is tiny \(built-in\), but `latent` comes from a published model"):
        CascadeStageADecode().decode(stage_a, {"samples": torch.zeros(1, 4, 8, 8), "cascade_family": "stable-cascade"})
    with pytest.raises(CascadeError, match="expected a latent of Stage B"):
        CascadeStageADecode().decode(stage_a, {"samples": torch.zeros(1, 16, 8, 8)})
    with pytest.raises(CascadeError, match="expected a latent of Stage C"):
        CascadePreviewDecode().decode(part("previewer"), {"samples": torch.zeros(1, 4, 8, 8)})
    with pytest.raises(CascadeError, match=r"Previewer is .*but `latent` comes from"):
        latent = {"samples": torch.zeros(1, 16, 8, 8), "cascade_family": "stable-cascade"}
        CascadePreviewDecode().decode(part("previewer"), latent)
