"""LoRA files that we write, read by ComfyUI's own code: the same weights as by ours."""

from __future__ import annotations

from typing import Any

import pytest

from .bare import find_facts
from .lanes import Lane

CLOSE = 1e-6


@pytest.fixture(scope="module")
def facts(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return find_facts(lane, "attach_loras.py", tmp_path_factory.mktemp("loras"))


@pytest.mark.parametrize("dialect", ["kohya", "comfyui"])
def test_a_written_file_gives_the_same_weights(facts: dict[str, Any], dialect: str) -> None:
    found = facts[dialect]
    assert found["difference"] < CLOSE < 0.01 < found["change"]
    assert found["modules"] == found["taken"] > 100  # every weight that the file changes


def test_dora(facts: dict[str, Any]) -> None:
    """By columns. By rows ComfyUI divides by the length of the unchanged weight, which the paper does not."""
    found = facts["DoRA by columns"]
    assert found["difference"] < CLOSE < 0.01 < found["change"]
    assert found["modules"] == found["matched"] == 1


@pytest.mark.parametrize("dialect", ["kohya", "comfyui"])
def test_a_trained_dora_gives_the_same_weights(facts: dict[str, Any], dialect: str) -> None:
    found = facts[f"trained DoRA, {dialect}"]
    assert found["difference"] < CLOSE < 0.01 < found["change"]
    assert found["modules"] == found["taken"] > 100


def test_names_of_the_text_encoder(facts: dict[str, Any]) -> None:
    assert facts["text encoder"]["comfyui"] == 0
    assert facts["text encoder"]["kohya"] <= 1  # the projection has no name in kohya's files there
