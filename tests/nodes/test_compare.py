"""Compare Pictures: both side by side, and what the line of numbers says."""

import math

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.images import EQUAL, psnr
from stable_cascade_nodes.nodes.compare import CascadeCompare


def compare(*inputs: object) -> tuple[torch.Tensor, str]:
    answer = CascadeCompare().compare(*inputs)  # type: ignore[arg-type]
    image, text = answer["result"]
    assert answer["ui"] == {"text": [text]}
    return image, text


def grey(value: float, height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.full((1, height, width, 3), value)


def test_the_original_is_on_the_left_and_the_numbers_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    image, text = compare(grey(0.6), grey(0.5))
    assert torch.equal(image, torch.cat([grey(0.5), grey(0.6)], dim=2))
    assert text == "PSNR 20.0 dB"  # a tenth of the range
    assert capsys.readouterr().err == f"Compare Pictures: {text}\n"


def test_a_latent_tells_how_small_it_is() -> None:
    latent = {"samples": torch.zeros(1, 16, 6, 12)}
    _, text = compare(grey(0.6, 256, 512), grey(0.5, 256, 512), latent)
    assert text == "PSNR 20.0 dB; latent 12 x 6 x 16, 42.7 times smaller a side"
    with pytest.raises(CascadeError, match=r"`latent`: expected a latent of Stage C, .* found \(1, 4, 64, 64\)"):
        compare(grey(0.6), grey(0.5), {"samples": torch.zeros(1, 4, 64, 64)})


def test_batches_are_compared_one_by_one_and_one_original_serves_all() -> None:
    image, text = compare(torch.cat([grey(0.6), grey(0.51)]), grey(0.5))
    assert image.shape == (2, 64, 192, 3)
    assert text == "PSNR 30.0 dB on average, 20.0 to 40.0"
    with pytest.raises(CascadeError, match="found 2 in `image`, 3 in `original`"):
        compare(grey(0).repeat(2, 1, 1, 1), grey(0).repeat(3, 1, 1, 1))


def test_alpha_and_a_single_channel_are_pictures_too() -> None:
    assert compare(torch.rand(1, 20, 30, 4), torch.rand(1, 20, 30, 1))[0].shape == (1, 20, 60, 3)
    assert compare(grey(0.5), grey(0.5))[1] == "the pictures are equal"


def test_pictures_of_two_sizes_are_refused_with_both() -> None:
    message = "`image` has 96 x 64 pixels, `original` 128 x 64: only pictures of one size"
    with pytest.raises(CascadeError, match=message):
        compare(grey(0.5), grey(0.5, 64, 128))


def test_psnr_is_a_number_for_equal_pictures_and_none_for_broken_ones() -> None:
    picture = torch.rand(3, 8, 8)
    assert psnr(picture, picture) == EQUAL
    assert psnr(picture, picture + 1e-8) == EQUAL
    assert psnr(torch.zeros(3, 8, 8), torch.ones(3, 8, 8)) == 0
    assert math.isnan(psnr(picture * math.nan, picture))
