"""The editor in other languages: nodes and inputs are named in it, and workflows stay what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import shipped
from stable_cascade_nodes.recipes import languages

from .browser import Editor
from .conftest import OpenEditor
from .server import ComfyUI

SETTING = "Comfy.Locale"
# Every node of ours on an empty canvas, with its title and the labels of its sockets and widgets.
ALL_NODES = """
app.graph.clear();
const made = {};
for (const [place, type] of arguments[0].entries()) {
  const node = window.LiteGraph.createNode(type);
  app.graph.add(node);
  node.pos = [(place % 8) * 420, Math.floor(place / 8) * 700];
  made[type] = {
    title: node.title,
    inputs: Object.fromEntries(node.inputs.map(slot => [slot.name, slot.label ?? slot.localized_name])),
    widgets: Object.fromEntries((node.widgets ?? []).map(widget => [widget.name, widget.label ?? widget.name])),
    outputs: node.outputs.map(slot => slot.label ?? slot.localized_name),
  };
}
return made;
"""


@pytest.fixture(scope="module")
def spoken(open_editor: OpenEditor, comfyui: ComfyUI) -> Iterator[Any]:
    """A function that sets the editor's language and opens it anew, all in one tab; English again in the end."""
    with open_editor() as editor:

        def speak(language: str) -> Editor:
            comfyui.fetch(f"/settings/{SETTING}", language)
            editor.open()
            return editor

        yield speak
    comfyui.fetch(f"/settings/{SETTING}", "en")


def test_the_server_hands_out_what_the_pack_says(comfyui: ComfyUI) -> None:
    said = comfyui.get("/i18n")
    for language in languages.LANGUAGES:
        main, node_defs = (json.loads(text) for _, text in sorted(languages.files(language).items()))
        assert node_defs.items() <= said[language]["nodeDefs"].items()
        assert main["nodeCategories"].items() <= said[language]["nodeCategories"].items()


@pytest.mark.parametrize("language", ["zh", "ja", "fr", "es", "de"])
def test_nodes_speak_the_language(spoken: Any, language: str, shots: Path) -> None:
    editor: Editor = spoken(language)
    editor.forget()
    made = editor.script(ALL_NODES, list(NODE_CLASS_MAPPINGS))
    editor.screenshot(shots / f"all_nodes_{language}.png")
    said = json.loads(languages.files(language)["nodeDefs.json"])
    if language == "de" and made["CascadePicture"]["title"] == NODE_DISPLAY_NAME_MAPPINGS["CascadePicture"]:
        return  # 1.58.1 offers no German, and takes English for it
    for id, node in made.items():
        assert node["title"] == said[id]["display_name"]
        named = {name: slot["name"] for name, slot in said[id]["inputs"].items()}
        assert {name: label for name, label in node["inputs"].items() if name in named} == named
        assert node["outputs"] == [slot["name"] for slot in said[id]["outputs"].values()]
        assert all(label == named[name] for name, label in node["widgets"].items() if name in named)
    assert editor.messages() == []
    assert [line for line in editor.console() if "/view?" not in line] == []  # how pictures show is another test's


@pytest.fixture(scope="module")
def opened(spoken: Any, shots: Path) -> dict[str, list[tuple[Any, Any]]]:
    """Of each shipped workflow by its name: what is saved and what is queued, in English and in Chinese."""
    found: dict[str, list[tuple[Any, Any]]] = {name: [] for name in shipped.names()}
    for language in ("en", "zh"):
        editor: Editor = spoken(language)
        for name, seen in found.items():
            editor.open_file(shipped.path_of(name))
            editor.screenshot(shots / f"{name}_{language}.png")
            document = editor.script("return (await app.graphToPrompt()).workflow")
            seen.append(({key: document[key] for key in ("nodes", "links", "groups")}, editor.prompt()))
            editor.forget()
    return found


@pytest.mark.parametrize("name", shipped.names())
def test_a_workflow_is_the_same_in_every_language(opened: dict[str, list[tuple[Any, Any]]], name: str) -> None:
    """What is saved, and what is queued; of that, as of ComfyUI's own nodes, titles that nobody gave are translated."""
    (saved, prompt), (saved_abroad, prompt_abroad) = opened[name]
    assert saved_abroad == saved
    titles = [{id: node.pop("_meta")["title"] for id, node in each.items()} for each in (prompt, prompt_abroad)]
    assert prompt_abroad == prompt
    given = {str(node["id"]): node["title"] for node in saved["nodes"] if "title" in node}
    assert given and all(title == given.get(id, title) for each in titles for id, title in each.items())


def test_what_a_translated_editor_made_takes_values_by_title(
    spoken: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The titles that the shipped workflows promise, in the file and in the prompt of another language's editor."""
    editor: Editor = spoken("zh")
    editor.open_file(shipped.path_of("text_to_image"))
    made = {"file": editor.script("return (await app.graphToPrompt()).workflow"), "prompt": editor.prompt()}
    for name, document in made.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        assert main(["export", str(path), "--set", "Prompt.text=a red star", "--size", "320x256"]) == 0
        prompt = json.loads(capsys.readouterr().out)
        inputs = {node["_meta"]["title"]: node["inputs"] for node in prompt.values()}
        assert inputs["Prompt"]["text"] == "a red star" and inputs["Size"]["width"] == 320
