"""Fit Picture: which size a picture gets, what becomes of its pixels, and its mask beside it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.images import fitted_size, paste_back
from stable_cascade_nodes.nodes.images import CascadeFitPicture

PHOTO = (3024, 4032)  # (height, width)


def run(image: torch.Tensor, **inputs: Any) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    node, given = CascadeFitPicture(), {"width": 0, "height": 0, "budget": 256, "method": "crop", **inputs}
    found, rehearsed = node.fit(image, **given), node.rehearse(image, **given)
    assert [each.shape for each in rehearsed[:2]] == [each.shape for each in found[:2]] and rehearsed[2:] == found[2:]
    assert found[0].shape[1:3] == found[1].shape[1:3] == (found[3], found[2])
    assert found[0].min() >= 0 and found[0].max() <= 1
    return found


# Sizes.


@pytest.mark.parametrize("budget", [256, 1024])
@pytest.mark.parametrize("size", [PHOTO, (4032, 3024), (2000, 2000), (2160, 3840), (1080, 2400)])
def test_a_large_picture_gets_the_budget_in_its_own_aspect(size: tuple[int, int], budget: int) -> None:
    h, w = fitted_size(size, budget=budget)
    assert h % 8 == w % 8 == 0
    assert h * w == pytest.approx(budget**2, rel=0.04)
    assert w / h == pytest.approx(size[1] / size[0], rel=0.03)


def test_a_small_picture_stays_as_it_is_unless_it_is_to_be_enlarged() -> None:
    assert fitted_size((256, 256), budget=256) == fitted_size((256, 256), budget=256, enlarge=True) == (256, 256)
    assert fitted_size((64, 96), budget=256) == (64, 96)
    assert fitted_size((64, 64), budget=256, enlarge=True) == (256, 256)
    assert fitted_size((101, 30), budget=256) == (104, 32)
    assert fitted_size((100, 30), budget=256, multiple=1) == (100, 30)


@pytest.mark.parametrize("size", [(1, 1), (4, 3000), (3000, 4), (1, 60000), (60000, 60000)])
@pytest.mark.parametrize("enlarge", [False, True])
def test_any_picture_gets_sides_that_a_latent_can_have_within_the_budget(size: tuple[int, int], enlarge: bool) -> None:
    h, w = fitted_size(size, budget=256, enlarge=enlarge)
    assert min(h, w) >= 16 and max(h, w) <= 8192 and h * w <= 1.02 * 256**2


def test_given_sides_are_honoured_to_the_pixel() -> None:
    assert fitted_size(PHOTO, 333, 201) == (201, 333)
    assert fitted_size(PHOTO, 333) == (248, 333)  # of 249.75, the nearest multiple of 8
    assert fitted_size(PHOTO, 0, 336) == (336, 448)
    for width, height in ((5, 0), (0, 9000), (300, 5)):
        with pytest.raises(CascadeError, match=r"(width|height): expected 16 to 8192 pixels, found"):
            fitted_size(PHOTO, width, height)


@pytest.mark.parametrize("multiple", [1, 32, 100, 128])
def test_sides_are_multiples(multiple: int) -> None:
    for size in (PHOTO, (10, 10), (4, 3000)):
        assert all(side % multiple == 0 for side in fitted_size(size, multiple=multiple, enlarge=True))


# Pixels and masks.


@pytest.mark.parametrize("method", ["crop", "pad", "stretch"])
def test_a_picture_that_has_its_size_comes_out_to_the_bit(method: str) -> None:
    image, mask = torch.rand(2, 64, 96, 3), torch.rand(2, 64, 96)
    found = run(image, method=method, mask=mask)
    assert torch.equal(found[0], image) and torch.equal(found[1], mask)


def ramp(height: int, width: int) -> torch.Tensor:
    """Red goes from 0 at the left to 1 at the right, green from 0 at the top to 1 at the bottom."""
    down, across = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
    return torch.stack([across.expand(height, -1), down[:, None].expand(-1, width), torch.zeros(height, width)], -1)[
        None
    ]


def test_crop_loses_both_ends_alike() -> None:
    image, mask, _, _ = run(ramp(100, 400), width=100, height=100)
    assert not mask.any()
    assert float(image[..., 0].min()) == pytest.approx(0.375, abs=0.01)
    assert float(image[..., 0].max()) == pytest.approx(0.625, abs=0.01)
    assert float(image[..., 1].min()) < 0.01 and float(image[..., 1].max()) > 0.99


def test_pad_keeps_all_of_it_in_the_middle_and_masks_the_rest() -> None:
    image, mask, _, _ = run(ramp(100, 400), width=200, height=200, method="pad")
    inside = mask[0] == 0
    assert inside[75:125].all() and not inside[:75].any() and not inside[125:].any()
    assert torch.equal(image[:, 10], image[:, 75]) and torch.equal(image[:, 190], image[:, 124])  # the edge repeats
    assert float(image[0, 75:125, :, 0].min()) < 0.01 and float(image[0, 75:125, :, 0].max()) > 0.99


def test_stretch_keeps_every_edge() -> None:
    image, mask, _, _ = run(ramp(100, 400), width=64, height=128, method="stretch")
    assert not mask.any() and image.shape == (1, 128, 64, 3)
    assert all(float(image[..., c].min()) < 0.02 and float(image[..., c].max()) > 0.98 for c in (0, 1))


def test_fine_detail_is_averaged_and_not_picked() -> None:
    """Antialiased: of a chequered picture grey remains, where picking pixels gives black or white."""
    board = (torch.arange(512)[:, None] + torch.arange(512)).remainder(2).float().expand(3, -1, -1).movedim(0, -1)[None]
    image, *_ = run(board, budget=64)
    assert float((image - 0.5).abs().max()) < 0.05


@pytest.mark.parametrize("method", ["crop", "pad", "stretch"])
def test_the_mask_lies_where_it_lay_on_the_picture(method: str) -> None:
    """A picture that is white where its mask is 1 still is, whatever becomes of both."""
    mask = torch.zeros(1, 300, 400)
    mask[:, 90:210, 130:270] = 1
    image = mask[..., None].expand(-1, -1, -1, 3).contiguous()
    fitted, found, _, _ = run(image, width=160, height=96, method=method, mask=mask)
    inside = torch.ones_like(found, dtype=torch.bool)
    if method == "pad":
        inside[..., :16] = inside[..., -16:] = False
        assert found[..., :16].all() and found[..., -16:].all()
    assert float(found[inside].mean()) > 0.05
    assert float((fitted[..., 0] - found)[inside].abs().mean()) < 0.02


def test_no_hole_is_lost_however_small() -> None:
    mask = torch.zeros(1, 2000, 2000)
    mask[:, 1000, 1000] = 1
    _, found, _, _ = run(torch.rand(1, 2000, 2000, 3), mask=mask)
    assert float(found.max()) == 1


def test_masks_of_other_shapes() -> None:
    image = torch.rand(2, 512, 512, 3)
    assert not run(image, mask=torch.zeros(1, 64, 64))[1].any()  # what ComfyUI gives where nothing is transparent
    assert run(image, mask=torch.ones(32, 32))[1].shape == (1, 256, 256)
    assert run(image, mask=torch.ones(2, 1, 512, 512))[1].shape == (2, 256, 256)
    with pytest.raises(CascadeError, match="`mask`: expected the shape"):
        run(image, mask=torch.ones(1, 3, 512, 512))


def test_a_stretched_picture_fits_back_into_the_photo() -> None:
    """The place of the mask on the fitted picture, stretched back, is its place on the photo."""
    photo, mask = torch.rand(1, 600, 807, 3), torch.zeros(1, 600, 807)
    mask[:, 200:300, 400:600] = 1
    fitted, found, _, _ = run(photo, method="stretch", mask=mask)
    made = torch.where(found[..., None] > 0.5, 1.0, fitted)  # what a model would have filled in
    back = paste_back(made.movedim(-1, 1), photo.movedim(-1, 1), mask[:, None]).movedim(1, -1)
    assert torch.equal(back[mask == 0], photo[mask == 0])
    assert float(back[mask > 0].mean()) > 0.97


def test_the_aspect_survives_the_rounding() -> None:
    h, w = fitted_size(PHOTO, budget=256)
    assert abs(math.log(w / h * PHOTO[0] / PHOTO[1])) < 0.02  # within what a ControlNet's hint may be off
