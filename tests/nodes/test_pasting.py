"""Pad for Outpainting and Paste Back: what changes, what does not, and what is said where nothing would."""

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.nodes.images import CascadeOutpaintPad, CascadePasteBack
from stable_cascade_nodes.runtime import host


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(host.current(), "warn", lambda node, message: said.append(message))
    return said


def hole() -> torch.Tensor:
    mask = torch.zeros(1, 40, 60)
    mask[:, 10:30, 20:45] = 1
    return mask


def test_padding_gives_room_on_each_side_and_the_mask_of_it() -> None:
    image = torch.rand(2, 20, 30, 3)
    padded, mask = CascadeOutpaintPad().pad(image, left=1, top=2, right=3, bottom=4, feather=0)
    assert padded.shape == (2, 26, 34, 3) and mask.shape == (2, 26, 34)
    assert torch.equal(padded[:, 2:22, 1:31], image)
    assert mask.sum() == 2 * (26 * 34 - 20 * 30) and mask[:, 2:22, 1:31].sum() == 0


def test_no_room_at_all_is_said(warnings: list[str]) -> None:
    image = torch.rand(1, 20, 30, 3)
    padded, mask = CascadeOutpaintPad().pad(image, 0, 0, 0, 0, 32)
    assert torch.equal(padded, image) and not mask.any()
    assert warnings == ["All four sides are 0: the picture stays as it is, and the mask is empty"]


@pytest.mark.parametrize("shape", [(40, 60), (1, 40, 60), (1, 1, 40, 60)])
@pytest.mark.parametrize("feather", [0, 8])
def test_no_pixel_outside_the_mask_changes(shape: tuple[int, ...], feather: int) -> None:
    original, mask = torch.rand(1, 40, 60, 4), hole()
    (pasted,) = CascadePasteBack().paste(torch.rand(1, 32, 48, 3), original, mask.reshape(shape), feather)
    differing = (pasted != original[..., :3]).any(-1)
    assert pasted.shape == (1, 40, 60, 3) and pasted.dtype == torch.float32
    assert differing.any() and not differing[mask == 0].any()


def test_a_batch_of_pictures_into_one_original() -> None:
    made, original = torch.rand(3, 40, 60, 3), torch.rand(1, 40, 60, 3)
    (pasted,) = CascadePasteBack().paste(made, original, hole(), 0)
    assert torch.equal(pasted, torch.where(hole()[..., None] > 0, made, original))
    with pytest.raises(CascadeError, match="found 3 in `image`, 1 in `original`, 2 in `mask`"):
        CascadePasteBack().paste(made, original, hole().repeat(2, 1, 1), 0)


def test_an_empty_mask_gives_the_original_and_is_said(warnings: list[str]) -> None:
    original = torch.rand(1, 40, 60, 3)
    (pasted,) = CascadePasteBack().paste(torch.rand(1, 40, 60, 3), original, torch.zeros(1, 64, 64), 8)
    assert torch.equal(pasted, original)
    assert warnings == ["The mask is empty: the result is the original"]


def test_outpainting_keeps_the_old_picture_but_for_the_seam() -> None:
    image = torch.rand(1, 40, 60, 3)
    padded, mask = CascadeOutpaintPad().pad(image, 16, 0, 0, 0, 4)
    (pasted,) = CascadePasteBack().paste(torch.rand(1, 40, 76, 3), padded, mask, 0)
    assert torch.equal(pasted[:, :, 20:], image[:, :, 4:])
    assert (pasted[:, :, :16] != padded[:, :, :16]).all(-1).float().mean() > 0.99
