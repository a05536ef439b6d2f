"""Our conversion against the editor's own, asked in a real browser: graphToPrompt on the same documents.

Compared are class, inputs and title of every node whose type the server knows; of an unknown one the editor itself
does not know what to send. Run with -s to see the misses and how many nodes were compared.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.headless import graph

from ..headless.graph import probes
from .browser import Editor
from .server import ComfyUI

ROOT = Path(stable_cascade_nodes.__file__).parent
LEVEL = 0.95  # of the templates; 0.1.95 is the release that ComfyUI 0.3.64 names
PROBES = ROOT / "tests" / "headless" / "graph"

# What these show without a file's value comes from folders as they are just now, from a camera or a canvas.
ALIVE = {
    *("LoadImage", "LoadImageMask", "LoadImageOutput", "LoadVideo", "LoadImageSetFromFolderNode"),
    *("LoadImageTextSetFromFolderNode", "WebcamCapture", "Load3D", "Load3DAnimation"),
}

CONVERT = """
const quiet = {showMissingNodesDialog: false, showMissingModelsDialog: false};
await app.loadGraphData(arguments[0], true, true, null, quiet);
return (await app.graphToPrompt()).output;
"""


@pytest.fixture(scope="module")
def info(comfyui: ComfyUI, editor: Editor) -> Iterator[dict[str, Any]]:
    yield comfyui.object_info()
    editor.open()  # the dialogs and half-opened graphs of these tests are no business of the next ones


def theirs(editor: Editor, document: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    return known(editor.script(CONVERT, document), info)


def ours(document: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    prompt = graph.convert(document, *graph.read_object_info(info)).prompt
    return known(json.loads(json.dumps(prompt)), info)


def known(prompt: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    return {key: entry for key, entry in probes.plain(prompt).items() if entry["class_type"] in info}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [
        f"node {key}: ours {json.dumps(one.get(key))[:300]}, the editor's {json.dumps(other.get(key))[:300]}"
        for key in sorted(one.keys() | other.keys())
        if json.dumps(one.get(key), sort_keys=True) != json.dumps(other.get(key), sort_keys=True)
    ]


@pytest.mark.parametrize("file", sorted((ROOT / "workflows").glob("*.json")), ids=lambda file: file.stem)
def test_shipped_workflows(editor: Editor, info: dict[str, Any], file: Path) -> None:
    document = json.loads(file.read_text())
    found = theirs(editor, document, info)
    assert found.keys() == graph.convert(document, *graph.read_object_info(info)).prompt.keys()  # all are known
    assert differences(ours(document, info), found) == []


@pytest.mark.parametrize("name", probes.PROBES)
def test_probes(editor: Editor, info: dict[str, Any], name: str) -> None:
    """What tests/graph/probes.json says the editor gave, it gives."""
    expected = json.loads((PROBES / "probes.json").read_text())[name]
    assert differences(expected, theirs(editor, probes.PROBES[name](), info)) == []


def test_every_class_on_its_own(editor: Editor, info: dict[str, Any]) -> None:
    """Widgets, their defaults and slots of every node class, in the editor's order."""
    nodes = [{"id": i, "type": name, "pos": [0, 0], "size": [9, 9]} for i, name in enumerate(sorted(info), 1)]
    for entry in nodes:
        entry |= {"flags": {}, "order": entry["id"], "mode": 0, "properties": {}}
    nodes = [entry for entry in nodes if entry["type"] not in ALIVE]
    document = {"last_node_id": len(info), "last_link_id": 0, "nodes": nodes, "links": [], "version": 0.4}
    assert differences(ours(document, info), theirs(editor, document, info)) == []


def test_templates(editor: Editor, info: dict[str, Any]) -> None:
    files = templates()
    misses: dict[str, list[str]] = {}
    nodes = unknown = 0
    for file in files:
        document = json.loads(file.read_text())
        prompt = editor.script(CONVERT, document)
        found = known(prompt, info)
        nodes += len(found)
        unknown += len(prompt) - len(found)
        try:
            missed = differences(ours(document, info), found)
        except graph.WorkflowError as error:
            missed = [str(error)]
        if missed:
            misses[file.name] = missed
    print(f"\n{len(files) - len(misses)} of {len(files)} templates as the editor has them ({nodes} nodes; {unknown} of")
    print("types that the server does not know left out)")
    for name, missed in misses.items():
        print("\n  ".join([name, *missed]))
    assert len(files) - len(misses) >= LEVEL * len(files)


def templates() -> list[Path]:
    """The workflows of the package that this ComfyUI's requirements name."""
    code = "import comfyui_workflow_templates as package; print(package.__path__[0])"
    answer = subprocess.run([os.environ["COMFYUI_PYTHON"], "-c", code], capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip("comfyui-workflow-templates is not installed beside ComfyUI")
    found = sorted(Path(answer.stdout.strip()).glob("templates/*.json"))
    return [file for file in found if not file.name.startswith("index")]  # the lists of the template browser
