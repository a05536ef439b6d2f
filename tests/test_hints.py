"""Hints: equal to the official filters on fixed pictures, and sensible on what people bring."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stable_cascade_nodes.cascade_core import hints
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.pixels import to_pixels
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.hints import (
    Box,
    FoundFace,
    Hint,
    apply_control,
    foremost,
    make_canny_hint,
    make_identity_hint,
    make_inpaint_hint,
    make_super_resolution_hint,
    paint_faces,
)
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.controlnet import ControlNet
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.sampling.condition import Condition
from stable_cascade_nodes.recipes.tiny.data import test_scenes as scenes_of

PROMPT = Condition(torch.zeros(1, 3, 8), torch.zeros(1, 8), family="tiny")


def photo(height: int, width: int) -> Tensor:
    """A picture with edges and shades, without a file: (1, 3, height, width)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    disc = ((x - 0.4) ** 2 + (y - 0.55) ** 2 < 0.08).float()
    stripes = ((x * 9).floor() % 2) * (y > 0.7)
    return torch.stack([0.2 + 0.7 * disc, 0.1 + 0.8 * stripes, x * y])[None]


def drawn(size: int = 256) -> Tensor:
    """Six pictures."""
    return to_pixels(np.stack([np.asarray(draw(scene, size)) for scene in scenes_of("relation", 6)]))


def net(mode: str) -> Handle:
    config = PRESETS["controlnet"][f"tiny {mode}"]
    return Handle(
        ControlNet(config).eval(), "controlnet", f"the {mode} net", "tiny", config, "epsilon", None, torch.float32,
        StayPut(),
    )  # fmt: skip


class Faces:
    """A detector whose answers are given."""

    name, family = "given", "tiny"

    def __init__(self, *answers: list[FoundFace]) -> None:
        self._answers = list(answers)

    def detect(self, picture: Tensor) -> list[FoundFace]:
        return self._answers.pop(0)


def face(left: float, top: float, right: float, bottom: float, seed: int = 0) -> FoundFace:
    embedding = torch.randn(5, generator=torch.Generator().manual_seed(seed))
    return FoundFace((left, top, right, bottom), F.normalize(embedding, dim=0))


class TestCanny:
    @pytest.mark.parametrize(("height", "width"), [(224, 224), (256, 256), (300, 500), (97, 131)])
    @pytest.mark.parametrize(("low", "high"), [(100, 200), (30, 60)])
    def test_within_one_grey_level_of_the_recipe(self, height: int, width: int, low: int, high: int) -> None:
        """OpenCV's own resizing; its bilinear is that of torch, with rounding of its own."""
        pixels = photo(height, width)
        hint = make_canny_hint(pixels, low, high)
        small = F.interpolate(pixels, (224, 224), mode="bilinear")[0].permute(1, 2, 0).numpy()
        edges: Any = cv2.Canny((small * 255).astype(np.uint8), low, high)
        expected: Any = cv2.resize(edges.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_LINEAR)
        assert hint.map.shape == (1, 1, height, width)
        assert np.abs(hint.map[0, 0].numpy() - expected).max() <= 1 / 255
        assert hint.map.max() > 0.5
        assert torch.equal(hint.picture, hint.map.repeat(1, 3, 1, 1)) and hint.size == (height, width)

    def test_lower_thresholds_find_more(self) -> None:
        assert make_canny_hint(photo(256, 256), 5, 15).map.sum() > make_canny_hint(photo(256, 256), 100, 200).map.sum()

    def test_each_picture_of_a_batch_has_its_own_edges(self) -> None:
        pictures = drawn()
        together = make_canny_hint(pictures)
        for i, one in enumerate(pictures):
            assert torch.equal(together.map[i : i + 1], make_canny_hint(one[None]).map)

    def test_a_fourth_channel_is_left_out(self) -> None:
        pixels = photo(64, 64)
        assert torch.equal(make_canny_hint(torch.cat([pixels, pixels[:, :1]], 1)).map, make_canny_hint(pixels).map)

    def test_what_it_refuses(self) -> None:
        with pytest.raises(CascadeError, match="low 200 lies over high 100: exchange them"):
            make_canny_hint(photo(64, 64), 200, 100)
        with pytest.raises(CascadeError, match="`image`: expected pictures"):
            make_canny_hint(torch.zeros(1, 1, 64, 64))


class TestInpaint:
    def test_the_channels_are_exact(self) -> None:
        pixels = photo(40, 60)
        mask = torch.zeros(1, 1, 40, 60)
        mask[..., 10:20, 30:] = 1
        hint = make_inpaint_hint(pixels, mask)
        expected = pixels.clone()
        expected[..., 10:20, 30:] = 1
        assert torch.equal(hint.map, torch.cat([expected, mask], 1))
        assert torch.equal(hint.picture, expected) and hint.size == (40, 60)

    def test_a_soft_mask_is_hard_at_the_threshold(self) -> None:
        mask = torch.linspace(0, 1, 64).view(1, 1, 1, 64).repeat(1, 1, 64, 1)
        shares = [float(make_inpaint_hint(photo(64, 64), mask, t).map[:, 3].mean()) for t in (0.0, 0.25, 0.5, 1.0)]
        assert shares == pytest.approx([63 / 64, 0.75, 0.5, 0.0], abs=1 / 64)
        assert set(make_inpaint_hint(photo(64, 64), mask).map[:, 3].unique().tolist()) == {0.0, 1.0}

    @pytest.mark.parametrize("size", [(512, 512), (61, 61), (256, 256)])
    def test_one_pixel_of_a_mask_of_any_size_is_kept(self, size: tuple[int, int]) -> None:
        mask = torch.zeros(1, 1, *size)
        mask[..., size[0] // 3, size[1] // 2] = 1
        hidden = make_inpaint_hint(photo(256, 256), mask, 0.2).map[0, 3]
        assert 1 <= hidden.sum() <= 64
        rows, columns = (places.float().mean() for places in torch.nonzero(hidden, as_tuple=True))
        assert abs(rows / 256 - 1 / 3) < 0.02 and abs(columns / 256 - 1 / 2) < 0.02

    def test_an_empty_mask_shows_the_whole_picture(self) -> None:
        hint = make_inpaint_hint(photo(64, 64), torch.zeros(1, 1, 64, 64))
        assert torch.equal(hint.picture, photo(64, 64)) and not hint.map[:, 3].any()

    @pytest.mark.parametrize(("pictures", "masks"), [(6, 1), (1, 6), (6, 6)])
    def test_one_for_all_or_one_for_each(self, pictures: int, masks: int) -> None:
        mask = torch.zeros(masks, 1, 256, 256)
        for i in range(masks):
            mask[i, :, 40 * i : 40 * i + 20] = 1
        hint = make_inpaint_hint(drawn()[:pictures], mask)
        for i in range(6):
            one = make_inpaint_hint(drawn()[i % pictures][None], mask[i % masks][None])
            assert torch.equal(hint.map[i : i + 1], one.map)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((1, 1, 64, 80), "`mask` is 80 x 64 pixels and the picture 64 x 64: their aspects differ"),
            ((1, 64, 64), r"`mask`: expected the shape \(batch, 1, height, width\), found \(1, 64, 64\)"),
            ((3, 1, 64, 64), r"`mask`: expected one or as many as there are pictures \(2\), found 3"),
        ],
    )
    def test_what_it_refuses(self, shape: tuple[int, ...], message: str) -> None:
        with pytest.raises(CascadeError, match=message):
            make_inpaint_hint(photo(64, 64).repeat(2, 1, 1, 1), torch.ones(shape))


@pytest.fixture
def effnet(tiny: Callable[..., Handle]) -> Handle:
    return tiny("effnet")


class TestSuperResolution:
    @pytest.mark.parametrize(("height", "width"), [(192, 192), (256, 300)])
    def test_the_latent_doubled(self, effnet: Handle, height: int, width: int) -> None:
        pixels = photo(height, width)
        hint = make_super_resolution_hint(effnet, pixels)
        latent = effnet.module(pixels)
        expected = latent.repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(hint.map, expected)
        assert hint.size == (height, width) and hint.family == "tiny"
        assert torch.equal(hint.picture, pixels)

    def test_a_small_picture_is_enlarged_for_the_encoder(self, effnet: Handle) -> None:
        hint = make_super_resolution_hint(effnet, photo(16, 24))
        assert hint.picture.shape == (1, 3, 192, 288) and hint.map.shape == (1, 16, 12, 18)
        assert hint.size == (16, 24)

    def test_each_picture_of_a_batch(self, effnet: Handle) -> None:
        together = make_super_resolution_hint(effnet, drawn(32))
        alone = make_super_resolution_hint(effnet, drawn(32)[2:3])
        torch.testing.assert_close(together.map[2:3], alone.map, atol=1e-4, rtol=1e-4)

    def test_another_model_is_refused(self) -> None:
        with pytest.raises(CascadeError, match=r"Expected an? effnet"):
            make_super_resolution_hint(net("canny"), photo(64, 64))


class TestIdentity:
    def test_painted_as_officially(self) -> None:
        """Over round(edge / 32), which rounds halves to even, at least one cell each way, never before the picture."""
        faces = [face(-20, 16, 63, 100, 1), face(130, 130, 131, 131, 2)]
        painted = paint_faces(faces, 192, 224)
        expected = torch.zeros(5, 6, 7)
        expected[:, 0:3, 0:2] = faces[0].embedding.view(5, 1, 1)
        expected[:, 4, 4] = faces[1].embedding
        assert torch.equal(painted, expected)

    @pytest.mark.parametrize("first", [0, 1])
    def test_of_two_that_overlap_the_later_covers_the_earlier(self, first: int) -> None:
        """The detector's order counts, not the size, as long as there are no more faces than wanted."""
        boxes = [(0, 0, 200, 256), (100, 90, 256, 256)]
        faces = [face(*box, seed=i) for i, box in enumerate(boxes)]
        given = [faces[first], faces[1 - first]]
        hint = make_identity_hint(Faces(given), photo(256, 256))  # 192 pixels for the encoder: 3 / 4
        expected = torch.zeros(5, 6, 6)
        for each in given:
            rows, columns = {0: (slice(0, 6), slice(0, 5)), 1: (slice(2, 6), slice(2, 6))}[faces.index(each)]
            expected[:, rows, columns] = each.embedding.view(5, 1, 1)
        assert torch.equal(hint.map[0], expected)

    @pytest.mark.parametrize(
        ("box", "cell"), [((70, 70, 74, 74), (2, 2)), ((40, 130, 44, 131), (4, 1)), ((90, 1, 100, 2), (0, 3))]
    )
    def test_a_tiny_face_has_one_cell(self, box: Box, cell: tuple[int, int]) -> None:
        painted = paint_faces([face(*box)], 192, 192)
        assert torch.nonzero(painted.norm(dim=0) > 0).tolist() == [list(cell)]

    def test_at_the_encoder_s_size(self) -> None:
        """A picture of 256 pixels has 6 cells: a face over its left half fills three columns."""
        hint = make_identity_hint(Faces([face(0, 0, 128, 256)]), photo(256, 256))
        assert hint.map.shape == (1, 5, 6, 6)
        assert torch.equal(hint.map[0].norm(dim=0) > 0, (torch.arange(6) < 3).expand(6, 6))

    def test_the_overview_has_a_colour_for_each_face(self) -> None:
        pixels = photo(64, 64)
        hint = make_identity_hint(Faces([face(0, 0, 20, 64), face(40, 0, 64, 30)]), pixels)
        expected = pixels.clone()
        for box, color in (((0, 0, 20, 64), (1.0, 0, 0)), ((40, 0, 64, 30), (0, 1.0, 0))):
            part = expected[0, :, box[1] : box[3], box[0] : box[2]]
            part.copy_((part + torch.tensor(color).view(3, 1, 1)) / 2)
        assert torch.allclose(hint.picture, expected)

    def test_large_and_central_faces_are_kept(self) -> None:
        corner, middle, small = face(0, 0, 60, 60), face(80, 80, 140, 140), face(100, 100, 110, 110)
        others = [face(200, 200, 240, 240), face(0, 200, 50, 250)]
        kept = foremost([corner, small, *others, middle], (256, 256), 2)
        assert kept == [middle, small]
        many = [face(40 * i, 100, 40 * i + 30, 130, i) for i in range(6)]
        hint = make_identity_hint(Faces(many), photo(256, 256))
        assert len({tuple(column) for column in hint.map[0].flatten(1).T.tolist()}) == 5  # four faces, and nothing

    def test_each_picture_of_a_batch_has_its_own_faces(self) -> None:
        first, second = [face(0, 0, 100, 100, 1)], [face(0, 0, 100, 100, 2), face(150, 0, 250, 100, 3)]
        together = make_identity_hint(Faces(first, second), photo(256, 256).repeat(2, 1, 1, 1))
        for i, faces in enumerate((first, second)):
            assert torch.equal(together.map[i], make_identity_hint(Faces(faces), photo(256, 256)).map[0])

    def test_a_picture_without_a_face(self) -> None:
        pixels = photo(64, 64).repeat(2, 1, 1, 1)
        with pytest.raises(CascadeError, match="No face was found in picture 2 of 2 by the detector given"):
            make_identity_hint(Faces([face(0, 0, 10, 10)], []), pixels)

    def test_colours_begin_again(self) -> None:
        boxes: list[Box] = [(4.0 * i, 0, 4.0 * i + 3, 3) for i in range(14)]
        hint = make_identity_hint(Faces([FoundFace(box, torch.ones(5)) for box in boxes]), photo(64, 64), 14)
        painted = 2 * hint.picture - photo(64, 64)
        colors = [tuple(round(value, 3) for value in painted[0, :, 1, 4 * i + 1].tolist()) for i in range(14)]
        assert len(set(colors)) == 12 and {max(color) for color in colors} == {1.0, 0.5}


class TestApply:
    hint = Hint("canny", torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64), (64, 64))

    def test_several_stack_and_the_condition_stays_what_it_was(self) -> None:
        once = apply_control(PROMPT, net("canny"), self.hint, 0.5, 0.1, 0.9)
        twice = apply_control(once, net("canny"), self.hint)
        assert not PROMPT.controls and len(once.controls) == 1
        assert twice.controls[0] is once.controls[0]
        assert (once.controls[0].strength, once.controls[0].start, once.controls[0].end) == (0.5, 0.1, 0.9)
        assert (twice.controls[1].size, twice.sequence is PROMPT.sequence) == ((64, 64), True)

    @pytest.mark.parametrize(
        ("hint", "options", "message"),
        [
            (
                replace(hint, kind="super_resolution", map=torch.zeros(1, 16, 2, 2)),
                {},
                "the canny net takes hints of 1 channels?, but this super-resolution hint has 16",
            ),
            (replace(hint, family="stable-cascade"), {}, "`hint` comes from a published"),
            (hint, {"strength": -0.1}, "strength: expected at least 0, found -0.1"),
            (hint, {"start": 0.6, "end": 0.4}, "start_percent 0.6 lies after end_percent 0.4"),
        ],
    )
    def test_what_it_refuses(self, hint: Hint, options: dict[str, float], message: str) -> None:
        with pytest.raises(CascadeError, match=message):
            apply_control(PROMPT, net("canny"), hint, **options)

    def test_another_model_is_refused(self) -> None:
        with pytest.raises(CascadeError, match=r"Expected a ControlNet, but .* is an? effnet"):
            apply_control(PROMPT, replace(net("canny"), kind="effnet"), self.hint)


def test_opencv_is_asked_for_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(CascadeError, match=r"need OpenCV: .* -m pip install opencv-python-headless"):
        hints.make_canny_hint(photo(64, 64))
