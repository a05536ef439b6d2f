"""The graphs that people share, run with the built-in models: what do the pictures show? Run: pytest -s, this file

They are ComfyUI's six examples for Stable Cascade (shared_graphs.py), with no file here: models and pictures are the
built-in ones, prompts are of the picture world. The reader, which knows nothing of the networks, says what came out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stable_cascade_nodes.cascade_core.builtin.pictures import BUILT_IN_PICTURES
from stable_cascade_nodes.cascade_core.builtin.world import Shape
from stable_cascade_nodes.headless import built_in, graph, node_classes
from stable_cascade_nodes.recipes.tiny.reader import read
from stable_cascade_nodes.runtime import host

from . import shared_graphs
from .workflow_runs import Keeper

PICTURES = 4  # of one run
RIGHT = 0.7  # of them show what they should, at least; measured: all, but one of image to image

Kinds = Counter[tuple[str, str]]


@pytest.fixture(autouse=True)
def nodes(new_program: Path) -> dict[str, type[Any]]:
    (new_program / "input").mkdir()
    host.configure(input=new_program / "input", output=new_program / "output", device="cpu")
    Keeper.kept.clear()
    return {**node_classes.load().classes, "SaveImage": Keeper, "PreviewImage": Keeper}


def run(nodes: dict[str, type[Any]], prompt: shared_graphs.Graph, text: str) -> np.ndarray:
    """The pictures that a graph makes, uint8 (B, H, W, 3)."""
    if "34" in prompt:
        prompt["34"]["inputs"]["batch_size"] = PICTURES
    prompt["6"]["inputs"]["text"], prompt["7"]["inputs"]["text"] = text, ""
    definitions = graph.definitions(nodes)
    workflow = graph.convert(prompt, definitions)
    built_in.apply(workflow, definitions)
    checked = graph.validate(workflow.prompt, nodes)
    assert checked.problems == ()
    plan = graph.Plan(checked.prompt, nodes, outputs=["9"])
    with torch.inference_mode():
        assert graph.rehearse(plan) == []
        graph.execute(plan)
    return (Keeper.kept[-1].clamp(0, 1) * 255).round().byte().numpy()  # as SaveImage, which clamps too


def kinds(shapes: tuple[Shape, ...]) -> Kinds:
    return Counter((shape.color, shape.shape) for shape in shapes)


def of(name: str) -> Kinds:
    return kinds(BUILT_IN_PICTURES[f"{name} (built-in)"].scene.shapes)


def share(pictures: np.ndarray, is_right: Callable[[Kinds], bool]) -> float:
    found = [kinds(read(one).shapes) for one in pictures]
    print([dict(one) for one in found])
    return float(np.mean([is_right(one) for one in found]))


def test_text_to_image(nodes: dict[str, type[Any]]) -> None:
    pictures = run(nodes, shared_graphs.text_to_image(), "a large red circle at the top left on a white background")
    assert pictures.shape == (PICTURES, 256, 256, 3)
    assert share(pictures, lambda found: found == {("red", "circle"): 1}) >= RIGHT
    first = read(pictures[0]).shapes[0]
    assert first.x < 0.5 and first.y < 0.5


def test_image_to_image(nodes: dict[str, type[Any]]) -> None:
    """Another colour than the picture's, the same places."""
    text = "a large blue heart left of a large yellow star on a sky background"
    pictures = np.concatenate([run(nodes, with_seed(shared_graphs.image_to_image(), seed), text) for seed in range(4)])
    assert share(pictures, lambda found: found == {("blue", "heart"): 1, ("yellow", "star"): 1}) >= RIGHT


def with_seed(prompt: shared_graphs.Graph, seed: int) -> shared_graphs.Graph:
    prompt["3"]["inputs"]["seed"] = seed
    return prompt


def test_image_remixing(nodes: dict[str, type[Any]]) -> None:
    """The prompt says nothing: all comes from the picture."""
    pictures = run(nodes, shared_graphs.image_remixing(), "")
    assert share(pictures, lambda found: found == of("heart and star")) >= RIGHT


def test_image_remixing_of_several(nodes: dict[str, type[Any]]) -> None:
    """One shape of each picture: the star of the first, the diamond of the second."""
    pictures = run(nodes, shared_graphs.image_remixing_multiple(), "")
    seen = (("yellow", "star"), ("orange", "diamond"))
    assert share(pictures, lambda found: all(found[kind] == 1 for kind in seen)) >= RIGHT


def test_canny_controlnet(nodes: dict[str, type[Any]]) -> None:
    """The outlines of a pink heart and a yellow star, in the prompt's colours."""
    text = "a large blue heart left of a large red star on a white background"
    pictures = run(nodes, shared_graphs.canny_controlnet(), text)
    assert share(pictures, lambda found: found == {("blue", "heart"): 1, ("red", "star"): 1}) >= RIGHT


def test_inpaint_controlnet(nodes: dict[str, type[Any]]) -> None:
    """The hole is filled in; what is far from it is the picture's own, exactly."""
    prompt = shared_graphs.inpaint_controlnet()
    prompt["34"]["inputs"]["width"] = 768  # the built-in picture's aspect
    text = "a large pink heart left of a large green star on a sky background"
    pictures = run(nodes, prompt, text)
    assert share(pictures, lambda found: found == {("pink", "heart"): 1, ("green", "star"): 1}) >= RIGHT
    original = np.asarray(BUILT_IN_PICTURES["heart and a hole (built-in)"].draw())
    kept = original[..., 3] == 255
    kept[:8] = kept[-8:] = kept[:, :8] = kept[:, -8:] = False
    for _ in range(12):  # pixels that the example's mask shrinks by, and some
        kept[1:-1, 1:-1] = kept[1:-1, 1:-1] & kept[:-2, 1:-1] & kept[2:, 1:-1] & kept[1:-1, :-2] & kept[1:-1, 2:]
    assert kept.any() and np.array_equal(pictures[0][kept], original[..., :3][kept])
