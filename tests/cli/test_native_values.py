"""The stand-ins for the host's nodes between ours: values, pictures, latents, conditioning.

That they give what the real ones give is asked of a real ComfyUI, in tests/host/test_run_server.py.
"""

from pathlib import Path

import pytest
import torch
from PIL import Image

from stable_cascade_nodes.headless import graph, native


def test_primitives_give_their_value() -> None:
    prompt: dict[str, object] = {}
    for name, value in (("Int", 3), ("Float", 0.5), ("String", "a"), ("StringMultiline", "a\nb"), ("Boolean", True)):
        node = native.CLASSES[f"Primitive{name}"]
        assert node().give(value) == (value,)
        prompt[name] = {"class_type": node.__name__, "inputs": {"value": value}}
    problems = graph.validate(prompt, native.CLASSES).problems  # type: ignore[arg-type]
    assert [problem.kind for problem in problems] == ["prompt_no_outputs"]


def test_a_channel_as_a_mask(folders: Path) -> None:
    Image.new("RGBA", (5, 3), (255, 51, 0, 102)).save(folders / "input" / "a.png")
    found = [
        native.loading.LoadImageMask().load_mask("a.png", channel)[0] for channel in ("alpha", "red", "green", "blue")
    ]
    assert [tuple(mask.shape) for mask in found] == [(1, 3, 5)] * 4
    assert [round(mask[0, 0, 0].item(), 4) for mask in found] == [0.6, 1.0, 0.2, 0.0]
    assert native.loading.LoadImageMask.IS_CHANGED("a.png", "red") == native.loading.LoadImage.IS_CHANGED("a.png")


def test_an_empty_image() -> None:
    image = native.images.EmptyImage().generate(5, 3, 2, 0xFF3300)[0]
    assert image.shape == (2, 3, 5, 3)
    torch.testing.assert_close(image[1, 2, 4], torch.tensor([1.0, 0.2, 0.0]))


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"])
@pytest.mark.parametrize(("width", "height", "found"), [(8, 4, (8, 4)), (0, 4, (7, 4)), (8, 0, (8, 4)), (0, 0, (9, 5))])
def test_scaling(method: str, width: int, height: int, found: tuple[int, int]) -> None:
    image = torch.rand(2, 5, 9, 3)
    for crop in ("disabled", "center"):
        scaled = native.images.ImageScale().upscale(image, method, width, height, crop)[0]
        assert tuple(scaled.shape) == (2, found[1], found[0], 3)
    assert native.images.ImageScaleBy().upscale(image, method, 2.0)[0].shape == (2, 10, 18, 3)


def test_the_middle_is_cut_out() -> None:
    image = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 4, 8, 3)
    scaled = native.images.ImageScale().upscale(image, "nearest-exact", 4, 4, "center")[0]
    assert scaled[0, 0, :, 0].tolist() == [2.0, 3.0, 4.0, 5.0]


def test_batches_and_negatives() -> None:
    first, second = torch.rand(1, 4, 6, 3), torch.rand(2, 8, 12, 3)
    batch = native.images.ImageBatch().batch(first, second)[0]
    assert batch.shape == (3, 4, 6, 3)
    assert torch.equal(batch[:1], first)
    assert torch.equal(native.images.ImageInvert().invert(first)[0], 1 - first)


def test_latents_of_a_batch() -> None:
    samples = torch.rand(4, 16, 3, 3)
    latent = {"samples": samples, "noise_mask": torch.rand(2, 1, 8, 8), "cascade_size": (96, 96)}
    found = native.latents.LatentFromBatch().frombatch(latent, 1, 2)[0]
    assert torch.equal(found["samples"], samples[1:3])
    assert found["batch_index"] == [1, 2]
    assert torch.equal(found["noise_mask"], latent["noise_mask"][[1, 0]])  # type: ignore[index]
    assert found["cascade_size"] == (96, 96)
    again = native.latents.LatentFromBatch().frombatch(found, 9, 9)[0]  # as far as there is one
    assert torch.equal(again["samples"], samples[2:3])
    assert again["batch_index"] == [2]
    assert "batch_index" not in latent


def test_a_batch_repeated() -> None:
    samples = torch.rand(2, 4, 3, 3)
    found = native.latents.RepeatLatentBatch().repeat({"samples": samples, "batch_index": [4, 6]}, 3)[0]
    assert torch.equal(found["samples"], torch.cat([samples] * 3))
    assert found["batch_index"] == [4, 6, 7, 9, 10, 12]
    assert "batch_index" not in native.latents.RepeatLatentBatch().repeat({"samples": samples}, 2)[0]


def test_a_masked_latent() -> None:
    latent = {"samples": torch.rand(2, 16, 3, 3), "cascade_size": (96, 96)}
    for shape in ((5, 7), (2, 5, 7), (2, 1, 5, 7)):
        mask = torch.rand(shape)
        (found,) = native.latents.SetLatentNoiseMask().set_mask(latent, mask)
        assert torch.equal(found["noise_mask"], mask.reshape(-1, 1, 5, 7))
        assert {key: found[key] for key in latent} == latent
    assert "noise_mask" not in latent


def test_conditioning() -> None:
    sequence, pooled = torch.rand(1, 3, 4), torch.rand(1, 4)
    first = [[sequence, {"pooled_output": pooled, "cascade_family": "tiny"}]]
    second = [[sequence, {}]]
    assert native.conditioning.ConditioningCombine().combine(first, second)[0] == [*first, *second]
    (zeros, values), (_, rest) = native.conditioning.ConditioningZeroOut().zero_out(first + second)[0]
    assert zeros.shape == sequence.shape and not zeros.any()
    assert values["pooled_output"].shape == pooled.shape and not values["pooled_output"].any()
    assert (values["cascade_family"], rest) == ("tiny", {})
    ((kept, limits),) = native.conditioning.ConditioningSetTimestepRange().set_range(first, 0.25, 0.5)[0]
    assert kept is sequence
    assert {key: limits[key] for key in limits if key not in first[0][1]} == {"start_percent": 0.25, "end_percent": 0.5}
    assert first[0][1] == {"pooled_output": pooled, "cascade_family": "tiny"}  # nothing is changed in place
