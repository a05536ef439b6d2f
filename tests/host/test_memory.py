"""Models beside ComfyUI's own under its real memory manager, with a stand-in for a GPU.

What is shown: which of our tensors the manager moves off a full device, that none is left behind when we compute, what
it is asked for, and that a dropped handle takes its memory along. What is not: values, speed and true sizes on a GPU
(native/card.py says what the stand-in is).
"""

from __future__ import annotations

from typing import Any

import pytest

from .bare import find_facts
from .lanes import Lane

ON_CARD, AWAY, HALF = ["meta"], ["cpu"], ["cpu", "meta"]


@pytest.fixture(scope="module")
def facts(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return find_facts(lane, "manage_memory.py", tmp_path_factory.mktemp("memory"))


@pytest.mark.parametrize(("how", "evicted"), [("in part", HALF), ("wholly", AWAY)])
def test_a_native_load_evicts_and_the_next_use_brings_all_back(
    facts: dict[str, Any], how: str, evicted: list[str]
) -> None:
    assert facts[f"evicted {how}"] == [ON_CARD, evicted, ON_CARD]


@pytest.mark.parametrize("how", ["in part", "wholly"])
def test_weights_can_be_trained_although_the_host_moved_them(facts: dict[str, Any], how: str) -> None:
    assert facts[f"trainable after eviction {how}"] == [True, True]
    assert facts[f"evicted in training {how}"] in ([ON_CARD, HALF, ON_CARD], [ON_CARD, AWAY, ON_CARD])


def test_the_last_handle_takes_the_memory_along(facts: dict[str, Any]) -> None:
    assert facts["registered, shared, dropped"] == [1, 1, 0]
    assert facts["left behind"] == [False, 0]


def test_a_previewer_does_not_push_out_the_stage_that_it_shows(facts: dict[str, Any]) -> None:
    assert facts["apart"] == [HALF, ON_CARD]  # what would happen between two steps
    assert facts["together"] == [ON_CARD, 1]  # one request for ten uses


def test_what_another_node_evicts_between_steps_comes_back(facts: dict[str, Any]) -> None:
    assert facts["evicted while together"] == [AWAY, ON_CARD, ON_CARD]


def test_the_manager_is_asked_again_after_the_run(facts: dict[str, Any]) -> None:
    assert facts["requests after together"] == 1


def test_the_manager_is_asked_for_the_room_that_a_step_takes(facts: dict[str, Any]) -> None:
    """At first for what it takes in chunks, where memory is short; once more for what it takes as it stands."""
    (least, *steps), asked = facts["asked for"]
    assert steps == 3 * [steps[0]] and 100_000 < least < steps[0]
    assert asked == [least, steps[0]]


def test_unloading_all_models_takes_ours_off_the_device(facts: dict[str, Any]) -> None:
    assert facts["unloaded"] == [AWAY, 0]


def test_novram_keeps_a_model_off_the_card_unless_it_is_trained(facts: dict[str, Any]) -> None:
    assert facts["with --novram"] == [AWAY, ON_CARD]
