"""Blueprints run: what is inside makes the picture that the plain workflow makes, to the byte."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import shipped
from stable_cascade_nodes.recipes.workflows.__main__ import SUBGRAPHS
from stable_cascade_nodes.recipes.workflows.blueprints import BLUEPRINTS


def as_workflow(blueprint: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """A blueprint's node between the plain workflow's picture, where it has one, and its SaveImage."""
    document = copy.deepcopy(blueprint)
    (node,) = document["nodes"]
    outside = [n for n in plain["nodes"] if n["type"] == "CascadePicture" or n.get("title") == "Picture out"]
    outside = copy.deepcopy(outside)
    for each in outside:
        each["id"] += 100
        for slot in each["outputs"]:
            slot["links"] = []
    links = document["links"]

    def link(source: dict[str, Any], slot: int, target: dict[str, Any], target_slot: int) -> None:
        number = len(links) + 1
        kind = source["outputs"][slot]["type"]
        links.append([number, source["id"], slot, target["id"], target_slot, kind])
        source["outputs"][slot]["links"].append(number)
        target["inputs"][target_slot]["link"] = number

    for each in outside:
        if each["type"] == "SaveImage":
            link(node, 0, each, 0)
            continue
        for place, slot in enumerate(node["inputs"]):
            if slot["name"] in ("picture", "mask"):
                link(each, ["picture", "mask"].index(slot["name"]), node, place)
    document["nodes"] += outside
    document |= {"last_node_id": 200, "last_link_id": len(links)}
    return document


def pixels(workflow: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    from PIL import Image

    monkeypatch.chdir(workflow.parent)
    assert main(["run", str(workflow), "--output", str(output)]) == 0
    (file,) = output.glob("*.png")
    with Image.open(file) as picture:
        return picture.tobytes()


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_it_makes_the_plain_workflows_picture(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = json.loads(shipped.path_of(name).read_text(encoding="utf-8"))
    blueprint = json.loads((SUBGRAPHS / f"{BLUEPRINTS[name].name}.json").read_text(encoding="utf-8"))
    files = {"plain": plain, "wrapped": as_workflow(blueprint, plain)}
    made = []
    for kind, document in files.items():
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        made.append(pixels(path, tmp_path / kind, monkeypatch))
    assert made[0] == made[1] and len(made[0]) >= 3 * 256 * 256
