"""Pick Pictures in ComfyUI: what runs when, what comes out, and the previews that a person clicks."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stable_cascade_nodes.headless import graph, node_classes, shipped, workflow_file

from .browser import SETTLE, Editor
from .server import ComfyUI, Run

BUTTONS = ".stable-cascade-previews button"
PICKS = """
const node = app.graph.nodes.find(node => node.type === 'CascadePickLatents');
return node.widgets.find(widget => widget.name === 'picks').value;
"""
SET_PICKS = """
const node = app.graph.nodes.find(node => node.type === 'CascadePickLatents');
const picks = node.widgets.find(widget => widget.name === 'picks');
picks.value = arguments[0];
picks.callback?.(picks.value);
"""
# The node in the middle of the window, as it is drawn at full size.
LOOK_AT = """
const canvas = app.canvas, node = app.graph.nodes.find(node => node.type === 'CascadePickLatents');
canvas.ds.scale = 1;
const {width, height} = canvas.canvas.getBoundingClientRect();
canvas.ds.offset = [width / 2 - node.pos[0] - node.size[0] / 2, height / 2 - node.pos[1] - node.size[1] / 2];
canvas.setDirty(true, true);
"""


def prompt(picks: str, seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The shipped workflow with these values, and its nodes' ids by title."""
    nodes = node_classes.load()
    document = workflow_file.read(shipped.path_of("economical"))
    made = graph.convert(document, graph.definitions(nodes.classes), nodes.names).prompt
    ids = {graph.title_of(node): key for key, node in made.items()}
    made[ids["Pick"]]["inputs"]["picks"] = picks
    made[ids["Stage C"]]["inputs"]["seed"] = seed
    return made, ids


def ran(run: Run) -> set[str]:
    return {data["node"] for data in run.of("executing") if data["node"] is not None}


def pictures(comfyui: ComfyUI, run: Run, node: str) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(comfyui.view(**image)))) for image in run.images(node)]


def test_nothing_runs_until_something_is_picked_and_then_stage_b_alone(comfyui: ComfyUI) -> None:
    seed = time.time_ns() % 10**9
    asked, ids = prompt("", seed)
    first = comfyui.run(asked)
    assert first.error is None
    assert ids["Stage C"] in ran(first)
    assert first.images(ids["Picture out"]) == []
    shown = first.history["outputs"][ids["Pick"]]
    assert len(shown["previews"]) == 8 and shown["text"][0].startswith("nothing is picked of 8 pictures yet")
    assert Image.open(io.BytesIO(comfyui.view(**shown["previews"][0]))).size == (48, 48)
    asked, _ = prompt("2, 5", seed)
    second = comfyui.run(asked)
    assert second.error is None
    assert ids["Stage C"] not in ran(second) and {ids["Pick"], ids["Stage B"], ids["Picture out"]} <= ran(second)
    picked = pictures(comfyui, second, ids["Picture out"])
    every = pictures(comfyui, comfyui.run(prompt("all", seed)[0]), ids["Picture out"])
    assert (len(picked), len(every)) == (2, 8)
    for one, place in zip(picked, (1, 4), strict=True):  # a server's threads share sums by the size of the batch
        assert np.abs(one.astype(int) - every[place]).max() <= 1
        assert all(np.abs(one.astype(int) - other).max() > 50 for other in every if other is not every[place])


def test_what_means_no_picture_is_told_at_the_node(comfyui: ComfyUI) -> None:
    asked, _ = prompt("9", 1)
    error = comfyui.run(asked).error
    assert error is not None and "`picks`: expected numbers of the 8 pictures" in error


def test_a_click_on_a_preview_picks_it(clean: Editor, comfyui: ComfyUI, shots: Path) -> None:
    clean.open_file(shipped.path_of("economical"))
    clean.script(SET_PICKS, "")
    clean.script("await app.queuePrompt(0)")

    def buttons() -> list[Any]:
        return clean.driver.find_elements("css selector", BUTTONS)

    clean.wait("the previews", lambda: len(buttons()) == 8, 180)
    clean.script(LOOK_AT)
    time.sleep(2 * SETTLE)
    clean.wait(
        "their pictures",
        lambda: clean.script(f"return [...document.querySelectorAll('{BUTTONS} img')].every(i => i.naturalWidth)"),
    )
    clean.screenshot(shots / f"picks_{clean.rendering}.png")
    for number, expected in ((5, "5"), (2, "2, 5"), (8, "2, 5, 8"), (8, "2, 5")):
        buttons()[number - 1].click()
        clean.wait(f"picks {expected}", lambda expected=expected: clean.script(PICKS) == expected, 10)
    pressed = [button.get_attribute("aria-pressed") == "true" for button in buttons()]
    assert pressed == [number in (2, 5) for number in range(1, 9)]
    clean.script(SET_PICKS, "1, 3-4")
    pressed = [button.get_attribute("aria-pressed") == "true" for button in buttons()]
    assert pressed == [number in (1, 3, 4) for number in range(1, 9)]
    buttons()[2].click()
    assert clean.script(PICKS) == "1, 4"
    clean.screenshot(shots / f"picked_{clean.rendering}.png")
    (node,) = [node for node in clean.prompt().values() if node["class_type"] == "CascadePickLatents"]
    assert node["inputs"].keys() == {"latent", "picks", "previewer"} and node["inputs"]["picks"] == "1, 4"
    saved = next(node for node in clean.graph()["nodes"] if node["type"] == "CascadePickLatents")
    assert saved["widgets_values"] == ["1, 4"]
    clean.forget()
