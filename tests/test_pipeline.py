"""Text to image as a whole, by the executable specification. Run: pytest tests/test_pipeline.py"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import WordTokenizer
from stable_cascade_nodes.cascade_core.pipeline import Cascade, text_to_image

PARTS = ("text_encoder", "stage_c", "stage_b", "stage_a")


@pytest.fixture(scope="module")
def untrained() -> Cascade:
    """The tiny sizes with random weights: enough for shapes, seeds and refusals."""
    torch.manual_seed(0)
    classes: dict[str, Any] = {"stage_c": StageC, "stage_b": StageB, "stage_a": StageA}

    def handle(kind: str) -> Handle:
        config = PRESETS[kind]["tiny"]
        words = WordTokenizer(("a", "red", "circle"), getattr(config, "max_positions", 0))
        module = TextEncoder(config, words) if kind == "text_encoder" else classes[kind](config)
        module.eval().requires_grad_(False)
        return Handle(module, kind, "untrained", "tiny", config, "v", 3.0, torch.float32, StayPut())

    return Cascade(*(handle(kind) for kind in PARTS))


def test_pixels_have_exactly_the_wanted_size(untrained: Cascade) -> None:
    pixels = text_to_image(untrained, "a red circle", width=131, height=90)
    assert pixels.shape == (1, 3, 90, 131)
    assert pixels.dtype == torch.float32
    assert 0 <= pixels.min() <= pixels.max() <= 1


def test_a_seed_gives_the_same_picture_and_each_of_a_batch_its_own(untrained: Cascade) -> None:
    both = text_to_image(untrained, "a red circle", width=64, height=64, batch=2, seed=7)
    alone = text_to_image(untrained, "a red circle", width=64, height=64, seed=8)
    assert torch.allclose(both[1:], alone, atol=1e-4)
    assert not torch.allclose(both[:1], alone, atol=1e-2)


def test_parts_of_two_families_are_refused(untrained: Cascade) -> None:
    mixed = replace(untrained, stage_a=replace(untrained.stage_a, family="stable-cascade"))
    with pytest.raises(CascadeError, match=r"Stage A is untrained, but `text_encoder` comes from tiny \(built-in\)"):
        text_to_image(mixed, "a red circle")


def test_the_built_in_cascade_makes_a_picture() -> None:
    handles = [load(kind, path, name=name) for kind in PARTS for name, path in built_in(kind).items()]
    pixels = text_to_image(
        Cascade(*handles), "a large red circle at the top left on a white background", width=256, height=256
    )
    assert pixels.shape == (1, 3, 256, 256)
    assert pixels.std() > 0.05


def test_the_specification_stays_short() -> None:
    from stable_cascade_nodes.cascade_core import pipeline

    assert len(Path(str(pipeline.__file__)).read_text().splitlines()) < 100
