"""Hints and ControlNets: what each node gives, what is refused in which words, and that a hint steers Stage C."""

import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.hints import Hint
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.nodes import sockets
from stable_cascade_nodes.nodes.conditioning import CascadeControlNetApply
from stable_cascade_nodes.nodes.hints import (
    CascadeCannyHint,
    CascadeFaceIdentityHint,
    CascadeInpaintHint,
    CascadeSuperResolutionHint,
)
from stable_cascade_nodes.nodes.images import CascadeOutpaintPad, CascadePicture
from stable_cascade_nodes.nodes.latents import CascadeEmptyLatents
from stable_cascade_nodes.nodes.loaders import CascadeControlNetLoader
from stable_cascade_nodes.nodes.sampling import CascadeStageBSampler, CascadeStageCSampler
from stable_cascade_nodes.runtime import face_detectors, host

Part = Callable[[str], Handle]
SETTINGS = {"seed": 5, "steps": 4, "cfg": 4.0, "sampler": "ddim", "shift": 1.0, "denoise": 1.0}
FACE = "face with glasses (built-in)"


def picture(name: str = "circle (built-in)") -> Tensor:
    return CascadePicture().load(name)[0]


def prompt(family: str = "tiny") -> sockets.Conditioning:
    torch.manual_seed(1)
    return [[torch.randn(1, 24, 128), {"pooled_output": torch.randn(1, 128), "cascade_family": family}]]


def apply(conditioning: sockets.Conditioning, net: Handle, hint: Hint, **changes: Any) -> sockets.Conditioning:
    settings = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0} | changes
    return CascadeControlNetApply().apply(conditioning, net, hint, **settings)[0]


def sample(part: Part, positive: sockets.Conditioning, **changes: Any) -> Tensor:
    inputs = {
        "stage_c": part("stage_c"),
        "positive": positive,
        "negative": prompt(),
        "latent": CascadeEmptyLatents().make(256, 256, 1)[0],
    }
    return CascadeStageCSampler().sample(**{**inputs, **SETTINGS, **changes})[0]["samples"]


# What the nodes give.


def test_canny_has_edges_where_the_picture_has() -> None:
    hint, shown = CascadeCannyHint().make(picture(), 100, 200)
    assert hint.map.shape == (1, 1, 256, 256) and hint.size == (256, 256) and hint.family is None
    assert shown.shape == (1, 256, 256, 3) and torch.equal(shown[..., 0], hint.map[:, 0])
    assert 0.005 < shown.mean() < 0.1
    more = CascadeCannyHint().make(picture() + 0.02 * torch.rand(1, 256, 256, 3), 1, 2)[0]
    assert more.map.mean() > hint.map.mean()
    with pytest.raises(CascadeError, match="low 200 lies over high 100"):
        CascadeCannyHint().make(picture(), 200, 100)


def test_inpainting_is_white_where_the_mask_is() -> None:
    mask = torch.zeros(1, 256, 256)
    mask[:, 64:128, 64:192] = 0.6
    hint, shown = CascadeInpaintHint().make(picture(), mask, 0.5)
    hole = mask[0] > 0.5
    assert hint.map.shape == (1, 4, 256, 256) and torch.equal(hint.map[0, 3], hole.float())
    assert shown[0][hole].min() == 1 and torch.equal(shown[0][~hole], picture()[0][~hole])
    with pytest.raises(CascadeError, match=r"Nothing of the mask is over 0.7"):
        CascadeInpaintHint().make(picture(), mask, 0.7)


@pytest.mark.parametrize("shape", [(256, 256), (1, 1, 256, 256), (1, 64, 64), (3, 256, 256)])
def test_masks_of_every_form_and_size(shape: tuple[int, ...]) -> None:
    mask = torch.zeros(shape)
    mask[..., : shape[-1] // 2] = 1
    hint, _ = CascadeInpaintHint().make(picture(), mask, 0.5)
    batch = shape[0] if len(shape) == 3 else 1
    assert hint.map.shape == (batch, 4, 256, 256)
    assert hint.map[:, 3, :, :128].min() == 1 and hint.map[:, 3, :, 128:].max() == 0


def test_a_mask_of_one_pixel_or_none() -> None:
    mask = torch.zeros(1, 256, 256)
    mask[0, 7, 9] = 1
    assert CascadeInpaintHint().make(picture(), mask, 0.5)[0].map[:, 3].sum() == 1
    wide = torch.rand(1, 128, 256, 3)
    for method in ("make", "rehearse"):
        with pytest.raises(CascadeError, match=r"^Nothing of the mask is over 0.5, so there is nothing to fill in: "):
            getattr(CascadeInpaintHint(), method)(wide, torch.zeros(1, 64, 64), 0.5)  # LoadImage's, of an opaque one


def test_a_mask_of_another_aspect_or_number_is_refused() -> None:
    for method in ("make", "rehearse"):
        with pytest.raises(CascadeError, match="`mask` is 100 x 200 pixels and the picture 256 x 256: their aspects"):
            getattr(CascadeInpaintHint(), method)(picture(), torch.ones(1, 200, 100), 0.5)
        with pytest.raises(CascadeError, match="expected one or as many as there are pictures"):
            getattr(CascadeInpaintHint(), method)(picture().repeat(2, 1, 1, 1), torch.ones(3, 256, 256), 0.5)


def test_outpainting_is_padding_and_the_inpainting_hint() -> None:
    padded, mask = CascadeOutpaintPad().pad(picture(), 64, 0, 0, 0, 16)
    hint, _ = CascadeInpaintHint().make(padded, mask, 0.5)
    assert hint.size == (256, 320)
    assert hint.map[0, 3].mean(0).tolist() == pytest.approx([1.0] * (64 + 8) + [0.0] * (256 - 8))


def test_super_resolution_is_the_doubled_latent(part: Part) -> None:
    hint, shown = CascadeSuperResolutionHint().make(part("effnet"), torch.rand(1, 256, 192, 4))
    assert hint.map.shape == (1, 16, 16, 12) and hint.family == "tiny" and hint.size == (256, 192)
    assert torch.equal(hint.map[..., ::2, ::2], hint.map[..., 1::2, 1::2])
    assert shown.shape == (1, 256, 192, 3)


def test_identity_finds_cartoon_faces() -> None:
    hint, shown = CascadeFaceIdentityHint().make(picture(FACE), "tiny (built-in)", 4)
    assert hint.map.shape[:2] == (1, 128) and hint.family == "tiny"
    lengths = hint.map.norm(dim=1)
    assert lengths.max() == pytest.approx(1, abs=1e-4) and lengths.min() == 0
    assert (shown != picture(FACE)).any()  # its box


def test_several_faces_and_none() -> None:
    several = torch.cat([picture(FACE), picture("face (built-in)")], dim=2)
    hint, _ = CascadeFaceIdentityHint().make(several, "tiny (built-in)", 4)
    one, _ = CascadeFaceIdentityHint().make(several, "tiny (built-in)", 1)
    assert len(hint.map[0].flatten(1).unique(dim=1).T) == 3  # two faces and nothing
    assert len(one.map[0].flatten(1).unique(dim=1).T) == 2
    batch = torch.cat([picture(FACE), picture()])
    with pytest.raises(CascadeError, match=r"No face was found in picture 2 of 2 by the detector tiny \(built-in\)"):
        CascadeFaceIdentityHint().make(batch, "tiny (built-in)", 4)


def test_what_the_table_of_detectors_says_is_so() -> None:
    choice = face_detectors.DETECTORS["tiny (built-in)"]
    (face,) = choice.make().detect(picture(FACE)[0].movedim(-1, 0))
    assert (len(face.embedding), choice.make().family) == (choice.width, choice.family)


def test_insightface_without_its_files_says_where_they_belong(tmp_path: Path) -> None:
    host.configure(models=tmp_path / "models")
    with pytest.raises(CascadeError, match="The face detector insightface misses") as raised:
        CascadeFaceIdentityHint().make(picture(FACE), "insightface", 4)
    place = tmp_path / "models" / "insightface" / "models" / "buffalo_l"
    assert f"{place / 'det_10g.onnx'} and {place / 'w600k_r50.onnx'}" in str(raised.value)
    hint, _ = CascadeFaceIdentityHint().rehearse(picture(FACE), "insightface", 4)  # known without any file
    assert (hint.map.shape[1], hint.family) == (512, "stable-cascade")


@pytest.mark.parametrize("place", ["insightface/models/buffalo_l", "insightface/buffalo_l", "insightface"])
def test_insightface_s_files_are_found(tmp_path: Path, place: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from ..face_networks import Answer, thumbnail_filters, write_answering_detector, write_embedder

    folder = tmp_path / "models" / place
    folder.mkdir(parents=True)
    write_answering_detector(folder / "det_10g.onnx", [Answer((80, 80, 200, 220))])
    write_embedder(folder / "w600k_r50.onnx", thumbnail_filters())
    host.configure(models=tmp_path / "models")
    hint, shown = CascadeFaceIdentityHint().make(picture(FACE), "insightface", 4)
    choice = face_detectors.DETECTORS["insightface"]
    assert (hint.map.shape[1], hint.family) == (choice.width, choice.family)
    assert hint.map.any() and (shown != picture(FACE)).any()


# ControlNets.


def hint_of(part: Part, mode: str, image: Tensor) -> Hint:
    if mode == "canny":
        return CascadeCannyHint().make(image, 100, 200)[0]
    if mode == "inpainting":
        mask = torch.zeros(1, *image.shape[1:3])
        mask[:, :100] = 1
        return CascadeInpaintHint().make(image, mask, 0.5)[0]
    if mode == "super_resolution":
        return CascadeSuperResolutionHint().make(part("effnet"), image)[0]
    return CascadeFaceIdentityHint().make(image, "tiny (built-in)", 4)[0]


MODES = ["canny", "inpainting", "super_resolution", "identity"]


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_hint_steers_as_much_as_its_strength(part: Part, mode: str) -> None:
    hint = hint_of(part, mode, picture(FACE))
    plain, off, weak, full = (
        sample(part, positive)
        for positive in (prompt(), *(apply(prompt(), part(mode), hint, strength=s) for s in (0.0, 0.1, 1.0)))
    )
    assert torch.equal(off, plain)
    assert 0 < (weak - plain).abs().mean() < (full - plain).abs().mean()


def test_percents_say_when_it_steers(part: Part) -> None:
    hint = hint_of(part, "canny", picture())
    whole = sample(part, apply(prompt(), part("canny"), hint))
    early = sample(part, apply(prompt(), part("canny"), hint, end_percent=0.3))
    never = sample(part, apply(prompt(), part("canny"), hint, start_percent=0.9))  # after the last of four steps
    assert not torch.equal(early, whole) and not torch.equal(early, sample(part, prompt()))
    assert torch.equal(never, sample(part, prompt()))
    with pytest.raises(CascadeError, match=r"start_percent 0.6 lies after end_percent 0.4"):
        apply(prompt(), part("canny"), hint, start_percent=0.6, end_percent=0.4)


def test_several_controlnets_add_up_and_ride_in_a_key_of_ours(part: Part) -> None:
    canny, identity = hint_of(part, "canny", picture(FACE)), hint_of(part, "identity", picture(FACE))
    given = prompt()
    before = deepcopy(given)
    one = apply(given, part("canny"), canny)
    both = apply(one, part("identity"), identity)
    assert [len(each[0][1].get("cascade_controls", ())) for each in (given, one, both)] == [0, 1, 2]
    assert given[0][1].keys() == before[0][1].keys()
    other_way = apply(apply(prompt(), part("identity"), identity), part("canny"), canny)
    torch.testing.assert_close(sample(part, both), sample(part, other_way), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(sample(part, both), sample(part, one), atol=1e-3)


def test_several_entries_share_one_control(part: Part) -> None:
    made = apply(prompt() + prompt(), part("canny"), hint_of(part, "canny", picture()))
    (first,), (second,) = (options["cascade_controls"] for _, options in made)
    assert first is second
    assert apply([], part("canny"), hint_of(part, "canny", picture())) == []


def test_a_hint_for_another_controlnet_is_refused(part: Part) -> None:
    with pytest.raises(CascadeError, match="takes hints of 4 channels, but this canny hint has 1: choose the Control"):
        apply(prompt(), part("inpainting"), hint_of(part, "canny", picture()))


def test_another_width_is_refused_by_both_widths(part: Part) -> None:
    net = part("canny")
    wide = replace(net, name="canny.safetensors", config=replace(net.config, c_proj=2048))
    positive = apply(prompt(), wide, hint_of(part, "canny", picture()))
    with pytest.raises(CascadeError, match=r"canny.safetensors of width 2048 does not fit Stage C .* of width 160"):
        sample(part, positive)


def test_other_families_are_refused(part: Part) -> None:
    canny = replace(part("canny"), name="canny.safetensors", family="stable-cascade")
    with pytest.raises(CascadeError, match=r"ControlNet is canny\.safetensors, but `conditioning` comes from tiny"):
        apply(prompt(), canny, hint_of(part, "canny", picture()))
    effnet = replace(part("effnet"), family="stable-cascade")
    hint = CascadeSuperResolutionHint().make(effnet, picture())[0]
    with pytest.raises(CascadeError, match="but `hint` comes from a published model"):
        apply(prompt(), part("super_resolution"), hint)


@pytest.mark.parametrize(("size", "fits"), [((256, 256), True), ((512, 512), True), ((256, 262), False)])
def test_a_hint_covers_the_whole_picture(part: Part, size: tuple[int, int], fits: bool) -> None:
    """An aspect more than 2 % off is refused with both sizes."""
    height, width = size
    positive = apply(prompt(), part("canny"), hint_of(part, "canny", torch.rand(1, height, width, 3)))
    if fits:
        assert sample(part, positive).shape == (1, 16, 6, 6)
    else:
        with pytest.raises(CascadeError, match=r"picture is 262 x 256 pixels, but the picture to be made is 256 x 256"):
            sample(part, positive)


def test_a_batch_of_hints_is_one_for_each_image(part: Part) -> None:
    images = torch.cat([picture(), picture(FACE)])
    positive = apply(prompt(), part("canny"), hint_of(part, "canny", images))
    both = sample(part, positive, latent=CascadeEmptyLatents().make(256, 256, 2)[0])
    alone = sample(part, apply(prompt(), part("canny"), hint_of(part, "canny", images[1:])), seed=SETTINGS["seed"] + 1)
    torch.testing.assert_close(both[1:], alone, rtol=1e-3, atol=1e-3)
    with pytest.raises(CascadeError, match=r"expected one hint or as many as there are images \(3\), found 2"):
        sample(part, positive, latent=CascadeEmptyLatents().make(256, 256, 3)[0])


def test_stage_b_leaves_controls_alone(part: Part) -> None:
    positive = apply(prompt(), part("canny"), hint_of(part, "canny", picture()))
    stage_c, stage_b = CascadeEmptyLatents().make(128, 128, 1)
    settings = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler": "ddim", "shift": 1.0}

    def decoded(prompts: sockets.Conditioning) -> Tensor:
        inputs = {"positive": prompts, "negative": prompts, "stage_c": stage_c, "latent": stage_b}
        return CascadeStageBSampler().sample(part("stage_b"), **inputs, **settings)[0]["samples"]

    assert torch.equal(decoded(positive), decoded(prompt()))


def test_the_loader_lists_built_ins_and_the_folder(models: Any) -> None:
    host.configure(models=models)
    names, _ = CascadeControlNetLoader.INPUT_TYPES()["required"]["model_name"]
    assert names[0] == "tiny canny (built-in)" and names[-4:] == sorted(f"{mode}.safetensors" for mode in MODES)
    (rehearsed,) = CascadeControlNetLoader().rehearse("canny.safetensors")
    assert all(parameter.is_meta for parameter in rehearsed.module.parameters())
    (built_in,) = CascadeControlNetLoader().load("tiny canny (built-in)")
    assert built_in.family == "tiny" and built_in.config.c_in == 1


def test_canny_is_refused_before_anything_runs_where_there_is_no_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CascadeCannyHint.VALIDATE_INPUTS(image=None) is True
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert CascadeCannyHint.VALIDATE_INPUTS(image=None) == (
        f'Canny edges need OpenCV: "{sys.executable}" -m pip install opencv-python-headless'
    )


def test_insightface_is_refused_before_anything_runs_where_it_misses_something(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host.configure(models=tmp_path / "models")
    validate = CascadeFaceIdentityHint.VALIDATE_INPUTS
    assert validate(detector=None) is True and validate(detector="tiny (built-in)") is True
    assert "expected one of tiny (built-in), insightface, found 'dlib'" in str(validate(detector="dlib"))
    assert "w600k_r50.onnx (of buffalo_l" in str(validate(detector="insightface"))
    folder = tmp_path / "models" / "insightface"
    folder.mkdir(parents=True)
    for name in ("det_10g.onnx", "w600k_r50.onnx"):
        (folder / name).touch()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert validate(detector="insightface") == (
        f'The face detector insightface misses packages ("{sys.executable}" -m pip install onnxruntime)'
    )
