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
from .server import ComfyUI

SETTING = "Comfy.Locale"
TEXT_TO_IMAGE = shipped.FOLDER / "text_to_image.json"
# Every node of ours on an empty canvas, with its title and the labels of its sockets and widgets.
ALL_NODES = """
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
def spoken(editor: Editor, comfyui: ComfyUI) -> Iterator[Any]:
    """A function that sets the editor's language and opens it anew; English again in the end."""

    def speak(language: str) -> Editor:
        comfyui.fetch(f"/settings/{SETTING}", language)
        editor.open()
        return editor

    yield speak
    speak("en")


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


@pytest.mark.parametrize("file", sorted(shipped.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_workflow_is_the_same_in_every_language(spoken: Any, file: Path, shots: Path) -> None:
    """What is saved, and what is queued; of that, as of ComfyUI's own nodes, titles that nobody gave are translated."""
    titled = {str(node["id"]) for node in json.loads(file.read_text(encoding="utf-8"))["nodes"] if "title" in node}
    saved, queued, titles = [], [], []
    for language in ("en", "zh"):
        editor: Editor = spoken(language)
        editor.open_file(file)
        editor.screenshot(shots / f"{file.stem}_{language}.png")
        document, prompt = editor.script("return (await app.graphToPrompt()).workflow"), editor.prompt()
        saved.append({key: document[key] for key in ("nodes", "links", "groups")})
        titles.append({id: node.pop("_meta")["title"] for id, node in prompt.items()})
        queued.append(prompt)
    assert saved[0] == saved[1]
    assert queued[0] == queued[1]
    assert {id: titles[0][id] for id in titled & titles[0].keys()}.items() <= titles[1].items()


def test_what_a_translated_editor_made_takes_values_by_title(
    spoken: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The titles that the shipped workflows promise, in the file and in the prompt of another language's editor."""
    editor: Editor = spoken("zh")
    editor.open_file(TEXT_TO_IMAGE)
    made = {"file": editor.script("return (await app.graphToPrompt()).workflow"), "prompt": editor.prompt()}
    for name, document in made.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        assert main(["export", str(path), "--set", "Prompt.text=a red star", "--size", "320x256"]) == 0
        prompt = json.loads(capsys.readouterr().out)
        inputs = {node["_meta"]["title"]: node["inputs"] for node in prompt.values()}
        assert inputs["Prompt"]["text"] == "a red star" and inputs["Size"]["width"] == 320
