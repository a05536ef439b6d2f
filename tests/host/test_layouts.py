"""The shipped workflows as the editors draw them: apart, inside their groups, fitted to the window with their text.

What recipes/workflows/heights.py states is measured here again, with pictures in the nodes of some workflows.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.headless import shipped
from stable_cascade_nodes.recipes.workflows.heights import WITH_PICTURE, heights_of

from .browser import Editor
from .lanes import Lane
from .server import ComfyUI

RUN = ["text_to_image", "reconstruction", "inpainting", "economical"]  # with every kind of node that shows a picture
LOW = 40  # graph units, the smallest height that a node is given to see its least
# Boxes with their titles in graph units: on the canvas as it draws them, in Nodes 2.0 those of the page's elements.
LAYOUT = """
await new Promise(done => setTimeout(done, 800));
const {ds, canvas} = app.canvas, place = canvas.getBoundingClientRect();
const box = node => {
  const element = document.querySelector(`[data-node-id="${node.id}"]`);
  if (!element) return [...node.getBounding()];
  const {left, top, width, height} = element.getBoundingClientRect();
  const at = [left - place.left, top - place.top].map((pixel, axis) => pixel / ds.scale - ds.offset[axis]);
  return [...at, width / ds.scale, height / ds.scale];
};
return {
  scale: ds.scale, text: !app.canvas.low_quality,
  nodes: app.graph.nodes.map(node => ({id: node.id, title: node.getTitle(), type: node.type, box: box(node)})),
  groups: app.graph.groups.map(group => ({title: group.title, box: [...group.pos, ...group.size]})),
};
"""
SLACK = 2  # graph units, of pixels that are whole


def layout(editor: Editor) -> dict[str, Any]:
    return editor.script(LAYOUT)


def check_tidy(found: dict[str, Any]) -> None:
    nodes = [(node["title"], shrunk(node["box"])) for node in found["nodes"]]
    assert [(a, b) for (a, box), (b, other) in itertools.combinations(nodes, 2) if overlap(box, other)] == []
    for group in found["groups"]:
        crossing = [
            title for title, box in nodes if overlap(box, group["box"]) and not within(box, grown(group["box"]))
        ]
        assert crossing == [], group["title"]


def overlap(first: list[float], second: list[float]) -> bool:
    (ax, ay, aw, ah), (bx, by, bw, bh) = first, second
    return ax < bx + bw and bx < ax + aw and ay < by + bh and by < ay + ah


def within(inner: list[float], outer: list[float]) -> bool:
    (ax, ay, aw, ah), (bx, by, bw, bh) = inner, outer
    return bx <= ax and by <= ay and ax + aw <= bx + bw and ay + ah <= by + bh


def shrunk(box: list[float]) -> list[float]:
    x, y, width, height = box
    return [x + SLACK, y + SLACK, width - 2 * SLACK, height - 2 * SLACK]


def grown(box: list[float]) -> list[float]:
    x, y, width, height = box
    return [x - SLACK, y - SLACK, width + 2 * SLACK, height + 2 * SLACK]


def test_all_are_tidy_and_show_text(clean: Editor, shots: Path) -> None:
    """On 1920 x 1080 as they open, in this rendering."""
    for file in shipped.files():
        clean.open_file(file)
        clean.forget()
        found = layout(clean)
        clean.screenshot(shots / f"{file.stem}_{clean.rendering}.png")
        assert found["text"], f"{file.stem}: at {found['scale']:.3f} the canvas draws no text"
        check_tidy(found)


@pytest.mark.parametrize("file", [file for file in shipped.files() if file.stem in RUN], ids=lambda file: file.stem)
def test_a_workflow_that_has_run_is_tidy(clean: Editor, comfyui: ComfyUI, file: Path, shots: Path) -> None:
    """With its previews and results in the nodes, which are then no higher than stated."""
    clean.open_file(file)
    before = len(comfyui.get("/history"))
    clean.script("await app.queuePrompt(0)")
    clean.wait("the run's end", lambda: len(comfyui.get("/history")) > before, 180)
    time.sleep(3)
    clean.screenshot(shots / f"{file.stem}_ran_{clean.rendering}.png")
    check_tidy(layout(clean))


@pytest.mark.parametrize("name", ["inpainting", "lora_training"])
def test_stated_heights_are_the_editors(clean: Editor, tmp_path: Path, name: str) -> None:
    """The least of nodes without pictures; those of pictures are seen in the tests above."""
    document = json.loads(shipped.path_of(name).read_text(encoding="utf-8"))
    document["groups"] = []
    for node in document["nodes"]:
        node["size"][1] = LOW
        node["flags"] = {}
    file = tmp_path / f"low_{name}.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    clean.open_file(file)
    stated = {str(node["id"]): heights_of(node)[clean.rendering == "nodes2"] for node in document["nodes"]}
    for node in layout(clean)["nodes"]:
        if node["type"] in WITH_PICTURE or node["type"] == "MarkdownNote":
            continue
        most, height = stated[str(node["id"])], node["box"][3]
        lower = 8 if node["type"] == "CascadeEmptyLatents" else 0  # where its size is linked
        assert most - lower - SLACK <= height <= most + SLACK, (node["title"], height, most)


def test_on_a_small_screen_the_smaller_ones_show_text(clean: Editor, lane: Lane, shots: Path) -> None:
    """1366 x 768 for the page; on the canvas larger ones are boxes there, and Nodes 2.0 always draws text."""
    boxes = {"image_mixing", "lora_training", "outpainting", "super_resolution"}
    if not lane.is_newer:  # its bars leave the canvas 1302 x 690
        boxes |= {"canny", "face_identity", "inpainting"}
    clean.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 1366, "height": 768, "deviceScaleFactor": 1, "mobile": False}
    )
    time.sleep(1)
    for file in shipped.files():
        clean.open_file(file)
        clean.forget()
        clean.screenshot(shots / f"{file.stem}_{clean.rendering}_1366.png")
        found = layout(clean)
        assert found["text"] or file.stem in boxes, f"{file.stem}: {found['scale']:.3f}"
