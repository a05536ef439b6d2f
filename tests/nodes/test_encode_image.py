"""Pictures for Stage C: as its latent (Encode Image), and as CLIP's vectors beside the prompt (Image Encode)."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.nodes import sockets
from stable_cascade_nodes.nodes.conditioning import CascadeImageEncode, CascadeTextEncode
from stable_cascade_nodes.nodes.images import CascadePicture
from stable_cascade_nodes.nodes.latents import CascadeEmptyLatents, CascadeEncodeImage
from stable_cascade_nodes.nodes.loaders import CascadeEffnetLoader, CascadePreviewerLoader, CascadeStageCLoader
from stable_cascade_nodes.nodes.sampling import CascadeStageCSampler

Part = Callable[[str], Handle]
SETTINGS = {"seed": 5, "steps": 6, "cfg": 1.0, "sampler": "ddpm", "shift": 1.0}


def prompt(family: str | None = "tiny") -> sockets.Conditioning:
    torch.manual_seed(1)
    options = {"pooled_output": torch.randn(1, 128)} | ({"cascade_family": family} if family else {})
    return [[torch.randn(1, 24, 128), options]]


# Encode Image.


@pytest.mark.parametrize(("height", "width"), [(256, 256), (131, 90), (17, 700)])
def test_latents_have_the_sizes_of_empty_ones(part: Part, height: int, width: int) -> None:
    stage_c, stage_b = CascadeEncodeImage().encode(part("effnet"), torch.rand(2, height, width, 3))
    empty_c, empty_b = CascadeEmptyLatents().make(width, height, 2)
    assert stage_c["samples"].shape == empty_c["samples"].shape
    assert stage_b["samples"].shape == empty_b["samples"].shape and not stage_b["samples"].any()
    assert stage_c["cascade_size"] == stage_b["cascade_size"] == (height, width)
    assert stage_c["cascade_family"] == "tiny" and "cascade_family" not in stage_b


def test_the_official_latent_may_be_a_cell_smaller(part: Part) -> None:
    image = torch.rand(1, 720, 704, 3)
    ours, _ = CascadeEncodeImage().encode(part("effnet"), image)
    official, _ = CascadeEncodeImage().encode(part("effnet"), image, resize="official")
    assert ours["samples"].shape == (1, 16, 17, 17) and official["samples"].shape == (1, 16, 16, 16)


def test_an_alpha_channel_does_not_count_and_grey_is_spread(part: Part) -> None:
    image = torch.rand(1, 64, 64, 4)
    with_alpha, _ = CascadeEncodeImage().encode(part("effnet"), image)
    without, _ = CascadeEncodeImage().encode(part("effnet"), image[..., :3])
    assert torch.equal(with_alpha["samples"], without["samples"])
    grey, _ = CascadeEncodeImage().encode(part("effnet"), image[..., :1])
    spread, _ = CascadeEncodeImage().encode(part("effnet"), image[..., :1].repeat(1, 1, 1, 3))
    assert torch.equal(grey["samples"], spread["samples"])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((64, 64, 3), r"`image`: expected the shape \(batch, height, width, 3\), found \(64, 64, 3\)"),
        ((0, 64, 64, 3), "connect a picture"),
        ((1, 8, 64, 3), "height: expected 16 to 8192 pixels, found 8"),
    ],
)
def test_what_cannot_be_encoded(part: Part, shape: tuple[int, ...], message: str) -> None:
    for method in ("encode", "rehearse"):
        with pytest.raises(CascadeError, match=message):
            getattr(CascadeEncodeImage(), method)(part("effnet"), torch.zeros(shape))


def test_another_family_of_pictures_is_refused_by_the_sampler(part: Part) -> None:
    effnet = replace(part("effnet"), family="stable-cascade")
    latent, _ = CascadeEncodeImage().rehearse(effnet, torch.zeros(1, 256, 256, 3))
    inputs = {"stage_c": part("stage_c"), "positive": prompt(), "negative": prompt(), "denoise": 0.5, **SETTINGS}
    with pytest.raises(CascadeError, match=r"Stage C is .*but `latent` comes from a published model"):
        CascadeStageCSampler().rehearse(latent=latent, **inputs)


# The same with the built-in models: the latent is the picture.


@pytest.fixture(scope="module")
def built_in() -> SimpleNamespace:
    loaders = {"effnet": CascadeEffnetLoader, "stage_c": CascadeStageCLoader, "previewer": CascadePreviewerLoader}
    return SimpleNamespace(**{name: loader().load("tiny (built-in)")[0] for name, loader in loaders.items()})


def test_image_to_image_keeps_as_much_as_denoise_leaves(built_in: SimpleNamespace) -> None:
    (image, _) = CascadePicture().load("circle (built-in)")
    latent, _ = CascadeEncodeImage().encode(built_in.effnet, image)
    other = prompt()

    def distance(**settings: Any) -> float:
        inputs = {"stage_c": built_in.stage_c, "positive": other, "negative": other, "latent": latent}
        (result,) = CascadeStageCSampler().sample(**{**inputs, **SETTINGS, **settings})
        assert result["cascade_size"] == (256, 256)
        return float((result["samples"] - latent["samples"]).pow(2).mean().sqrt())

    little, half, all_of_it = (distance(denoise=denoise) for denoise in (0.1, 0.5, 1.0))
    assert little < half < all_of_it
    assert little < 0.3 * all_of_it
    assert distance(denoise=0.5, noise_shift="official", shift=2.0) < distance(denoise=0.5, shift=2.0)


# Image Encode.


def embeddings_of(conditioning: sockets.Conditioning) -> list[Tensor | None]:
    return [condition.images for condition in sockets.to_conditions("positive", conditioning)]


def test_pictures_ride_in_the_native_key(part: Part) -> None:
    (made,) = CascadeImageEncode().encode(prompt(), part("image_encoder"), torch.rand(1, 90, 140, 3), 0.5)
    (entry,) = made[0][1]["unclip_conditioning"]
    assert entry["clip_vision_output"].image_embeds.shape == (1, 128)
    assert (entry["strength"], entry["noise_augmentation"]) == (0.5, 0.0)
    assert made[0][1]["cascade_family"] == "tiny" and "pooled_output" in made[0][1]
    (images,) = embeddings_of(made)
    assert images is not None and torch.equal(images[0], 0.5 * entry["clip_vision_output"].image_embeds)


def test_several_pictures_are_mixed_as_a_batch_or_one_by_one(part: Part) -> None:
    pictures, encoder = torch.rand(2, 80, 80, 3), part("image_encoder")
    (batch,) = CascadeImageEncode().encode(prompt(), encoder, pictures, 1.0)
    (one,) = CascadeImageEncode().encode(prompt(), encoder, pictures[:1], 1.0)
    (both,) = CascadeImageEncode().encode(one, encoder, pictures[1:], 1.0)
    (first,), (second,) = embeddings_of(batch), embeddings_of(both)
    assert first is not None and second is not None and first.shape == (1, 2, 128)
    torch.testing.assert_close(first, second)


def test_every_entry_gets_the_picture_and_nothing_changes_in_place(part: Part) -> None:
    given = prompt() + prompt()
    before = deepcopy(given)
    (made,) = CascadeImageEncode().encode(given, part("image_encoder"), torch.rand(1, 64, 64, 4), 1.0)
    assert len(embeddings_of(made)) == 2 and all(images is not None for images in embeddings_of(made))
    assert [entry[1].keys() for entry in given] == [entry[1].keys() for entry in before]


def test_an_image_steers_stage_c(part: Part) -> None:
    encoder, negative = part("image_encoder"), prompt()
    latent, _ = CascadeEmptyLatents().make(256, 256, 1)

    def sample(positive: sockets.Conditioning) -> Tensor:
        inputs = {"stage_c": part("stage_c"), "positive": positive, "negative": negative, "latent": latent}
        return CascadeStageCSampler().sample(**inputs, denoise=1.0, **{**SETTINGS, "cfg": 4.0})[0]["samples"]

    (with_image,) = CascadeImageEncode().encode(prompt(), encoder, torch.rand(1, 64, 64, 3), 1.0)
    (without,) = CascadeImageEncode().encode(prompt(), encoder, torch.rand(1, 64, 64, 3), 0.0)
    assert not torch.allclose(sample(with_image), sample(prompt()), atol=1e-3)
    torch.testing.assert_close(sample(without), sample(prompt()))  # zeros are what Stage C is fed without a picture


def test_another_family_of_image_encoders_is_refused(part: Part) -> None:
    encoder = replace(part("image_encoder"), name="clip.safetensors", family="stable-cascade")
    for method in ("encode", "rehearse"):
        with pytest.raises(CascadeError, match=r"Image encoder is clip\.safetensors, but `conditioning` comes"):
            getattr(CascadeImageEncode(), method)(prompt(), encoder, torch.rand(1, 64, 64, 3), 1.0)
    (unknown,) = CascadeImageEncode().rehearse(prompt(None), encoder, torch.rand(1, 64, 64, 3), 1.0)
    assert len(unknown) == 1


def test_a_picture_of_any_aspect_counts_by_its_middle(part: Part) -> None:
    encoder, wide = part("image_encoder"), torch.rand(1, 64, 192, 3)
    (whole,) = embeddings_of(CascadeImageEncode().encode(prompt(), encoder, wide, 1.0)[0])
    (middle,) = embeddings_of(CascadeImageEncode().encode(prompt(), encoder, wide[:, :, 64:128], 1.0)[0])
    assert whole is not None and middle is not None
    torch.testing.assert_close(whole, middle)


def test_the_empty_prompt_of_a_variation(part: Part) -> None:
    text = CascadeTextEncode().encode(part("text_encoder"), "")
    (made,) = CascadeImageEncode().encode(text[0], part("image_encoder"), torch.rand(1, 64, 64, 3), 1.0)
    assert embeddings_of(made)[0] is not None
