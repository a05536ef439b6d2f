"""What a person sees of the pack in ComfyUI's editor: files opened, the Run button pressed, pictures, colours and help.

Screenshots go to the folder COMFYUI_SCREENSHOTS where it is set, else to pytest's temporary folder.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.headless import shipped

from .browser import RENDERINGS, Editor
from .server import PACK, ComfyUI

ROOT = Path(stable_cascade_nodes.__file__).parent
WORKFLOWS = shipped.files()
TEXT_TO_IMAGE = ROOT / "workflows" / "text_to_image.json"
MISSING_MODELS = "published_models.json"  # the one workflow that may offer downloads

# What the person sees of a run while it goes on, looked at every 20 ms: bars on nodes, and pictures in them, which are
# elements in Nodes 2.0 (`shown`).
LOOK = """
const seen = window.__seen = {progress: {}, previews: {}, shown: {}, tab: []};
clearInterval(window.__looking);
window.__looking = setInterval(() => {
  if (seen.tab.at(-1) !== document.title) seen.tab.push(document.title);
  for (const node of app.graph.nodes) {
    if (node.progress) (seen.progress[node.type] ??= new Set()).add(node.progress);
    for (const picture of app.nodePreviewImages[String(node.id)] ?? [])
      (seen.previews[node.type] ??= new Set()).add(picture);
    for (const image of document.querySelectorAll(`[data-node-id="${node.id}"] img`))
      (seen.shown[node.type] ??= new Set()).add(image.src);
  }
}, 20);
"""
SEEN = """
const counts = of => Object.fromEntries(Object.entries(of).map(([type, set]) => [type, set.size]));
const {progress, previews, shown, tab} = window.__seen;
return {progress: counts(progress), previews: counts(previews), shown: counts(shown), tab};
"""
THUMBNAIL = "arguments[0].scrollIntoView(); return arguments[0].querySelector('img')?.naturalWidth > 0"
# In one go: while the list fills, its elements come and go.
OPTION = """
const options = document.querySelectorAll('.p-listbox-option, nav [role="button"]');
return [...options].find(e => e.textContent.trim() === arguments[0]);
"""
SEE_ISSUES, ISSUES = '[data-testid="error-overlay-see-errors"]', '[data-testid="properties-panel"]'  # of newer editors
ISSUES_FOUND = (
    "Resolve these issues before running"  # newer editors of the graph that they open with, whose models miss
)
HELP = ".node-help-content .markdown-content, .node-help-content .comfy-markdown-content"
# What is drawn of a title follows the dot: of a folded node the first 20 letters, of another what leaves as much room
# behind it as the dot has. Boxes are measured here, since the editor does so once it draws.
TITLES = """
const context = app.canvas.ctx, dot = LiteGraph.NODE_TITLE_HEIGHT;
return app.graph.nodes.map(node => {
  node.updateArea(context);
  context.font = node.titleFontStyle;
  const title = node.getTitle(), [, , width] = node.getBounding(), needs = context.measureText(title).width;
  return {title, fits: node.collapsed ? needs + dot <= width && title.length <= 20 : needs + 2 * dot <= width};
});
"""


def test_the_page_opens_without_a_word_of_ours(editor: Editor) -> None:
    editor.forget()
    editor.open()
    of_its_own = [ISSUES_FOUND] if not any("Cascade" in node["type"] for node in editor.graph()["nodes"]) else []
    assert [message for message in editor.messages() if not any(known in message.text for known in of_its_own)] == []
    assert [line for line in editor.console() if PACK in line] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_opens_clean(clean: Editor, file: Path, shots: Path) -> None:
    clean.open_file(file)
    clean.screenshot(shots / f"{file.stem}_{clean.rendering}.png")
    messages = clean.messages()
    if file.name == MISSING_MODELS:
        (dialog,) = messages
        document = json.loads(file.read_text())
        named = [model for node in document["nodes"] for model in node.get("properties", {}).get("models", [])]
        assert named and dialog.kind == "dialog"
        # The dialog asks the files' addresses for their sizes, and this browser reaches loopback only.
        assert all("huggingface.co" in line or "fetching file size" in line for line in clean.console())
        told = dialog.text
        if clean.driver.find_elements("css selector", SEE_ISSUES):
            clean.click(SEE_ISSUES)
            clean.wait("the list of what is missing", lambda: named[0]["name"] in clean.find(ISSUES).text)
            told = clean.find(ISSUES).text
        assert all(model["name"] in told for model in named)
        assert "invalid" not in dialog.text.lower()
    else:
        assert messages == []
        assert clean.console() == []
    shown = json.loads(file.read_text())
    assert {node["id"] for node in clean.graph()["nodes"]} == {node["id"] for node in shown["nodes"]}


def test_no_title_is_cut(clean: Editor) -> None:
    """On the canvas; Nodes 2.0 ends a long one with dots. `test_layouts.py` has the rest of how they lie."""
    if clean.rendering != "canvas":
        pytest.skip("the page's own elements draw titles")
    for file in WORKFLOWS:
        clean.open_file(file)
        clean.forget()
        assert [node["title"] for node in clean.script(TITLES) if not node["fits"]] == [], file.stem


def test_a_picture_that_was_saved_before_it_took_a_mask_has_its_own(clean: Editor) -> None:
    """Such a file has the upload button's value, `image`, where the mask's is now: it means the image's own."""
    clean.open_file(next(file for file in WORKFLOWS if file.stem == "inpainting"))
    (picture,) = [node for node in clean.prompt().values() if node["class_type"] == "CascadePicture"]
    assert picture["inputs"] == {"image": "heart and a hole (built-in)", "mask": "image"}


def test_templates_are_found_by_their_pictures(clean: Editor, shots: Path) -> None:
    clean.click('.templates-tab-button, [data-testid="templates-tab-button"]')
    clean.wait("our entry in the list", lambda: option(clean, PACK)).click()
    for file in WORKFLOWS:
        card = clean.find(f'[data-testid="template-workflow-{file.stem}"]')
        assert file.stem.replace("_", " ").lower() in card.text.replace("_", " ").lower()
        clean.wait(
            f"the thumbnail of {file.stem}",
            lambda card=card: clean.driver.execute_script(THUMBNAIL, card),
        )
    clean.screenshot(shots / f"templates_{clean.rendering}.png")
    clean.wait_for_graph(lambda: clean.click(f'[data-testid="template-workflow-{TEXT_TO_IMAGE.stem}"] img'))
    assert len(clean.messages()) == 1  # the browser of templates itself
    # The list and the thumbnails of the editor's own templates are packages that a ComfyUI may be without.
    its_own = f"{clean.url}/templates/", "Error loading core workflow templates"
    assert [line for line in clean.console() if not any(part in line for part in its_own)] == []
    assert len(clean.graph()["nodes"]) == len(json.loads(TEXT_TO_IMAGE.read_text())["nodes"])


def option(editor: Editor, text: str) -> Any:
    return editor.driver.execute_script(OPTION, text)


def test_run_by_its_button_and_open_the_picture_again(clean: Editor, comfyui: ComfyUI, shots: Path) -> None:
    name = f"from_the_button_{clean.rendering}"
    clean.open_file(TEXT_TO_IMAGE)
    clean.script(
        "for (const [title, name, value] of arguments[0])"
        " app.graph.nodes.find(node => node.getTitle() === title).widgets.find(w => w.name === name).value = value",
        [
            ["Stage C", "seed", 21 + RENDERINGS.index(clean.rendering)],  # one that this server has not made
            ["Stage C", "steps", 40],
            ["Stage B", "steps", 20],
            ["Picture out", "filename_prefix", name],
        ],
    )
    before = clean.graph()
    clean.script(LOOK)
    clean.press_run()
    shot = None
    picture = "return app.graph.nodes.find(node => node.getTitle() === 'Picture out').imgs?.[0]?.src ?? ''"
    deadline = time.monotonic() + 120
    while name not in clean.script(picture):
        assert time.monotonic() < deadline, clean.messages()
        if shot is None and clean.script(SEEN)["previews"].get("CascadeStageCSampler", 0) > 5:
            shot = clean.screenshot(shots / f"running_{clean.rendering}.png")
    time.sleep(1)
    clean.screenshot(shots / f"finished_{clean.rendering}.png")

    seen = clean.script(SEEN)
    print(f"seen in the browser: {seen}")
    assert seen["progress"]["CascadeStageCSampler"] > 5 and seen["progress"]["CascadeStageBSampler"] > 2
    assert seen["previews"]["CascadeStageCSampler"] > 5
    if clean.rendering == "nodes2":
        assert seen["shown"]["CascadeStageCSampler"] > 5 and seen["shown"]["SaveImage"] > 0
    assert clean.messages() == [] and clean.console() == []

    (file,) = comfyui.output.glob(f"{name}_*.png")
    clean.drop_picture(file)
    clean.screenshot(shots / f"reopened_{clean.rendering}.png")
    after = clean.graph()
    for key in ("nodes", "links", "groups"):
        assert after[key] == before[key]
    assert clean.messages() == [] and clean.console() == []


def test_our_sockets_have_colours_of_their_own(clean: Editor) -> None:
    clean.open_file(TEXT_TO_IMAGE)
    types = {slot["type"] for node in clean.graph()["nodes"] for slot in [*node["inputs"], *node["outputs"]]}
    ours = sorted(kind for kind in types if kind.startswith("CASCADE_"))
    of_sockets, of_links = clean.script(
        "return [app.canvas.default_connection_color_byType, app.canvas.constructor.link_type_colors]"
        ".map(table => arguments[0].map(type => table[type] ?? ''))",
        ours,
    )
    assert of_sockets == of_links
    assert len(ours) >= 4 and len(set(of_sockets)) == len(ours)
    assert all(colour.startswith("#") for colour in of_sockets)


def test_help_of_a_node_is_our_page(clean: Editor, shots: Path) -> None:
    clean.open_file(TEXT_TO_IMAGE)
    clean.click_node("Stage C")
    clean.click('[data-testid="info-button"]')
    page = clean.find(HELP)
    clean.screenshot(shots / f"help_{clean.rendering}.png")
    text = (ROOT / "web" / "docs" / "CascadeStageCSampler.md").read_text()
    headings = [line.lstrip("# ") for line in text.splitlines() if line.startswith("##")]
    assert len(headings) > 2 and all(heading in page.text for heading in headings)
    clean.click('[data-testid="info-button"]')
    assert clean.messages() == []
    assert all("/en.md - Failed to load" in line for line in clean.console())  # a translated page is tried first
