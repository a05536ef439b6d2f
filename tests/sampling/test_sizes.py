"""Sizes and noise."""

import math

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.sampling.noise import Noise, image_seeds, stage_b_seed
from stable_cascade_nodes.cascade_core.sampling.sizes import encode_size, odd_size, stage_b_size, stage_c_size

PIXELS = [512, 640, 704, 720, 768, 832, 896, 960, 1024, 1080, 1152, 1280, 1344, 1536, 1600, 2048]
STAGE_C = [12, 15, 17, 17, 18, 20, 21, 23, 24, 26, 27, 30, 32, 36, 38, 48]
STAGE_B = [128, 160, 176, 180, 192, 208, 224, 240, 256, 270, 288, 320, 336, 384, 400, 512]


def test_sizes_are_the_official_ones():
    assert [stage_c_size(px, 512) for px in PIXELS] == [(12, side) for side in STAGE_C]
    assert [stage_b_size(512, px) for px in PIXELS] == [(side, 128) for side in STAGE_B]


def test_every_pixel_size_is_rounded_up():
    for px in range(16, 8193):
        assert stage_c_size(px, px) == (math.ceil(px / 42.67),) * 2
        assert stage_b_size(px, px) == (math.ceil(px / 4),) * 2


def test_a_picture_is_encoded_to_the_size_of_an_empty_latent():
    assert encode_size(1000, 300) == (32 * 8, 32 * 24)
    assert stage_c_size(1000, 300) == (8, 24)


@pytest.mark.parametrize("rule", [stage_c_size, stage_b_size, encode_size])
@pytest.mark.parametrize(("size", "name"), [((15, 512), "width"), ((512, 8193), "height")])
def test_sizes_out_of_range_are_refused_by_name(rule, size, name):
    with pytest.raises(CascadeError, match=f"{name}: expected 16 to 8192 pixels, found"):
        rule(*size)
    rule(16, 8192)


def test_image_seeds_count_on_and_around():
    assert image_seeds(7, range(3)) == [7, 8, 9]
    assert image_seeds(2**64 - 1, [0, 1, 5]) == [2**64 - 1, 0, 4]


def test_stage_b_seed_is_splitmix64():
    # The published first outputs of the generator.
    assert stage_b_seed(0) == 0xE220A8397B1DCDAF
    assert stage_b_seed(1234567) == 6457827717110365317


def test_first_noise_of_one_image_is_that_of_its_seed():
    noise = Noise([42], (16, 6, 7), torch.device("cpu"))
    torch.manual_seed(42)
    assert torch.equal(noise(), torch.randn(1, 16, 6, 7))
    assert torch.equal(noise(), torch.randn(1, 16, 6, 7))


def test_an_image_draws_the_same_alone_and_in_a_batch():
    batch = Noise(image_seeds(5, range(3)), (4, 8, 8), torch.device("cpu"))
    alone = Noise([7], (4, 8, 8), torch.device("cpu"))
    for _ in range(3):
        together = batch()
        assert torch.equal(together[2:], alone())
        assert not torch.equal(together[0], together[2])


@pytest.mark.parametrize(
    ("family", "width", "height", "told"),
    [
        ("tiny", 256, 256, ""),
        ("tiny", 360, 360, ""),
        ("tiny", 512, 300, "more"),
        ("tiny", 192, 192, ""),
        ("tiny", 160, 160, "fewer"),
        ("tiny", 100, 256, "fewer"),
        ("tiny", 320, 224, ""),
        ("tiny", 320, 192, "square"),
        ("tiny", 192, 320, "square"),
        ("stable-cascade", 1536, 1536, ""),
        ("stable-cascade", 4032, 3024, "more"),
        ("stable-cascade", 256, 256, ""),
        ("stable-cascade", 2048, 512, ""),
        ("somebody's", 8192, 8192, ""),
    ],
)
def test_a_size_far_from_a_familys_is_told(family, width, height, told):
    said = odd_size(family, (height, width))
    how = "from a" if told == "square" else f"{told} than the"
    expected = f"{width} x {height} pixels are far {how}"
    assert said.startswith(expected) if told else said == ""
