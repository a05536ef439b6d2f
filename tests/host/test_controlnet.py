"""ControlNets beside ComfyUI's own modules: files of its tensors, their projections, and a Stage C that they steer."""

from __future__ import annotations

from typing import Any

import pytest

from .bare import find_facts
from .lanes import Lane

MODES = ("canny", "inpainting", "super_resolution", "identity")  # ComfyUI's class has identity; its loader does not
CLOSE = 1e-5


@pytest.fixture(scope="module")
def facts(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("controlnets")
    facts = find_facts(lane, "steer_stage_c.py", folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()  # 1.7 GB
    return facts


@pytest.mark.parametrize(("mode", "channels"), list(zip(MODES, (1, 4, 16, 512), strict=True)))
def test_files_of_its_tensors_are_ours_to_load(facts: dict[str, Any], mode: str, channels: int) -> None:
    assert facts["files"][mode] == ["controlnet", channels, 2048]


@pytest.mark.parametrize("mode", MODES)
def test_projections(facts: dict[str, Any], mode: str) -> None:
    assert max(facts["projections"][mode]) < CLOSE


@pytest.mark.parametrize("mode", MODES)
def test_one_steers_a_latent_of_odd_sides(facts: dict[str, Any], mode: str) -> None:
    """By maps of another size than the latent, in a batch, with gaps between the blocks that get one."""
    for difference, change in facts["one"][mode]:
        assert difference < CLOSE < 0.01 < change


@pytest.mark.parametrize(
    "name", ["canny, weaker", "canny, stronger", "canny and inpainting", "identity between others"]
)
def test_strengths_and_several(facts: dict[str, Any], name: str) -> None:
    difference, change = facts["stacks"][name]
    assert difference < CLOSE < 0.01 < change
