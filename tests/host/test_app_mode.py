"""App forms and blueprints in the editor that has them: opened, filled in, run, found among the nodes, exported."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from stable_cascade_nodes.headless import graph, shipped
from stable_cascade_nodes.recipes.workflows.__main__ import SUBGRAPHS
from stable_cascade_nodes.recipes.workflows.blueprints import BLUEPRINTS

from .browser import Editor
from .lanes import Lane
from .server import ComfyUI

SINCE = (1, 41, 13)  # front ends that have app mode, and blueprints of packs
FORMS = {
    "text_to_image": ["Prompt", "Width", "Height", "Seed"],
    "economical": ["Prompt", "Picks", "Width", "Height", "Seed"],
    "image_to_image": ["Prompt", "Picture", "Denoise", "Size", "Seed"],
}
LINES = "return document.body.innerText.split('\\n').map(line => line.trim()).filter(Boolean)"
PRESS = """
const button = [...document.querySelectorAll('button')].find(one => one.innerText.trim() === arguments[0]);
button?.click();
return Boolean(button);
"""
SAVE = """
const save = LiteGraph.createNode('SaveImage');
app.graph.add(save);
app.graph.nodes[0].connect(0, save, 0);
await new Promise(done => setTimeout(done, 500));
"""


@pytest.fixture
def newer(lane: Lane, clean: Editor) -> Editor:
    """The editor, where it is new enough."""
    if tuple(int(part) for part in lane.front_end_version.split(".")) < SINCE:
        pytest.skip(f"app mode and blueprints came with front end {'.'.join(map(str, SINCE))}")
    return clean


@pytest.mark.parametrize("name", FORMS)
def test_an_app_form_opens_and_runs(newer: Editor, comfyui: ComfyUI, shots: Path, name: str) -> None:
    newer.open_file(shipped.path_of(name).with_suffix(".app.json"))
    newer.wait("the form", lambda: {*FORMS[name], "Run"} <= set(newer.script(LINES)))
    lines = newer.script(LINES)
    assert [line for line in lines if line in FORMS[name]] == FORMS[name]
    newer.script(PRESS, "Skip")  # of a tour
    before = {path.name for path in comfyui.output.glob("*.png")}
    assert newer.script(PRESS, "Run")
    newer.wait("the picture", lambda: {path.name for path in comfyui.output.glob("*.png")} - before, 180)
    (made,) = {path.name for path in comfyui.output.glob("*.png")} - before
    newer.wait("the picture on the page", lambda: any(made in line for line in newer.script(LINES)))
    newer.screenshot(shots / f"{name}_app_{newer.rendering}.png")


def test_blueprints_are_listed(newer: Editor, comfyui: ComfyUI) -> None:
    listed = comfyui.get("/global_subgraphs").values()
    ours = sorted(entry["name"] for entry in listed if entry["source"] == "custom_node")
    assert ours == sorted(blueprint.name for blueprint in BLUEPRINTS.values())


def test_a_blueprint_is_found_dropped_run_and_exported(newer: Editor, comfyui: ComfyUI, shots: Path) -> None:
    """By its name: 1.58 takes the aliases of a pack's blueprints from the server, which has none to tell."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    name = BLUEPRINTS["text_to_image"].name
    newer.script("app.graph.clear(); await app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    time.sleep(2)
    newer.driver.switch_to.active_element.send_keys(name)
    newer.wait("the blueprint among what is found", lambda: name in newer.script(LINES))
    time.sleep(2)
    newer.driver.switch_to.active_element.send_keys(Keys.ENTER)
    newer.wait("the node at the pointer", lambda: newer.script("return app.graph.nodes.length"))
    pointer = ActionChains(newer.driver)
    pointer.w3c_actions.pointer_action.move_to_location(900, 500).click()
    pointer.perform()
    time.sleep(1)
    newer.screenshot(shots / f"blueprint_{newer.rendering}.png")
    widgets = newer.script("return app.graph.nodes[0].widgets.map(widget => widget.label)")
    assert widgets == ["Prompt", "Width", "Height", "Seed"]
    newer.script(SAVE)
    prompt = newer.prompt()
    assert graph.convert(newer.graph(), *graph.read_object_info(comfyui.object_info())).prompt == prompt
    assert len(prompt) == 12
    assert comfyui.run(prompt).error is None


def test_every_blueprint_says_what_it_is_for() -> None:
    for blueprint in BLUEPRINTS.values():
        extra = json.loads((SUBGRAPHS / f"{blueprint.name}.json").read_text(encoding="utf-8"))["extra"]
        assert extra["BlueprintDescription"].endswith(".") and re.match(
            "stable cascade", extra["BlueprintSearchAliases"][0]
        )
