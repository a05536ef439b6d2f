"""Native values to the core's and back: exact, never in place, and what cannot be honoured is refused by name."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.sampling.condition import Condition
from stable_cascade_nodes.nodes import sockets


def conditioning(**options: Any) -> sockets.Conditioning:
    return [[torch.randn(1, 5, 8), {"pooled_output": torch.randn(1, 8), **options}]]


def test_pixels_and_images_are_each_other_turned() -> None:
    pixels = torch.rand(2, 3, 4, 6)
    image = sockets.to_image(pixels)
    assert image.shape == (2, 4, 6, 3)
    assert image.is_contiguous()
    assert torch.equal(sockets.to_pixels(image), pixels)


def test_alpha_is_left_out_and_grey_is_spread() -> None:
    image = torch.rand(1, 2, 2, 4)
    assert torch.equal(sockets.to_pixels(image), image[..., :3].movedim(-1, 1))
    grey = sockets.to_pixels(image[..., :1])
    assert grey.shape == (1, 3, 2, 2)
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_what_is_no_picture() -> None:
    with pytest.raises(CascadeError, match=r"`image`: expected the shape .*found \(4, 4\)"):
        sockets.to_pixels(torch.zeros(4, 4))


def test_a_condition_survives_the_wire() -> None:
    made = Condition(torch.randn(1, 5, 8), torch.randn(1, 8), family="tiny")
    wire = sockets.to_conditioning(made)
    assert wire[0][1]["cascade_family"] == "tiny"
    (read,) = sockets.to_conditions("positive", wire)
    assert read.sequence is made.sequence and read.pooled is made.pooled
    assert (read.family, read.strength, read.start, read.end) == ("tiny", 1.0, 0.0, 1.0)


def test_strength_and_range_of_several_entries() -> None:
    wire = conditioning(strength=0.5, start_percent=0.2, end_percent=0.6) + conditioning()
    first, second = sockets.to_conditions("positive", wire)
    assert (first.strength, first.start, first.end, first.family) == (0.5, 0.2, 0.6, None)
    assert (second.strength, second.start, second.end) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize("key", ["mask", "area", "hooks", "gligen", "control"])
def test_what_cannot_be_honoured_is_refused_by_name(key: str) -> None:
    with pytest.raises(CascadeError, match=rf"`negative` carries .*in its `{key}`.*take that node out"):
        sockets.to_conditions("negative", conditioning() + conditioning(**{key: (1, 2)}))
    assert sockets.to_conditions("negative", conditioning(**{key: None}))


def test_a_prompt_without_a_pooled_vector() -> None:
    with pytest.raises(CascadeError, match="`positive` has no pooled_output"):
        sockets.to_conditions("positive", [[torch.zeros(1, 5, 8), {}]])


def test_image_embeddings_ride_in_the_native_key() -> None:
    entries = [
        {"clip_vision_output": SimpleNamespace(image_embeds=torch.ones(2, 6)), "strength": 0.5},
        {"clip_vision_output": SimpleNamespace(image_embeds=torch.ones(1, 6))},
    ]
    (read,) = sockets.to_conditions("positive", conditioning(unclip_conditioning=entries))
    assert read.images is not None
    assert read.images.shape == (1, 3, 6)
    assert read.images[0, :, 0].tolist() == [0.5, 0.5, 1.0]


def test_samples_of_the_wrong_stage() -> None:
    with pytest.raises(CascadeError, match=r"`latent`: expected a latent of Stage C.*found \(1, 4, 8, 8\)"):
        sockets.samples_of("latent", {"samples": torch.zeros(1, 4, 8, 8)}, 16)
    with pytest.raises(CascadeError, match="expected a latent of Stage B"):
        sockets.samples_of("latent", {"samples": torch.zeros(1, 16, 8, 8)}, 4)


@pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (1, 1, 6, 8)])
def test_masks_come_in_three_forms(shape: tuple[int, ...]) -> None:
    mask = torch.rand(shape)
    found = sockets.to_mask(mask, torch.zeros(1, 60, 80, 3))
    assert torch.equal(found, mask.reshape(1, 1, 6, 8))


def test_the_empty_mask_of_a_picture_without_transparency_fits_every_picture() -> None:
    """LoadImage gives 64 x 64 zeros, whatever the picture's size."""
    found = sockets.to_mask(torch.zeros(1, 64, 64), torch.zeros(1, 60, 200, 3))
    assert found.shape == (1, 1, 60, 200) and not found.any()


@pytest.mark.parametrize("shape", [(4,), (1, 3, 8, 8), (0, 8, 8)])
def test_what_is_no_mask(shape: tuple[int, ...]) -> None:
    with pytest.raises(CascadeError, match=r"`mask`: expected the shape \(batch, height, width\), found"):
        sockets.to_mask(torch.ones(shape), torch.zeros(1, 60, 80, 3))


def test_images_are_added_to_those_that_are_there() -> None:
    given = conditioning(unclip_conditioning=[{"clip_vision_output": SimpleNamespace(image_embeds=torch.ones(1, 6))}])
    made = sockets.with_images(given + conditioning(), 2 * torch.ones(2, 6), 0.25)
    first, second = sockets.to_conditions("positive", made)
    assert first.images is not None and second.images is not None
    assert first.images[0, :, 0].tolist() == [1.0, 0.5, 0.5]
    assert second.images[0, :, 0].tolist() == [0.5, 0.5]
    assert len(given[0][1]["unclip_conditioning"]) == 1  # not in place


def test_the_pixels_of_a_latent_are_forgotten_where_they_no_longer_fit() -> None:
    latent = {"samples": torch.zeros(1, 16, 6, 7), "cascade_size": (256, 290)}
    assert sockets.size_of(latent) == (256, 290)
    assert sockets.size_of({**latent, "samples": torch.zeros(1, 16, 12, 14)}) is None
    assert sockets.size_of({"samples": torch.zeros(1, 16, 6, 7)}) is None


def test_other_keys_of_a_latent_stay() -> None:
    given = {"samples": torch.zeros(1, 4, 8, 8), "batch_index": [3], "someone": "else"}
    made = sockets.with_samples(given, torch.ones(1, 4, 8, 8, dtype=torch.bfloat16), "tiny")
    assert made["samples"].dtype == torch.float32
    assert (made["batch_index"], made["someone"], made["cascade_family"]) == ([3], "else", "tiny")
    assert given["samples"].sum() == 0 and "cascade_family" not in given


def test_blended_images_are_one_whose_shares_are_the_strengths() -> None:
    one, other = torch.rand(1, 6), torch.rand(2, 6)
    start = [[torch.rand(1, 4, 8), {"pooled_output": torch.rand(1, 8), "strength": 0.5}]]
    mixed = sockets.with_blended_images(sockets.with_images(start, one, 0.3), other, 0.7)
    (condition,) = sockets.to_conditions("positive", mixed)
    assert condition.images is not None and condition.images.shape == (1, 1, 6)
    assert torch.allclose(condition.images[0, 0], 0.3 * one[0] + 0.7 * other.sum(0))
    assert condition.strength == 0.5 and sockets.UNCLIP not in start[0][1]  # nothing on the wire is changed
