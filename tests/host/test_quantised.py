"""Files with quantised weights, in the formats that ComfyUI has for them since 0.27."""

from __future__ import annotations

from typing import Any

import pytest

from .bare import find_facts
from .lanes import Lane

ROUNDING = 1e-5
LIMITS = {"int8": 0.03, "fp8": 0.06, "int4": 0.15}  # of narrow layers, whose errors average out less
LINEARS = 4 * (
    2 + 5 + 3
)  # of the 4 blocks of each kind: channel mixers, attention (q, k, v, out, text), mappers of time


@pytest.fixture(scope="module")
def facts(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not lane.is_newer:
        pytest.skip("this ComfyUI has no such formats")
    return find_facts(lane, "quantised_files.py", tmp_path_factory.mktemp("quantised"))


@pytest.mark.parametrize("name", LIMITS)
def test_comfyui_loads_ours(facts: dict[str, Any], name: str) -> None:
    """With the same output, but for what it rounds besides: the inputs of the products."""
    found = facts[name]
    assert found["quantised"] == LINEARS
    assert found["whole inputs"] < ROUNDING and found["one layer"] < ROUNDING
    assert found["rounded inputs"] < LIMITS["int8"]
    assert found["to whole"] < LIMITS[name]


@pytest.mark.parametrize("name", LIMITS)
def test_the_bytes_are_comfyuis_own(facts: dict[str, Any], name: str) -> None:
    """What it saves of our file, and what it makes of the weight itself."""
    assert facts[name]["saved otherwise"] == [] and facts[name]["made otherwise"] == []


@pytest.mark.parametrize("name", LIMITS)
def test_we_load_comfyuis(facts: dict[str, Any], name: str) -> None:
    assert facts[name]["loaded again"] < ROUNDING
