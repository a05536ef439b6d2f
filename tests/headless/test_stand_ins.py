"""The stand-ins declare what ComfyUI's own nodes do, recorded from its 0.33.0; tests/host compares their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from stable_cascade_nodes.headless import graph, native
from stable_cascade_nodes.headless.comfyui_nodes import DEFINITIONS
from stable_cascade_nodes.headless.native.latents import LatentFromBatch
from stable_cascade_nodes.runtime import host

LIMITS = ("min", "max", "step", "default")
FILES = ("vae_name",)  # the recorded ComfyUI had no files; it offers a choice here that is none


def values(given: graph.Input) -> dict[str, Any]:
    """Which values an input takes."""
    choices = None if given.takes_files or given.name in FILES else given.choices or None
    return {limit: given.options.get(limit) for limit in LIMITS} | {"type": given.type, "choices": choices}


@pytest.mark.parametrize("name", native.CLASSES)
def test_a_stand_in_declares_what_the_real_node_does(name: str) -> None:
    """But that an input may be left out here which older ComfyUIs do not have."""
    ours, theirs = graph.define(native.CLASSES[name]), DEFINITIONS[name]
    assert ours.inputs.keys() == theirs.inputs.keys()
    for key, real in theirs.inputs.items():
        wanted, found = values(real), values(ours.inputs[key])
        assert found == wanted | ({} if wanted["choices"] else {"choices": found["choices"]}), key
        assert real.required or not ours.inputs[key].required, key
    assert (list(ours.outputs), ours.is_output) == (list(theirs.outputs), theirs.is_output)


@pytest.mark.parametrize(("index", "chosen"), [(0, [0]), (-1, [3]), (-3, [1]), (-9, [0]), (9, [3])])
def test_latents_are_counted_from_the_end_too(index: int, chosen: list[int]) -> None:
    (picked,) = LatentFromBatch().frombatch({"samples": torch.arange(4.0).reshape(4, 1, 1, 1)}, index, 1)
    assert (picked["samples"].flatten().tolist(), picked["batch_index"]) == (chosen, chosen)


@pytest.mark.parametrize("node", ["SaveImage", "PreviewImage"])
def test_a_written_picture_goes_on(node: str, new_program: Path) -> None:
    host.configure(output=new_program)
    nodes = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}},
        "2": {"class_type": node, "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
        "3": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "b"}},
    }
    if node == "PreviewImage":
        del nodes["2"]["inputs"]["filename_prefix"]
    graph.execute(graph.Plan(nodes, native.CLASSES, cache=graph.Cache()))
    with Image.open(new_program / "b_00001_.png") as picture:
        assert picture.getpixel((0, 0)) == (255, 255, 0)
