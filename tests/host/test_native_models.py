"""The stand-ins that hint ControlNets and stop CLIP at an earlier layer, beside ComfyUI's own modules."""

from __future__ import annotations

from typing import Any

import pytest

from .bare import find_facts
from .lanes import Lane

CLOSE = 1e-5  # of the largest value
SEEN = 1e-3  # of a hint, in the maps: random networks do not see much
MODES = ("canny", "inpainting", "super_resolution")


@pytest.fixture(scope="module")
def facts(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return find_facts(lane, "apply_stand_ins.py", tmp_path_factory.mktemp("stand_ins"))


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_any_aspect_hints_as_there(facts: dict[str, Any], mode: str) -> None:
    """Its middle, at the size of the latent, of one channel the mean, times the strength."""
    print(facts["hints"][mode])
    assert len(facts["hints"][mode]) == 6
    for difference, blind in facts["hints"][mode]:
        assert difference < CLOSE < SEEN < blind


@pytest.mark.parametrize("layer", ["-1", "-2", "-4"])
def test_an_earlier_layer_of_clip(facts: dict[str, Any], layer: str) -> None:
    sequence, pooled, from_last = facts["layers"][layer]
    print(facts["layers"][layer])
    assert sequence < CLOSE and pooled < CLOSE
    assert (from_last > 0.01) == (layer != "-1")
