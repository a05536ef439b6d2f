"""Faces by InsightFace's networks, on small networks whose answers are known. Run: pytest tests/test_faces.py"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.faces import aligned, distinct, insightface_detector, letterbox, similarity
from stable_cascade_nodes.cascade_core.hints import Detector, foremost, make_identity_hint

pytest.importorskip("onnxruntime", reason="faces need onnxruntime (extra `face`)")
pytest.importorskip("onnx", reason="the networks of these tests are made with onnx")

from .face_networks import (
    Answer,
    random_filters,
    red_filters,
    thumbnail_filters,
    white_filters,
    write_answering_detector,
    write_embedder,
    write_seeing_detector,
)

LANDMARKS = np.array(  # of a face in ArcFace's crop, as InsightFace publishes it: eyes, nose, corners of the mouth
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
SIZES = [(320, 320), (90, 120), (200, 90), (640, 640), (701, 1003), (1200, 333)]  # height, width
BIAS = 0.5  # of the embedder: so its answer's direction tells how bright its input was

Answering = Callable[[Sequence[Answer]], Detector]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedder(tmp_path_factory.mktemp("embedder") / "w600k_r50.onnx", thumbnail_filters(), BIAS)


@pytest.fixture
def answering(tmp_path: Path, embedder: Path) -> Answering:
    """A detector that gives these answers to every picture."""
    return lambda answers: insightface_detector(write_answering_detector(tmp_path / "det_10g.onnx", answers), embedder)


@pytest.fixture(scope="module")
def red_detector(tmp_path_factory: pytest.TempPathFactory, embedder: Path) -> Detector:
    """A detector that takes each red field for a face."""
    file = tmp_path_factory.mktemp("detector") / "det_10g.onnx"
    return insightface_detector(write_seeing_detector(file, red_filters()), embedder)


def plain(height: int, width: int, color: tuple[float, float, float] = (0.5, 0.5, 0.5)) -> Tensor:
    return torch.tensor(color)[:, None, None].expand(3, height, width).clone()


def square_scale(height: int, width: int) -> float:
    """Pixels of the square to one of the picture: whole pixels along its height, as the official filter counts."""
    return 320 / height if height > width else int(320 * height / width) / height


def with_square(height: int, width: int, box: tuple[int, int, int, int], color: tuple[float, float, float]) -> Tensor:
    """A grey picture with a coloured rectangle at a box given in pixels of the detector's square."""
    picture, scale = plain(height, width), square_scale(height, width)
    left, top, right, bottom = (round(edge / scale) for edge in box)
    picture[:, top:bottom, left:right] = torch.tensor(color)[:, None, None]
    return picture


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("stride", "anchor"), [(8, 0), (16, 1), (32, 0)])
def test_boxes_come_back_in_the_pictures_pixels(
    answering: Answering, height: int, width: int, stride: int, anchor: int
) -> None:
    box = (12.5, 7.25, 61.0, 83.75)
    (face,) = answering([Answer(box, stride=stride, anchor=anchor)]).detect(plain(height, width))
    wanted = np.array(box) / square_scale(height, width)
    assert all(edge == int(edge) for edge in face.box)
    assert np.abs(np.array(face.box) - (wanted - 0.5)).max() <= 0.51  # cut to whole pixels, not rounded


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_face_is_found_where_it_is_in_the_picture(red_detector: Detector, height: int, width: int) -> None:
    """The network sees the picture itself, in the top left of its square, and red as red."""
    seen = (32, 48, 64, 80)
    faces = red_detector.detect(with_square(height, width, seen, (1, 0, 0)))
    assert len(faces) >= 1
    middles = np.array(
        [[(left + right) / 2, (top + bottom) / 2] for left, top, right, bottom in (f.box for f in faces)]
    )
    middles *= square_scale(height, width)
    assert (middles > (30, 46)).all() and (middles < (66, 82)).all()
    assert red_detector.detect(with_square(height, width, seen, (0, 0, 1))) == []
    assert red_detector.detect(with_square(height, width, seen, (1, 1, 1))) == []


@pytest.mark.parametrize(
    ("least", "most", "found"), [(0.995, np.inf, True), (-np.inf, 0.997, True), (0.997, np.inf, False)]
)
def test_the_detector_is_given_levels_less_127_5_over_128(
    tmp_path: Path, embedder: Path, least: float, most: float, found: bool
) -> None:
    finder = write_seeing_detector(tmp_path / "det_10g.onnx", white_filters(least, most))
    assert bool(insightface_detector(finder, embedder).detect(plain(320, 320, (1, 1, 1)))) is found  # 0.9961


def test_the_square_holds_the_picture_whole_and_is_black_beside_it() -> None:
    levels = np.full((100, 50, 3), 200, np.uint8)
    square, scale = letterbox(levels)
    assert square.shape == (320, 320, 3) and scale == 3.2
    assert (square[:, :160] == 200).all() and (square[:, 160:] == 0).all()
    square, scale = letterbox(levels.transpose(1, 0, 2))
    assert scale == 3.2 and (square[:160] == 200).all() and (square[160:] == 0).all()


def test_faces_below_the_threshold_are_none(answering: Answering) -> None:
    answers = [Answer((10, 10, 50, 50), 0.5), Answer((110, 10, 150, 50), 0.499), Answer((210, 10, 250, 50), 0.7)]
    found = answering(answers).detect(plain(320, 320))
    assert [face.box for face in found] == [(210, 10, 250, 50), (10, 10, 50, 50)]  # the surest first


def test_of_overlapping_boxes_the_surest_stays(answering: Answering) -> None:
    """Over 40 % of the union they are one face; a box that was dropped itself suppresses none."""
    first, near, next_to_near = (0, 0, 99, 99), (40, 0, 139, 99), (80, 0, 179, 99)
    apart = (44, 200, 143, 299)
    answers = [
        Answer(near, 0.8),  # shares 60 of 140 columns with the first: 0.43
        Answer(first, 0.9, stride=16),
        Answer(next_to_near, 0.7, stride=32),  # 0.43 with `near`, 0.11 with the first
        Answer((0, 200, 99, 299), 0.6),
        Answer(apart, 0.55, anchor=1),  # 56 of 144 columns: 0.39
    ]
    found = answering(answers).detect(plain(320, 320))
    assert [face.box for face in found] == [first, next_to_near, (0, 200, 99, 299), apart]


def test_overlap_counts_in_the_pictures_pixels(answering: Answering) -> None:
    """A box reaches over its last pixel, and that is more of the square's pixels than of a large picture's."""
    detector = answering([Answer((100, 100, 110, 110), 0.9), Answer((104.5, 100, 114.5, 110), 0.8, anchor=1)])
    assert len(detector.detect(plain(320, 320))) == 1  # 6.5 of 15.5
    assert len(detector.detect(plain(1280, 1280))) == 2  # 23 of 59


def test_suppression_as_counted_pixel_by_pixel() -> None:
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 40, (60, 2))
    boxes = np.concatenate([corners, corners + generator.integers(5, 30, (60, 2))], axis=1).astype(float)
    masks = np.zeros((60, 80, 80), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top : bottom + 1, left : right + 1] = True
    kept: list[int] = []
    for number, mask in enumerate(masks):
        if all((mask & masks[other]).sum() <= 0.4 * (mask | masks[other]).sum() for other in kept):
            kept.append(number)
    assert 5 < len(kept) < 50
    assert distinct(boxes) == kept
    assert distinct(np.zeros((0, 4))) == []


def test_four_of_six_faces_are_shown(answering: Answering) -> None:
    """Large ones and those near the middle: not the corner's nor the small one at the rim, however sure they are."""
    answers = {
        "middle": Answer((140, 140, 180, 180), 0.6),
        "left": Answer((64, 128, 112, 192), 0.9),
        "right": Answer((208, 128, 256, 192), 0.95),
        "large at the rim": Answer((0, 0, 128, 120), 0.7),
        "corner": Answer((288, 288, 318, 318), 0.99),
        "small at the rim": Answer((150, 290, 170, 310), 0.98),
    }
    detector = answering(list(answers.values()))

    def weight(box: tuple[float, ...]) -> float:
        left, top, right, bottom = box
        return (right - left) * (bottom - top) - 2 * (((left + right) / 2 - 160) ** 2 + ((top + bottom) / 2 - 160) ** 2)

    wanted = sorted((answer.box for answer in answers.values()), key=weight, reverse=True)[:4]
    assert answers["corner"].box not in wanted and answers["small at the rim"].box not in wanted
    assert {face.box for face in foremost(detector.detect(plain(320, 320)), (320, 320), 4)} == set(wanted)
    hint = make_identity_hint(detector, plain(320, 320)[None])
    for name, answer in answers.items():
        left, top, right, bottom = (int(edge) for edge in answer.box)
        colored = hint.picture[0, :, top:bottom, left:right].std(dim=0).mean() > 0.1
        assert colored == (answer.box in wanted), name


def umeyama(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The same by singular values, as Umeyama (1991) has it: a matrix (2, 3)."""
    around, wanted = points - points.mean(0), targets - targets.mean(0)
    left, sizes, right = np.linalg.svd(wanted.T @ around / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turned = (sizes * signs).sum() / around.var(0).sum() * (left * signs) @ right
    return np.column_stack([turned, targets.mean(0) - turned @ points.mean(0)])


@pytest.mark.parametrize("seed", range(20))
def test_alignment_is_the_closest_similarity(seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(5, 2)) * 40 + generator.normal(size=2) * 300
    if seed % 2:  # as seen in a mirror: turned, never flipped
        points = LANDMARKS * (-1, 1) + generator.normal(size=(5, 2))
    found = similarity(points, LANDMARKS)
    np.testing.assert_allclose(found, umeyama(points, LANDMARKS), atol=1e-8)
    assert np.linalg.det(found[:, :2]) > 0


def test_landmarks_all_at_one_place_give_a_finite_crop(answering: Answering) -> None:
    (face,) = answering([Answer((10, 10, 50, 50), landmarks=[(30, 30)] * 5)]).detect(plain(320, 320))
    assert face.embedding.isfinite().all()


def soft(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Levels (..., 3) of an endless picture, soft and without any symmetry, at these places."""
    waves = np.stack([np.sin(x / 40 + 0.3), np.cos(x / 60 - y / 35), np.sin(x / 70 + y / 30 + 1)], axis=-1)
    return 127 + 120 * waves


@pytest.mark.parametrize(
    ("degrees", "scale", "size"), [(0, 1.0, (320, 320)), (25, 2.2, (500, 640)), (-70, 1.5, (640, 400))]
)
def test_a_face_is_embedded_upright_and_at_its_size(
    answering: Answering, degrees: float, scale: float, size: tuple[int, int]
) -> None:
    """A known face, turned and scaled into a picture, is embedded as if it had been cut out already."""
    height, width = size
    turn = np.deg2rad(degrees)
    turned = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corner = (width / 2, height / 2) - turned @ (56, 56)  # of the crop in the picture, whose middle is the crop's
    down, across = np.mgrid[:height, :width]
    x, y = np.linalg.inv(turned) @ (np.stack([across.ravel(), down.ravel()]) - corner[:, None])
    levels = soft(x, y).reshape(height, width, 3).round().astype(np.uint8)
    landmarks = LANDMARKS @ turned.T + corner

    y, x = np.mgrid[:112, :112]
    crop = soft(x, y)
    assert np.abs(aligned(levels, landmarks) - crop).max() < 1.5  # grey levels
    answer = Answer((100, 100, 220, 220), landmarks=(landmarks * square_scale(height, width)).tolist())
    (face,) = answering([answer]).detect(torch.from_numpy(levels).permute(2, 0, 1) / 255)
    fields = (crop / 127.5 - 1).reshape(16, 7, 16, 7, 3).mean(axis=(1, 3))
    wanted = np.concatenate([fields[..., 0].ravel(), fields[..., 2].ravel()]) + BIAS  # red and blue: not blue and red
    assert face.embedding.shape == (512,) and face.embedding.dtype == torch.float32
    assert float(face.embedding.norm()) == pytest.approx(1, abs=1e-6)
    assert np.abs(face.embedding.numpy() - wanted / np.linalg.norm(wanted)).mean() < 3.5e-5


def test_values_outside_0_to_1_are_cut_off(answering: Answering) -> None:
    detector = answering([Answer((100, 100, 200, 200))])
    picture = torch.rand(3, 200, 260, generator=torch.Generator().manual_seed(0)) * 2 - 0.5
    (wild,), (cut,) = detector.detect(picture), detector.detect(picture.clamp(0, 1))
    assert torch.equal(wild.embedding, cut.embedding)


def test_a_picture_without_faces(red_detector: Detector) -> None:
    assert red_detector.detect(plain(300, 200)) == []
    with pytest.raises(CascadeError, match=r"No face was found in picture 1 of 1 by the detector insightface"):
        make_identity_hint(red_detector, plain(300, 200)[None])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 900), (900, 2), (1, 5000)])
def test_pictures_too_thin_for_a_face(red_detector: Detector, height: int, width: int) -> None:
    assert red_detector.detect(plain(height, width)) == []


def test_a_batch_of_pictures_becomes_maps(red_detector: Detector) -> None:
    first = with_square(512, 768, (32, 32, 64, 64), (1, 0, 0))
    second = with_square(512, 768, (160, 96, 192, 128), (1, 0, 0))
    hint = make_identity_hint(red_detector, torch.stack([first, second]))
    assert hint.map.shape == (2, 512, hint.map.shape[2], hint.map.shape[3]) and hint.family == "stable-cascade"
    for picture, painted in zip((first, second), hint.map, strict=True):
        faces = red_detector.detect(picture)
        cells = painted[:, painted.abs().sum(dim=0) > 0].T
        assert 0 < len(cells) < painted[0].numel() / 4
        assert all(any(torch.allclose(cell, face.embedding) for face in faces) for cell in cells)
    assert not torch.equal(hint.map[0], hint.map[1])
    with pytest.raises(CascadeError, match="picture 2 of 2"):
        make_identity_hint(red_detector, torch.stack([first, plain(512, 768)]))
    with_alpha = torch.cat([first, torch.zeros(1, 512, 768)])[None]
    assert torch.equal(make_identity_hint(red_detector, with_alpha).map[0], hint.map[0])


def test_what_is_missing_is_said_at_once(tmp_path: Path, embedder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = tmp_path / "det_10g.onnx", tmp_path / "w600k_r50.onnx"
    with pytest.raises(CascadeError) as caught:
        insightface_detector(*absent)
    for part in (*map(str, absent), "buffalo_l", "github.com/deepinsight/insightface", "non-commercial"):
        assert part in str(caught.value)
    assert "pip install" not in str(caught.value)

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(CascadeError) as caught:
        insightface_detector(*absent)
    assert "pip install onnxruntime)" in str(caught.value) and str(absent[0]) in str(caught.value)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(CascadeError) as caught:
        insightface_detector(embedder, embedder)
    assert "pip install opencv-python-headless onnxruntime)" in str(caught.value)
    assert str(embedder) not in str(caught.value)


def test_files_that_are_something_else_are_refused(tmp_path: Path, embedder: Path) -> None:
    finder = write_answering_detector(tmp_path / "det_10g.onnx", [])
    for name, wrong in (("embedder", embedder), ("detector", finder)):
        pair = (wrong, embedder) if name == "embedder" else (finder, wrong)
        with pytest.raises(CascadeError) as caught:
            insightface_detector(*pair)
        assert str(wrong) in str(caught.value) and "is not" in str(caught.value)
    damaged = tmp_path / "damaged.onnx"
    whole = finder.read_bytes()
    for data in (b"", whole[: len(whole) // 2], b"version https://git-lfs.github.com/spec/v1\n", b"<html></html>"):
        damaged.write_bytes(data)
        with pytest.raises(CascadeError, match="is not SCRFD's det_10g, or it is damaged") as caught:
            insightface_detector(damaged, embedder)
        assert str(damaged) in str(caught.value)
    short = write_embedder(tmp_path / "short.onnx", thumbnail_filters()[:1])  # 256 values, not 512
    with pytest.raises(CascadeError, match=r"expected outputs \[\(1, 512\)\], found \[\(1, 256\)\]"):
        insightface_detector(finder, short)


@pytest.mark.parametrize("seed", range(6))
def test_insightface_itself_says_the_same(tmp_path: Path, seed: int) -> None:
    """Boxes, order and embeddings of the package that the official filter's code comes from."""
    pytest.importorskip("insightface", reason="a peer that brings an OpenCV of its own, so it is in no extra")
    from insightface.app.common import Face
    from insightface.model_zoo import SCRFD, ArcFaceONNX

    generator = np.random.default_rng(seed)
    finder = write_seeing_detector(tmp_path / "det_10g.onnx", random_filters(seed))
    embedder = write_embedder(tmp_path / "w600k_r50.onnx", generator.normal(size=(8, 3, 14, 14)) / 14)
    height, width = SIZES[seed]
    coarse = torch.from_numpy(generator.random((1, 3, height // 8 + 1, width // 8 + 1))).float()
    picture = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    bgr = np.ascontiguousarray((picture * 255).byte().permute(1, 2, 0).numpy()[..., ::-1])

    peer = SCRFD(str(finder))
    peer.prepare(-1, input_size=(320, 320), det_thresh=0.5, nms_thresh=0.4)
    boxes, landmarks = peer.detect(bgr)
    recognizer = ArcFaceONNX(str(embedder))
    faces = insightface_detector(finder, embedder).detect(picture)
    assert len(faces) == len(boxes) > 10
    for face, box, points in zip(faces, boxes, landmarks, strict=True):
        assert face.box == tuple(np.trunc(box[:4]).tolist())
        wanted = recognizer.get(bgr, Face(kps=points))
        np.testing.assert_allclose(face.embedding, wanted / np.linalg.norm(wanted), atol=2e-4)
