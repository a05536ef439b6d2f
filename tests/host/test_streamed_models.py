"""Models whose weights stream, as ComfyUI's memory manager has them: what they compute, and what lies on the card.

ComfyUI's manager, patchers and casts are its own, the card is a stand-in (native/card.py). Dynamic VRAM needs a GPU's
library, for which native/dynamic_vram.py stands in, too. Nothing is measured of a real GPU: benchmarks/ has a script.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .bare import find_facts
from .lanes import Lane

WAYS = ("ordinary", "dynamic")
GB = 10**9


def facts_of(lane: Lane, script: str, way: str, folder: Path) -> dict[str, Any]:
    patchers = lane.path / "comfy" / "model_patcher.py"
    if way == "dynamic" and "class ModelPatcherDynamic" not in patchers.read_text():
        pytest.skip("this ComfyUI has no Dynamic VRAM")
    return find_facts(lane, script, folder, *(["--dynamic"] if way == "dynamic" else []))


@pytest.fixture(scope="module", params=WAYS)
def computed(lane: Lane, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return facts_of(lane, "stream_weights.py", request.param, tmp_path_factory.mktemp("computed"))


@pytest.fixture(scope="module", params=WAYS)
def orders(lane: Lane, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return facts_of(lane, "load_orders.py", request.param, tmp_path_factory.mktemp("orders"))


def test_every_network_gives_the_same_bit_for_bit(computed: dict[str, Any]) -> None:
    assert len(computed["equal"]) == 12  # eight loaders, four ControlNets, a LoRA
    assert all(computed["equal"].values()), computed["equal"]
    assert all(computed["streamed"].values()) and all(computed["casts"].values())
    if computed["pages"] is not None:
        used, room = computed["pages"]
        assert room / 2 < used <= room  # some weights stay, the others come each time


def test_comfyui_takes_every_handle_for_a_model_and_a_lora_for_no_second_one(computed: dict[str, Any]) -> None:
    assert len(computed["is a model"]) == 12 and all(computed["is a model"].values()), computed["is a model"]
    assert computed["patchers"] == [11, 12]


def test_the_cache_under_pressure_drops_our_model_of_another_run_before_its_pictures(computed: dict[str, Any]) -> None:
    if computed["cache"] is None:
        pytest.skip("this ComfyUI has no such cache")
    assert computed["cache"] == ["model", "picture"]


def test_a_weight_on_the_device_is_as_plain_as_without_streaming(computed: dict[str, Any]) -> None:
    away, there, again = computed["lying there"]
    assert away == again == [away[1], away[1], True]
    assert there == [0, away[1], True]


def test_what_streamed_can_be_trained(computed: dict[str, Any]) -> None:
    assert computed["trained"] == [True, True]


def whole(pair: list[int]) -> bool:
    return pair[0] >= pair[1]  # Dynamic VRAM takes whole kilobytes for each weight


def test_no_order_of_loads_needs_more_than_the_card_has(orders: dict[str, Any]) -> None:
    assert len(orders) == 10
    assert all(used <= room for used, room in (found["card"] for found in orders.values())), orders


@pytest.mark.parametrize("order", ["C", "native, C", "C and ControlNet together", "C with a LoRA, C"])
def test_stage_c_is_all_there_where_it_fits(orders: dict[str, Any], order: str) -> None:
    assert whole(orders[order]["stage_c"])


def test_a_load_frees_what_it_needs_and_no_more(orders: dict[str, Any]) -> None:
    for order in ("C, native", "native, C", "C, B, A", "C, larger native, C"):
        used, room = orders[order]["card"]
        assert used > 0.9 * room, order
    assert whole(orders["C, native"]["native"]) and orders["C, native"]["stage_c"][0] > GB
    assert whole(orders["C, B, A"]["stage_b"]) and whole(orders["C, B, A"]["stage_a"])
    both = orders["native, C, room for both"]
    assert whole(both["native"]) and whole(both["stage_c"])


def test_what_computes_in_turns_stays(orders: dict[str, Any]) -> None:
    assert all(whole(pair) for name, pair in orders["C and ControlNet together"].items() if name != "card")


def test_a_model_larger_than_the_card_uses_all_of_it(orders: dict[str, Any]) -> None:
    (used, size), (_, room) = (orders["C, room for half of it"][name] for name in ("stage_c", "card"))
    assert room < size and 0.95 * room < used <= room


def test_training_takes_the_whole_model_and_a_native_one_takes_its_place(orders: dict[str, Any]) -> None:
    found = orders["C in training, native"]
    assert whole(found["native"]) and found["stage_c"][0] == 0
