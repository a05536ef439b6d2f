"""For every tab: the picture is, byte for byte, what `cascade run` makes. Run: pytest tests/app/test_equality.py"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import graph, node_classes, requirements, workflow_file
from stable_cascade_nodes.runtime import host

from .client import Client
from .conftest import SHIPPED, Server

OWN = {"my_own_way", "quick_training"}
QUICK = {"steps": 2, "max_steps": 2}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the server has it: sums depend, in their last bit, on how many threads share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tabs() -> list[str]:
    return sorted({path.stem for path in SHIPPED.glob("*.json")} | OWN)


@pytest.mark.parametrize("tab", tabs())
def test_a_tab_makes_what_the_command_makes(
    server: Server, nodes: node_classes.Nodes, tab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = server.place / "workflows" / f"{tab}.json"
    if missing := missing_files(workflow, nodes):
        pytest.skip(f"needs {', '.join(missing)}")
    client = Client(server)
    places = client.button(tab).places
    changes: dict[tuple[str, str], Any] = {place: QUICK[place[1]] for place in places if place[1] in QUICK}
    changes |= {place: "77" for place in places if place[1] == "seed"}
    before = set(server.output.rglob("*.png"))
    end, told = client.run(tab, changes)
    assert end["success"], end
    assert "Done in" in told, told[-3000:]
    made = set(server.output.rglob("*.png")) - before
    monkeypatch.setattr(host, "_current", None)
    monkeypatch.chdir(server.place)
    settings = [word for (node, name), value in changes.items() for word in ("--set", f"{node}.{name}={value}")]
    assert main(["run", str(workflow), *settings, "--output", str(tmp_path)]) == 0
    expected = set(tmp_path.rglob("*.png"))
    assert made and sorted(path.read_bytes() for path in made) == sorted(path.read_bytes() for path in expected)


def missing_files(workflow: Path, nodes: node_classes.Nodes) -> list[str]:
    """Such as the published models, which nobody downloads for a test."""
    document = graph.read(workflow)
    prompt = graph.convert(document, graph.definitions(nodes.classes), nodes.names).prompt
    return [file.name for file in requirements.files_of(prompt, document, nodes) if not file.is_fine]


def seed_of(path: Path) -> int:
    """Of the first sampler, as a picture carries it."""
    nodes: list[dict[str, Any]] = workflow_file.read(path)["nodes"]
    return next(int(node["widgets_values"][0]) for node in nodes if "Sampler" in node["type"])


def test_make_four_makes_the_pictures_of_a_batch_of_four(server: Server) -> None:
    client = Client(server)
    (size,) = [place for place in client.button("text_to_image").places if place[1] == "batch_size"]
    quick = {place: 1 for place in client.button("text_to_image").places if place[1] == "steps"}
    quick |= {place: "5" for place in client.button("text_to_image").places if place[1] == "seed"}
    before = set(server.output.rglob("*.png"))
    end, _ = client.run("text_to_image", quick, "make-four")
    assert end["success"]
    four = sorted(set(server.output.rglob("*.png")) - before)
    client.run("text_to_image", {**quick, size: 4})
    batch = sorted(set(server.output.rglob("*.png")) - before - set(four))
    assert len(four) == len(batch) == 4
    for one, other in zip(four, batch, strict=True):  # which a batch computes together, so not to the last bit
        difference = np.asarray(Image.open(one), float) - np.asarray(Image.open(other), float)
        assert np.abs(difference).max() <= 2
    assert [seed_of(path) for path in four] == [5, 6, 7, 8]


def test_missing_models_are_told_by_name_and_with_the_command_that_gets_them(server: Server) -> None:
    end, told = Client(server).run("published_models", {})
    assert end["success"] and "There is no Stage C" in told and "cascade download" in told
    verdicts = [part["props"].get("value") for part in server.config["components"] if part["type"] == "html"]
    (verdict,) = [text for text in verdicts if text and "stage_c_bf16.safetensors" in text]
    assert "is missing" in verdict and "cascade download" in verdict
    assert any("All models that this workflow names are here" in (text or "") for text in verdicts)


def test_a_workflow_of_ones_own_has_a_tab_of_its_own(server: Server) -> None:
    parts = server.config["components"]
    titles = [part["props"]["label"] for part in parts if part["type"] == "tabitem"]
    assert "My own way" in titles
    labels = [part["props"].get("label") for part in parts if part["type"] == "textbox"]
    assert labels.count("What is seen") == labels.count("What is not seen") == 1


def test_a_dropped_picture_gives_all_of_its_settings_back(server: Server, tmp_path: Path) -> None:
    client = Client(server)
    changes = {("7", "text"): "a hat", ("9", "steps"): 3, ("9", "seed"): str(2**53 - 1), ("10", "steps"): 1}
    before = set(server.output.rglob("*.png"))
    client.run("text_to_image", changes)
    (made,) = set(server.output.rglob("*.png")) - before
    (path,) = json.loads(client.upload("a picture.png", made.read_bytes()).text)
    restorer = client.restorer()
    file = {"path": path, "orig_name": "a picture.png", "meta": {"_type": "gradio.FileData"}}
    end = client.call(restorer.number, [file])
    assert end["success"], end
    shown = json.dumps(end["output"]["data"])
    assert "Text to image has the settings of a picture.png" in shown
    assert "a hat" in end["output"]["data"] and str(2**53 - 1) in end["output"]["data"], shown[:2000]
