"""Pictures as inputs: sizes at which they are encoded, CLIP vectors, padding, pasting back."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.images import embed_pixels, encode_pixels, encoded_size, pad_outward, paste_back
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.sampling.sizes import stage_c_size


class Noting(nn.Module):
    """Keeps what it is given, and answers with zeros of a latent's size."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels)
        return torch.zeros(len(pixels), 16, pixels.shape[2] // 32, pixels.shape[3] // 32)


def handle(kind: str, module: nn.Module) -> Handle:
    fields: dict[str, Any] = {"target": "epsilon", "x0_clamp": None, "dtype": torch.float32, "placement": StayPut()}
    return Handle(module, kind, "f", "tiny", PRESETS[kind]["tiny"], **fields)


# Encoding.

OFFICIAL = {
    512: 12, 640: 15, 704: 16, 720: 16, 768: 18, 832: 19, 896: 21, 960: 22, 1024: 24, 1080: 25, 1152: 27, 1280: 30,
    1344: 31, 1536: 36, 1600: 37, 2048: 48,
}  # fmt: skip


@pytest.mark.parametrize("side", OFFICIAL)
def test_sizes_at_which_pictures_are_encoded(side: int) -> None:
    assert encoded_size(side, 1024, "official") == (32 * OFFICIAL[side], 768)
    assert encoded_size(side, 1024) == tuple(32 * cells for cells in stage_c_size(1024, side))


def test_a_picture_and_an_empty_latent_of_its_size_agree() -> None:
    for width, height in ((16, 8192), (341, 1024), (1000, 600)):
        h, w = encoded_size(height, width)
        assert (h // 32, w // 32) == stage_c_size(width, height)
        latent = encode_pixels(handle("effnet", Noting()), torch.rand(2, 3, height, width))
        assert latent.shape == (2, 16, h // 32, w // 32)


def test_official_pictures_are_resized_to_the_nearest_ours_smoothly() -> None:
    network, pixels = Noting(), torch.rand(2, 3, 100, 140)
    encode_pixels(handle("effnet", network), pixels, "official")
    assert torch.equal(torch.cat(network.seen), F.interpolate(pixels, (64, 96), mode="nearest"))
    network.seen.clear()
    encode_pixels(handle("effnet", network), pixels)
    assert [tuple(seen.shape) for seen in network.seen] == [(1, 3, 96, 128)] * 2  # one by one, for memory
    torch.testing.assert_close(
        torch.cat(network.seen), F.interpolate(pixels, (96, 128), mode="bilinear", antialias=True)
    )


def test_the_smallest_pictures_have_one_cell() -> None:
    assert encoded_size(16, 20, "official") == (32, 32)
    with pytest.raises(CascadeError, match="height: expected 16 to 8192 pixels, found 15"):
        encoded_size(15, 20)
    with pytest.raises(CascadeError, match="resize: expected ours or official, found best"):
        encoded_size(100, 100, "best")  # pyright: ignore[reportArgumentType]


def test_encoders_are_told_apart() -> None:
    with pytest.raises(CascadeError, match="Expected a effnet, but f is a image encoder: choose another model"):
        encode_pixels(handle("image_encoder", Noting()), torch.rand(1, 3, 64, 64))
    with pytest.raises(CascadeError, match="Expected a image encoder, but f is a effnet"):
        embed_pixels(handle("effnet", Noting()), torch.rand(1, 3, 64, 64))


def test_clip_vectors_do_not_depend_on_the_batch() -> None:
    encoder = load("image_encoder", built_in("image_encoder")["tiny (built-in)"])
    pixels = torch.rand(3, 3, 90, 140)
    together = embed_pixels(encoder, pixels)
    assert together.shape == (3, encoder.config.projection_dim)
    alone = torch.cat([embed_pixels(encoder, one[None]) for one in pixels])
    torch.testing.assert_close(together, alone)
    with torch.inference_mode():
        torch.testing.assert_close(together, encoder.module(pixels))


# Padding.


def test_padding_repeats_the_edge_and_masks_what_is_new() -> None:
    pixels = torch.rand(2, 3, 20, 30)
    padded, mask = pad_outward(pixels, left=5, top=0, right=2, bottom=7)
    assert padded.shape == (2, 3, 27, 37) and mask.shape == (2, 1, 27, 37)
    assert torch.equal(padded[..., :20, 5:35], pixels)
    assert torch.equal(padded[..., :20, 0], pixels[..., 0]) and torch.equal(padded[..., -1, 5:35], pixels[..., -1, :])
    expected = torch.ones(27, 37)
    expected[:20, 5:35] = 0
    assert torch.equal(mask[0, 0], expected)


def test_the_mask_fades_into_the_picture_on_padded_sides_only() -> None:
    _, mask = pad_outward(torch.rand(1, 3, 32, 40), left=4, top=0, right=0, bottom=6, feather=3)
    row, column = mask[0, 0, 10], mask[0, 0, :, 30]
    assert row.tolist() == pytest.approx([1] * 4 + [0.75, 0.5, 0.25] + [0] * 37)
    assert column.tolist() == pytest.approx([0] * 29 + [0.25, 0.5, 0.75] + [1] * 6)


def test_padding_nothing_or_too_much() -> None:
    pixels = torch.rand(1, 3, 32, 32)
    padded, mask = pad_outward(pixels, 0, 0, 0, 0, feather=8)
    assert torch.equal(padded, pixels) and not mask.any()
    with pytest.raises(CascadeError, match="width: expected 16 to 8192 pixels, found 8232"):
        pad_outward(pixels, 8000, 0, 200, 0)


# Pasting back.


def hole(height: int = 40, width: int = 60) -> Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., 10:30, 20:45] = 1
    return mask


@pytest.mark.parametrize("feather", [0, 1, 6, 500])
def test_outside_the_mask_every_pixel_is_the_original_s(feather: int) -> None:
    new, original = torch.rand(1, 3, 40, 60), torch.rand(1, 3, 40, 60)
    pasted = paste_back(new, original, hole(), feather)
    outside = (hole() == 0).expand_as(pasted)
    assert torch.equal(pasted[outside], original[outside])
    assert (pasted != original)[~outside].any()


def test_a_hard_edge_takes_the_new_picture_exactly() -> None:
    new, original = torch.rand(2, 3, 40, 60), torch.rand(2, 3, 40, 60)
    assert torch.equal(paste_back(new, original, hole()), torch.where(hole() > 0, new, original))


def test_a_feather_comes_in_over_so_many_pixels() -> None:
    ones, zeros = torch.ones(1, 3, 40, 60), torch.zeros(1, 3, 40, 60)
    row = paste_back(ones, zeros, hole(), feather=4)[0, 0, 20]
    assert row[19:26].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 1], abs=1e-6)


@pytest.mark.parametrize("feather", [0, 1, 7, 200])
def test_a_feather_is_opencv_s_distance(feather: int) -> None:
    noise = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(feather))
    mask = (F.interpolate(noise, (90, 120), mode="bicubic") > 0.5).float()
    distance = cv2.distanceTransform(mask[0, 0].numpy().astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    pasted = paste_back(torch.ones(1, 3, 90, 120), torch.zeros(1, 3, 90, 120), mask, feather)
    expected = torch.as_tensor(distance / (feather + 1)).clamp(max=1)
    torch.testing.assert_close(pasted[0, 0], expected, atol=1e-6, rtol=0)


def test_a_feather_leaves_the_picture_s_own_edge() -> None:
    mask = torch.zeros(1, 1, 40, 60)
    mask[..., 30:] = 1
    ones, zeros = torch.ones(1, 3, 40, 60), torch.zeros(1, 3, 40, 60)
    pasted = paste_back(ones, zeros, mask, feather=5)
    assert pasted[0, 0, :, -1].min() == 1 and pasted[0, 0, 0, 30] < 0.5
    torch.testing.assert_close(paste_back(ones, zeros, torch.ones(1, 1, 8, 8), feather=5), ones)


def test_soft_masks_blend() -> None:
    pasted = paste_back(torch.ones(1, 3, 20, 20), torch.zeros(1, 3, 20, 20), torch.full((1, 1, 20, 20), 0.25))
    assert torch.equal(pasted, torch.full_like(pasted, 0.25))


def test_pictures_and_masks_of_other_sizes_are_stretched_to_the_original() -> None:
    original = torch.rand(1, 3, 80, 120)
    new = torch.full((1, 3, 32, 48), 0.5)
    pasted = paste_back(new, original, hole(), feather=0)
    assert pasted.shape == original.shape
    changed = (pasted != original).any(1)[0]
    rows, columns = torch.nonzero(changed.any(1)).flatten(), torch.nonzero(changed.any(0)).flatten()
    assert 19 <= rows[0] <= 20 and 59 <= rows[-1] <= 60 and 39 <= columns[0] <= 40 and 89 <= columns[-1] <= 90
    torch.testing.assert_close(pasted[..., 30:50, 50:80], torch.full((1, 3, 20, 30), 0.5))


def test_one_masked_pixel_is_pasted_and_an_empty_mask_pastes_nothing() -> None:
    new, original, mask = torch.rand(1, 3, 40, 60), torch.rand(1, 3, 40, 60), torch.zeros(1, 1, 40, 60)
    assert torch.equal(paste_back(new, original, mask, 8), original)
    mask[..., 7, 9] = 1
    pasted = paste_back(new, original, mask)
    assert torch.equal(torch.nonzero((pasted != original).any(1)), torch.tensor([[0, 7, 9]]))


def test_batches_are_equal_or_of_one() -> None:
    new, original = torch.rand(3, 3, 40, 60), torch.rand(1, 3, 40, 60)
    assert paste_back(new, original, hole()).shape == (3, 3, 40, 60)
    with pytest.raises(CascadeError, match="found 3 in `image`, 2 in `original`, 1 in `mask`: connect batches"):
        paste_back(new, original.repeat(2, 1, 1, 1), hole())
