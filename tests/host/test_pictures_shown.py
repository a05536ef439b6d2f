"""Built-in pictures in the Picture node of the editor, however they come there: seen, and equal to what the node gives.

Screenshots go to the folder COMFYUI_SCREENSHOTS where it is set, else to pytest's temporary folder.
"""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import cv2
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.builtin.pictures import BUILT_IN_PICTURES

from .browser import SETTLE, Editor
from .server import PACK, ComfyUI, Refused

WORKFLOWS = Path(stable_cascade_nodes.__file__).parent / "workflows"
PATIENCE = 10  # seconds in which a picture is fetched and drawn
ALIKE = (
    12.0  # levels of 255 by which the screen may differ from a picture, which lies between pixels; another is 38 apart
)
HOLE, SQUARES = "heart and a hole (built-in)", "three squares (built-in)"

# The one Picture node of the open graph, alone in the middle, at a scale at which its picture is drawn as it is.
LOOK_AT = """
const canvas = app.canvas, node = canvas.graph.nodes.find(node => node.type === 'CascadePicture');
node.pos = [-5000, -5000];
node.setSize([LiteGraph.vueNodesMode ? 272 : 340, 560]);
canvas.ds.scale = 1;
const {width, height} = canvas.canvas.getBoundingClientRect();
canvas.ds.offset = [width / 2 - node.pos[0] - 170, height / 2 - node.pos[1] - 280];
canvas.setDirty(true, true);
return node.id;
"""
PLACE = """
const canvas = app.canvas, node = canvas.graph.nodes.find(node => node.type === 'CascadePicture');
const [x, y] = canvas.ds.convertOffsetToCanvas([...node.pos]), {left, top} = canvas.canvas.getBoundingClientRect();
return [left + x, top + y, ...node.size];
"""
# The pictures of a node in Nodes 2.0: their pixels, and where they are on the screen.
ELEMENTS = """
return [...document.querySelectorAll(`[data-node-id='${arguments[0]}'] img`)].map(image => {
  const {naturalWidth: width, naturalHeight: height} = image, box = image.getBoundingClientRect();
  if (!image.complete || !width) return null;
  const copy = Object.assign(document.createElement('canvas'), {width, height});
  copy.getContext('2d').drawImage(image, 0, 0);
  const scale = Math.min(box.width / width, box.height / height), w = scale * width, h = scale * height;
  return {pixels: copy.toDataURL('image/png').split(',')[1],
    box: [box.left + (box.width - w) / 2, box.top + (box.height - h) / 2, w, h]};
});
"""
IN_ELEMENTS = "return Boolean(LiteGraph.vueNodesMode)"
INTO_SUBGRAPH = """
const graph = app.canvas.graph, inside = graph.nodes.find(node => node.type === 'CascadePicture');
const {node} = graph.convertToSubgraph(new Set([inside]));
app.canvas.openSubgraph(node.subgraph, node);
"""
OPEN_SUBGRAPH = """
const node = app.graph.nodes.find(node => node.subgraph);
app.canvas.openSubgraph(node.subgraph, node);
"""


def drawn(name: str) -> np.ndarray:
    """The picture as the node draws it, RGBA, in levels."""
    return np.asarray(BUILT_IN_PICTURES[name].draw().convert("RGBA"), np.int16)


def seen(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGBA"), np.int16)


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean difference in levels where the picture is not transparent; what lies under that no browser keeps."""
    if found.shape != expected.shape or (found[..., 3] != expected[..., 3]).any():
        return 255.0
    return float(np.abs(found - expected)[expected[..., 3] > 0].mean())


def on_screen(editor: Editor, box: list[float]) -> np.ndarray:
    """RGB of a part of the screen: left, top, width, height."""
    left, top, width, height = map(round, box)
    with Image.open(io.BytesIO(editor.driver.get_screenshot_as_png())) as screen:
        return np.asarray(screen.convert("RGB").crop((left, top, left + width, top + height)), np.float32)


def best_match(screen: np.ndarray, name: str) -> float:
    """Root of the mean squared difference in levels between a picture and the place of the screen most like it."""
    expected = drawn(name).astype(np.float32)
    mask = np.repeat(np.sign(expected[..., 3:]), 3, axis=2)
    squares: Any = cv2.matchTemplate(screen, expected[..., :3].copy(), cv2.TM_SQDIFF, mask=mask)
    return float(np.sqrt(max(squares.min(), 0) / mask.sum()))


def shows(editor: Editor, name: str) -> bool:
    node = editor.script(LOOK_AT)
    time.sleep(SETTLE)
    if not editor.script(IN_ELEMENTS):
        return best_match(on_screen(editor, editor.script(PLACE)), name) < ALIKE
    images = editor.script(ELEMENTS, node)
    if len(images) != 1 or images[0] is None:  # once, not also as the preview of a run
        return False
    found = seen(base64.b64decode(images[0]["pixels"]))
    if apart(found, drawn(name)) > 0:
        return False
    return best_match(on_screen(editor, images[0]["box"]), name) < ALIKE


def wait_until_shown(editor: Editor, name: str) -> None:
    editor.wait(f"{name} in the node", lambda: shows(editor, name), PATIENCE)


def assert_no_complaint(editor: Editor) -> None:
    """Nothing was asked for that is not there; the old editor warns of its own subgraphs in the console."""
    assert [line for line in editor.console() if "Failed to load" in line or PACK in line] == []
    assert editor.messages() == []
    assert "failed to load" not in editor.script("return document.body.innerText").lower()


def choose(editor: Editor, name: str) -> None:
    """Choose a picture as a person does, by the node's list."""
    node = editor.script(LOOK_AT)
    time.sleep(SETTLE)
    if editor.script(IN_ELEMENTS):
        editor.click(f"[data-node-id='{node}'] [data-widget-name='image'] button")
        listed = "[data-testid='form-dropdown-menu'] img"
        editor.find(listed)
        time.sleep(SETTLE)
        images = editor.driver.find_elements("css selector", listed)
        next(image for image in images if quote_plus(name) in image.get_attribute("src")).click()
        return
    left, top, width, _ = editor.script(PLACE)
    row = editor.script("return app.canvas.graph.getNodeById(arguments[0]).widgets[0].last_y", node)
    pointer = ActionChains(editor.driver)
    pointer.w3c_actions.pointer_action.move_to_location(round(left + width / 2), round(top + row + 10)).click()
    pointer.perform()
    listed = ".litecontextmenu .litemenu-entry"
    editor.find(listed)
    next(entry for entry in editor.driver.find_elements("css selector", listed) if entry.text == name).click()


@pytest.mark.parametrize("name", BUILT_IN_PICTURES)
def test_the_server_answers_for_a_built_in_picture_as_for_a_file(comfyui: ComfyUI, name: str) -> None:
    expected = drawn(name)
    for path in ("/view", "/api/view"):
        asked = f"{path}?{urlencode({'filename': name, 'type': 'input', 'subfolder': ''})}"
        assert apart(seen(comfyui.fetch(asked)), expected) == 0
        alpha = seen(comfyui.fetch(f"{asked}&channel=a"))  # by which the mask editor opens it
        assert (alpha[..., 3] == expected[..., 3]).all()


@pytest.mark.parametrize("asked", [{"type": "output"}, {"type": "temp"}, {"type": "input", "filename": "circle"}])
def test_it_answers_for_nothing_else(comfyui: ComfyUI, asked: dict[str, str]) -> None:
    with pytest.raises(Refused, match="404"):
        comfyui.fetch(f"/view?{urlencode({'filename': HOLE} | asked)}")
    assert comfyui.view("example.png", type="input") == (comfyui.input / "example.png").read_bytes()


def test_it_shows_in_a_template_and_when_another_is_chosen(clean: Editor, shots: Path) -> None:
    clean.open_file(WORKFLOWS / "inpainting.json")
    clean.screenshot(shots / "picture_in_template.png")
    wait_until_shown(clean, HOLE)
    choose(clean, SQUARES)
    wait_until_shown(clean, SQUARES)
    clean.screenshot(shots / "picture_chosen.png")
    ActionChains(clean.driver).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    clean.wait("undo", lambda: HOLE in json.dumps(clean.prompt()))
    wait_until_shown(clean, HOLE)
    choose(clean, SQUARES)
    clean.open_document(clean.graph())
    wait_until_shown(clean, SQUARES)
    assert_no_complaint(clean)


def test_it_shows_inside_a_subgraph(clean: Editor, shots: Path) -> None:
    clean.open_file(WORKFLOWS / "inpainting.json")
    clean.script(INTO_SUBGRAPH)
    wait_until_shown(clean, HOLE)
    choose(clean, SQUARES)
    wait_until_shown(clean, SQUARES)
    clean.screenshot(shots / "picture_in_subgraph.png")
    clean.open_document(clean.script("return app.graph.serialize()"))
    clean.script(OPEN_SUBGRAPH)
    wait_until_shown(clean, SQUARES)
    assert_no_complaint(clean)
