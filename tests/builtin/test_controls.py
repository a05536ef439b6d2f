"""Do the built-in ControlNets steer? Against strength 0 with the same seeds; and what their detector of faces finds.

Run: pytest tests/builtin/test_controls.py -m "slow or not slow" -s

The prompts leave out what the hints show, and none of the pictures was trained on. Every level asserted is the shipped
one less five points, and the table that the recipe's README shows is printed. `tests/test_use_cases.py` asks the same
of some pictures, by the workflows.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stable_cascade_nodes.cascade_core.builtin import CONTROLS, built_in
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.faces import CartoonFaces, on_plain
from stable_cascade_nodes.cascade_core.builtin.pixels import to_pixels
from stable_cascade_nodes.cascade_core.builtin.world import Scene
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.recipes.tiny.control_judge import judge_control
from stable_cascade_nodes.recipes.tiny.data import picture
from stable_cascade_nodes.recipes.tiny.data import test_scenes as scenes_of
from stable_cascade_nodes.recipes.tiny.judge import Studio

SLACK = 0.05
SHIPPED = {"canny": 0.641, "inpainting": 0.6875, "super_resolution": 0.906, "identity": 0.578}  # right of 64 trials
LEAST_GAIN = 0.2  # over strength 0


def controlnet(mode: str) -> Handle:
    name = f"tiny {mode} (built-in)"
    return load("controlnet", built_in("controlnet")[name], name=name)


@pytest.fixture(scope="module")
def detector() -> CartoonFaces:
    return CartoonFaces()


@pytest.mark.slow
@pytest.mark.parametrize("mode", CONTROLS)
def test_64_trials(studio: Studio, mode: str) -> None:
    steered, alone = (judge_control(studio, controlnet(mode), mode, 64, strength) for strength in (1.0, 0.0))
    for shares in (steered, alone):
        print(mode, {name: round(share, 3) for name, share in shares.items()})
    assert steered["right"] >= SHIPPED[mode] - SLACK, steered
    assert steered["right"] >= alone["right"] + LEAST_GAIN, (steered, alone)


def faces_of(scenes: list[Scene]) -> torch.Tensor:
    return to_pixels(np.stack([picture(scene) for scene in scenes]))


def identity_of(scene: Scene) -> tuple[object, ...]:
    face = scene.face
    assert face is not None
    return face.skin, face.hair, face.long, face.glasses, face.mouth


class TestDetector:
    def test_it_finds_every_face_where_it_is(self, detector: CartoonFaces) -> None:
        for scene, pixels in zip(scenes_of("face", 12), faces_of(scenes_of("face", 12)), strict=True):
            (found,) = detector.detect(pixels)
            face = scene.face
            assert face is not None
            left, top, right, bottom = (edge / 256 for edge in found.box)
            assert (left + right) / 2 == pytest.approx(face.x, abs=0.03)
            assert top < face.y - 0.6 * face.r and bottom > face.y + 0.9 * face.r
            assert right - left == pytest.approx(2.2 * face.r, rel=0.1)
            assert float(found.embedding.norm()) == pytest.approx(1)

    def test_it_finds_none_where_there_is_none(self, detector: CartoonFaces) -> None:
        scenes = [scene for kind in ("one", "relation", "count") for scene in scenes_of(kind, 4)]
        assert [detector.detect(pixels) for pixels in faces_of(scenes)] == [[]] * 12
        assert detector.detect(torch.zeros(3, 40, 50)) == []

    def test_it_finds_four_side_by_side_and_in_a_square(self, detector: CartoonFaces) -> None:
        row = torch.cat(list(faces_of(scenes_of("face", 4))), dim=2)
        square = torch.cat(torch.split(row, 512, dim=2), dim=1)
        half = F.interpolate(square[None], (256, 256), mode="area")[0]
        for pixels in (row, square, half):
            assert len(detector.detect(pixels)) == 4

    def test_the_background_does_not_count(self, detector: CartoonFaces) -> None:
        scenes = scenes_of("face", 8)
        plain = [replace(on_plain(scene), background="sky", background_rgb=(178, 214, 250)) for scene in scenes]
        for pixels, other in zip(faces_of(scenes), faces_of(plain), strict=True):
            (one,), (two,) = detector.detect(pixels), detector.detect(other)
            assert float(one.embedding @ two.embedding) > 0.97

    def test_the_embedding_tells_who_it_is(self, detector: CartoonFaces) -> None:
        """The nearest of 300 drawn faces is the same person, or differs in the mouth, whose vectors lie closest."""
        known = scenes_of("face", 300)
        module = detector.encoder.module
        drawn = np.stack([np.asarray(draw(on_plain(scene), 64)) for scene in known])
        vectors = torch.cat([F.normalize(module(part), dim=-1) for part in to_pixels(drawn).split(100)])
        asked = scenes_of("face", 60, held_out=True) + scenes_of("face", 24)
        seen = {identity_of(scene) for scene in known}
        agree: list[float] = []
        for scene, pixels in zip(asked, faces_of(asked), strict=True):
            (found,) = detector.detect(pixels)
            nearest = identity_of(known[int((vectors @ found.embedding).argmax())])
            if identity_of(scene) in seen:
                agree.append(float(np.mean([a == b for a, b in zip(nearest, identity_of(scene), strict=True)])))
        assert len(agree) >= 24 and np.mean(agree) > 0.95
