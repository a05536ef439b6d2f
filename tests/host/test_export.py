"""Our conversion against the editor's own, asked in a real browser: graphToPrompt on the same documents.

Compared are class, inputs and title of every node whose type the server knows; of an unknown one the editor itself
does not know what to send. Run with -s to see the misses and how many nodes were compared.

Which editor it is tells the server: those of today's ComfyUI (0.33 with 1.58) say more of their nodes than that of the
time of 1.27. Another editor than the installed one: COMFYUI_FRONT_END, the `static` folder of its package.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.headless import graph, shipped

from ..headless.graph import newest_probes, probes
from .browser import Editor
from .conftest import OpenEditor
from .lanes import Lane
from .server import ComfyUI

ROOT = Path(stable_cascade_nodes.__file__).parent
LEVEL = 0.95  # of the templates for the old editor, and of their nodes for the newest
PROBES = ROOT / "tests" / "headless" / "graph"

# What these show without a file's value comes from folders as they are just now, from a camera or a canvas.
ALIVE = {
    *("LoadImage", "LoadImageMask", "LoadImageOutput", "LoadVideo", "LoadImageSetFromFolderNode"),
    *("LoadImageTextSetFromFolderNode", "WebcamCapture", "Load3D", "Load3DAnimation"),
}

# What only the editor's view of a scene knows: where its camera stands, and the pictures that it takes just then.
VIEWS = {
    *("Load3D", "Load3DAdvanced", "Preview3DAdvanced", "Save3DAdvanced", "PreviewGaussianSplat", "SaveGaussianSplat"),
    *("PreviewPointCloud", "SavePointCloud"),
}

# Some slots get their type in the frame after a graph is opened.
CONVERT = """
const quiet = {showMissingNodesDialog: false, showMissingModelsDialog: false, deferWarnings: true};
await app.loadGraphData(arguments[0], true, true, null, quiet);
await new Promise(done => requestAnimationFrame(() => setTimeout(done, 60)));
return (await app.graphToPrompt()).output;
"""


# A document with curves cannot be opened by a script: as a file it can.
OPENED_AS_FILES = {"basic_image_color_adjustment.json"}
OPEN_AND_CONVERT = """
await app.handleFile(new File([JSON.stringify(arguments[0])], 'opened.json', {type: 'application/json'}));
await new Promise(done => setTimeout(done, 1500));
return (await app.graphToPrompt()).output;
"""
SAMPLE = 250  # templates: all that 0.3.64 names, and two in five of the 644 that 0.33.0 does
FILES_A_TAB = 40
UNEXPLAINED = "unexplained"


@pytest.fixture(scope="module")
def info(comfyui: ComfyUI) -> dict[str, Any]:
    return comfyui.object_info()


def is_newest(info: dict[str, Any]) -> bool:
    return all("has_intermediate_output" in entry for entry in info.values())


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


def test_shipped_workflows(editor: Editor, info: dict[str, Any]) -> None:
    misses: dict[str, list[str]] = {}
    for file in shipped.files():
        document = json.loads(file.read_text())
        found = theirs(editor, document, info)
        assert found.keys() == graph.convert(document, *graph.read_object_info(info)).prompt.keys()  # all are known
        misses[file.name] = differences(ours(document, info), found)
    assert len(misses) > 10 and not any(misses.values()), misses


def test_probes(editor: Editor, info: dict[str, Any]) -> None:
    """What the recorded answers say that the editor gave, it gives."""
    file = PROBES / ("newest_probes.json" if is_newest(info) else "probes.json")
    expected = json.loads(file.read_text())
    probed = {**probes.PROBES, **newest_probes.NEWEST}
    assert expected and expected.keys() <= probed.keys()
    misses = {name: differences(answer, theirs(editor, probed[name](), info)) for name, answer in expected.items()}
    assert not any(misses.values()), {name: lines for name, lines in misses.items() if lines}


def test_every_class_on_its_own(editor: Editor, info: dict[str, Any]) -> None:
    """Widgets, their defaults and slots of every node class, in the editor's order."""
    nodes = [{"id": i, "type": name, "pos": [0, 0], "size": [9, 9]} for i, name in enumerate(sorted(info), 1)]
    for entry in nodes:
        entry |= {"flags": {}, "order": entry["id"], "mode": 0, "properties": {}}
    nodes = [entry for entry in nodes if entry["type"] not in (ALIVE | VIEWS if is_newest(info) else ALIVE)]
    document = {"last_node_id": len(info), "last_link_id": 0, "nodes": nodes, "links": [], "version": 0.4}
    assert differences(ours(document, info), theirs(editor, document, info)) == []


@pytest.mark.parametrize("rendering", ["canvas"], indirect=True)  # the way of drawing is no part of a conversion
def test_templates(lane: Lane, open_editor: OpenEditor, info: dict[str, Any]) -> None:
    """For the newest editor each miss has a known cause: printed are all, with the count of documents."""
    files = templates(lane)
    misses: dict[str, list[str]] = {}
    causes: Counter[str] = Counter()
    nodes = missed = unknown = 0
    for file, document, prompt in converted(open_editor, files):
        found = known(prompt, info)
        nodes += len(found)
        unknown += len(prompt) - len(found)
        try:
            made = ours(document, info)
        except graph.WorkflowError as error:
            is_choice = "with what it brings" in str(error)
            misses[file.name] = (
                [f"refused, a choice that this ComfyUI does not have: {error}"] if is_choice else [UNEXPLAINED]
            )
            missed += len(found)
        else:
            differ = [key for key in made.keys() | found.keys() if differences_at(key, made, found)]
            missed += len(differ)
            if differ:
                told = {cause_of(made.get(key), found.get(key), info) for key in differ}
                misses[file.name] = [*sorted(told), *differences(made, found)]
        causes.update({line.partition(":")[0] for line in misses.get(file.name, []) if not line.startswith("node ")})
    print(f"\n{len(files) - len(misses)} of {len(files)} templates as the editor has them; {nodes - missed} of {nodes}")
    print(f"nodes ({unknown} of types that the server does not know left out); documents by cause: {dict(causes)}")
    for name, lines in misses.items():
        print("\n  ".join([name, *lines]))
    if is_newest(info):
        assert nodes - missed >= LEVEL * nodes and not causes[UNEXPLAINED]
    else:
        assert len(files) - len(misses) >= LEVEL * len(files)


def converted(open_editor: OpenEditor, files: list[Path]) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Each file, its document and the editor's prompt of it; a tab for a few, since a tab keeps what it opened."""
    for start in range(0, len(files), FILES_A_TAB):
        with open_editor() as editor:
            for file in files[start : start + FILES_A_TAB]:
                document = json.loads(file.read_text())
                script = CONVERT if file.name not in OPENED_AS_FILES else OPEN_AND_CONVERT
                yield file, document, editor.script(script, document)


def differences_at(key: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    return json.dumps(one.get(key), sort_keys=True) != json.dumps(other.get(key), sort_keys=True)


def cause_of(mine: Any, their: Any, info: dict[str, Any]) -> str:
    """The known cause of a difference between two nodes, or UNEXPLAINED."""
    if mine is None or their is None or any(mine[key] != their[key] for key in ("class_type", "title")):
        return UNEXPLAINED
    definition = graph.read_object_info({mine["class_type"]: info[mine["class_type"]]})[0][mine["class_type"]]
    entries = graph.inputs_of(definition, mine["inputs"])
    combos = [entry for entry in entries.values() if entry.type == "COMFY_DYNAMICCOMBO_V3"]
    if any(mine["inputs"].get(entry.name) not in (entry.choices or ()) for entry in combos):
        return "a choice that this ComfyUI does not have, whose values the editor takes from wrong places"
    one, other = mine["inputs"], their["inputs"]
    differ = [name for name in one.keys() | other.keys() if differences_at(name, one, other)]
    if mine["class_type"] in VIEWS and all(isinstance(other.get(name), dict) for name in differ):
        return "what only the editor's view of a scene knows"
    if all(name not in other and isinstance(one[name], list) for name in differ):
        return "a link of the file that the editor loses"
    return UNEXPLAINED


def templates(lane: Lane) -> list[Path]:
    """Workflows of the package that this ComfyUI's requirements name: SAMPLE of them, or all where COMFYUI_ALL is set.

    Drawn by a fixed seed, so that the same are asked each time.
    """
    code = (
        "import importlib.util as u\n"
        "for name in ('comfyui_workflow_templates_json', 'comfyui_workflow_templates'):\n"
        "    spec = u.find_spec(name)\n"
        "    print(*(spec.submodule_search_locations if spec else []), sep='\\n')"
    )
    answer = subprocess.run([lane.python, "-c", code], capture_output=True, text=True, check=False)
    folders = [Path(line) / "templates" for line in answer.stdout.splitlines() if line]
    found = next((files for folder in folders if (files := sorted(folder.glob("*.json")))), [])
    if not found:
        pytest.skip("comfyui-workflow-templates is not installed beside ComfyUI")
    lists = ("index", "fuse_options")  # of the template browser
    found = [file for file in found if not file.name.startswith(lists)]
    return found if os.environ.get("COMFYUI_ALL") else sorted(random.Random(0).sample(found, min(SAMPLE, len(found))))
