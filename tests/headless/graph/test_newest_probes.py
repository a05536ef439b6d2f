"""The rules of the newest editor against what it made of small workflows, with the definitions that ship."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.headless import comfyui_nodes, graph

from . import drawing, newest_probes, probes

EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "newest_probes.json").read_text())
MADE = {**probes.PROBES, **newest_probes.NEWEST}


def ours(document: dict[str, Any]) -> dict[str, Any]:
    prompt = graph.convert(document, comfyui_nodes.DEFINITIONS, comfyui_nodes.NAMES).prompt
    found = probes.plain(json.loads(json.dumps(prompt)))
    return {key: entry for key, entry in found.items() if entry["class_type"] in comfyui_nodes.DEFINITIONS}


@pytest.mark.parametrize("name", [name for name in EXPECTED if name != newest_probes.RENAMED])
def test_as_the_newest_editor(name: str) -> None:
    expected = deepcopy(EXPECTED[name])
    for key, inputs in newest_probes.OURS_OF_NEWEST.get(name, {}).items():
        known = expected[key]["inputs"]
        assert all(known.get(input_name) != value for input_name, value in inputs.items())
        changed = {**known, **inputs}
        expected[key]["inputs"] = {input_name: value for input_name, value in changed.items() if value is not None}
    assert ours(MADE[name]()) == expected


def test_every_probe_was_asked() -> None:
    groups = {name for name in probes.PROBES if name.startswith("group_node")}  # which the newest editor has no more
    assert EXPECTED.keys() == MADE.keys() - groups
    assert newest_probes.OURS_OF_NEWEST.keys() <= EXPECTED.keys()


def test_old_ids_are_still_renamed() -> None:
    assert EXPECTED[newest_probes.RENAMED] == {}
    found = ours(MADE[newest_probes.RENAMED]())
    assert [entry["class_type"] for entry in found.values()] == ["ControlNetLoader", "ConditioningAverage"]


def test_a_new_choice_rewrites_the_values() -> None:
    """What it brings has its own values, what stands behind keeps its; by name too, where the file has names."""
    named = {"filename_prefix": "a", "format": "auto", "format.codec": "auto", "codec": "auto"}
    entry = drawing.node(1, "SaveVideo", ["a", "auto", "auto", "auto"], widgets_values_named=named)
    document = drawing.document([entry], [])
    changes = [("1", "format", "mp4"), ("1", "format.codec", "av1"), ("1", "format.codec.encoding", "re-encode")]
    graph.set_widgets(document, comfyui_nodes.DEFINITIONS, [*changes, ("1", "format.codec.encoding.crf", 7)])
    assert document["nodes"][0]["widgets_values"] == ["a", "mp4", "av1", "re-encode", 7, "auto", "auto"]
    assert document["nodes"][0]["widgets_values_named"]["format"] == "mp4"
    assert ours(document)["1"]["inputs"] == {
        "filename_prefix": "a",
        "format": "mp4",
        "format.codec": "av1",
        "format.codec.encoding": "re-encode",
        "format.codec.encoding.crf": 7,
        "format.codec.encoding.color_space": "auto",
        "codec": "auto",
    }


def test_a_value_inside_a_renumbered_subgraph() -> None:
    document = newest_probes.NEWEST["taken_ids"]()
    (renumbered,) = (key for key in ours(document) if key.startswith("5:"))
    graph.set_widget(document, comfyui_nodes.DEFINITIONS, renumbered, "scale_by", 0.5)
    assert ours(document)[renumbered]["inputs"]["scale_by"] == 0.5


def test_where_values_by_name_alone_are_known_they_are_changed() -> None:
    document = newest_probes.NEWEST["an_unknown_choice_with_values_by_name"]()
    graph.set_widget(document, comfyui_nodes.DEFINITIONS, "1", "filename_prefix", "b")
    assert ours(document)["1"]["inputs"]["filename_prefix"] == "b"
    assert ours(document)["1"]["inputs"]["format.codec"] == "dv"
