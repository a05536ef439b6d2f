"""Every use case in a real ComfyUI: run over HTTP, run by the editor's button, and opened again from its picture."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import stable_cascade_nodes
from stable_cascade_nodes.headless import graph, shipped

from .browser import RENDERINGS, Editor
from .lanes import Lane
from .server import ComfyUI
from .test_editor import LOOK, SEEN
from .test_export import differences, known, ours

ROOT = Path(stable_cascade_nodes.__file__).parent
ALREADY = {"text_to_image", "published_models", "lora_training"}  # by test_server.py, test_editor.py, test_training.py
IN_THE_EDITOR = [file for file in shipped.files() if file.stem != "text_to_image"]
WORKFLOWS = [file for file in shipped.files() if file.stem not in ALREADY]
SET = (
    "for (const [title, name, value] of arguments[0])"
    " app.graph.nodes.find(node => node.getTitle() === title).widgets.find(w => w.name === name).value = value"
)
SHOWN = "return app.graph.nodes.find(node => node.getTitle() === 'Picture out').imgs?.[0]?.src ?? ''"

# In whichever rendering, what a node says of its result is an element of the page.
SAID = "return [...document.querySelectorAll('.stable-cascade-said')].map(element => element.innerText).join()"

BUILT_IN = (
    "for (const node of app.graph.nodes.filter(node => node.type.endsWith('Loader')))"
    " node.widgets.find(widget => widget.name === 'model_name').value = 'tiny (built-in)'"
)
INTO_SUBGRAPH = """
const ours = app.graph.nodes.filter(node => node.type.startsWith('Cascade'));
app.graph.convertToSubgraph(new Set(ours.filter(node => !/Loader$|Picture$/.test(node.type))));
await new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)));  // slots get their types
"""

WITHOUT_PREVIEWS = {"reconstruction", "economical"}  # no Stage C; one whose drafts the next node shows
each_workflow = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)


@each_workflow
def test_it_runs_over_http(lane: Lane, comfyui: ComfyUI, file: Path) -> None:
    workflow: dict[str, Any] = json.loads(file.read_text())
    prompt = graph.convert(workflow, *graph.read_object_info(comfyui.object_info())).prompt
    by_title = {node["_meta"]["title"]: (identity, node["inputs"]) for identity, node in prompt.items()}
    out, settings = by_title["Picture out"]
    settings["filename_prefix"] = f"over_http_{file.stem}"
    run = comfyui.run(prompt, workflow)
    assert run.error is None
    for title in ("Stage C", "Stage B"):
        if title in by_title:
            identity, inputs = by_title[title]
            values = [event["value"] for event in run.of("progress") if event["node"] == identity]
            told, steps = [value for value in values if value], list(range(1, inputs["steps"] + 1))
            if lane.is_newer:  # it tells steps without a picture ten times a second at most, and always the last
                steps = [step for step in steps if step in told or step == inputs["steps"]]
            assert told == steps
    assert bool(run.of("preview")) == ("previewer" in by_title.get("Stage C", ("", {}))[1])
    (image,) = run.images(out)
    with Image.open(io.BytesIO(comfyui.view(**image))) as picture:
        assert picture.size == (256, 256) and np.asarray(picture).std() > 10
        assert json.loads(picture.text["workflow"]) == workflow  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", IN_THE_EDITOR, ids=lambda file: file.stem)
def test_it_runs_by_the_button_opens_again_and_runs_as_a_subgraph(
    clean: Editor, comfyui: ComfyUI, file: Path, shots: Path
) -> None:
    """The same workflow from its picture, and the same picture with all but loaders and pictures in a subgraph."""
    clean.open_file(file)
    name = f"by_the_button_{file.stem}_{clean.rendering}"
    seed = 2 + RENDERINGS.index(clean.rendering)  # a picture that this server has not made
    clean.script(SET, [["Stage B", "seed", seed], ["Stage B", "steps", 60], ["Picture out", "filename_prefix", name]])
    if file.stem == "published_models":
        clean.forget()  # that its files are missing
        clean.script(BUILT_IN)
        clean.script(SET, [["Size", "width", 256], ["Size", "height", 256]])
    if file.stem == "few_steps":
        clean.script(SET, [["Stage C", "steps", 20], ["Stage C", "seed", seed]])  # two are over before one has looked
    if file.stem == "lora_training":
        clean.script(SET, [["Train LoRA", "steps", 2], ["Train LoRA", "name", name]])
    before = clean.graph()
    clean.script(LOOK)
    saved = run(clean, comfyui, name)
    clean.screenshot(shots / f"{file.stem}_finished_{clean.rendering}.png")
    seen = clean.script(SEEN)
    assert seen["progress"]["CascadeStageBSampler"] > 2
    has_previews = file.stem not in WITHOUT_PREVIEWS
    assert not has_previews or seen["previews"]["CascadeStageCSampler"] > 2
    if clean.rendering == "nodes2":
        assert not has_previews or seen["shown"]["CascadeStageCSampler"] > 2
        assert seen["shown"]["SaveImage"] > 0

    clean.drop_picture(saved)
    after = clean.graph()
    assert all(after[key] == before[key] for key in ("nodes", "links", "groups"))

    clean.script(INTO_SUBGRAPH)
    clean.script(SET, [["Picture out", "filename_prefix", f"{name}_sub"]])
    document, exported = clean.graph(), clean.prompt()
    assert len(document["definitions"]["subgraphs"]) == 1 and len(document["nodes"]) < len(before["nodes"])
    info = comfyui.object_info()
    assert differences(ours(document, info), known(exported, info)) == []
    same = run(clean, comfyui, f"{name}_sub")
    assert np.array_equal(np.asarray(Image.open(saved)), np.asarray(Image.open(same)))
    clean.screenshot(shots / f"{file.stem}_subgraph_{clean.rendering}.png")
    clean.open_document(document)
    assert clean.prompt() == exported
    assert [line for line in clean.console() if "huggingface.co" not in line] == []


def run(editor: Editor, comfyui: ComfyUI, name: str) -> Path:
    """Press Run and wait for the picture of this name in Picture out; its file."""
    editor.press_run()
    editor.wait(f"the picture {name}", lambda: name in editor.script(SHOWN) or editor.messages(), 180)
    assert editor.messages() == []
    time.sleep(1)
    (file,) = comfyui.output.glob(f"{name}_0*.png")
    return file


def test_the_comparison_shows_its_numbers_on_the_node(clean: Editor, shots: Path) -> None:
    clean.open_file(ROOT / "workflows" / "reconstruction.json")
    before = clean.graph()
    clean.script(SET, [["Stage B", "seed", 5 + RENDERINGS.index(clean.rendering)]])
    clean.press_run()
    clean.wait("the result", lambda: clean.script(SHOWN))
    said = clean.wait("the numbers", lambda: clean.script(SAID))
    time.sleep(2)  # what is said only while it runs is gone by then
    assert re.fullmatch(r"PSNR \d\d\.\d dB; latent 6 x 6 x 16, 42\.7 times smaller a side", said)
    assert clean.script(SAID) == said and len(clean.driver.find_elements("css selector", ".stable-cascade-said")) == 1
    clean.screenshot(shots / f"reconstruction_numbers_{clean.rendering}.png")
    saved = [node for node in clean.graph()["nodes"] if node["type"] == "CascadeCompare"]
    assert [node.get("widgets_values") or None for node in saved] == [None]  # it is no part of the workflow
    assert len(saved) == len([node for node in before["nodes"] if node["type"] == "CascadeCompare"]) == 1
