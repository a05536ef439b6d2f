"""For every tab: the picture is, byte for byte, what `cascade run` makes. Run: pytest tests/app/test_equality.py"""

from __future__ import annotations

import json
import shlex
import sys
import uuid
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes.app.messages import NOTHING_PAINTED
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import graph, node_classes, requirements, shipped, workflow_file

from .client import Client
from .conftest import SHIPPED, Server

OWN = {"my_own_way", "quick_training"}
QUICK = {"steps": 2, "max_steps": 2, "keep_count": 2}


def tabs() -> list[str]:
    return sorted(set(shipped.names()) | OWN)


@pytest.mark.parametrize("tab", tabs())
def test_a_tab_makes_what_the_command_makes(
    server: Server, nodes: node_classes.Nodes, tab: str, new_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = server.place / "workflows" / f"{tab}.json"
    if missing := missing_files(workflow, nodes):
        pytest.skip(f"needs {', '.join(missing)}")
    client = Client(server)
    places = client.button(tab).places
    changes: dict[tuple[str, str], Any] = {place: QUICK[place[1]] for place in places if place[1] in QUICK}
    changes |= {place: "77" for place in places if place[1] == "seed"}
    models = server.place / "models"
    before, own = set(server.output.rglob("*.png")), set(models.rglob("*.safetensors"))
    end, told = client.run(tab, changes)
    assert end["success"], end
    assert "Done in" in told, told[-3000:]
    made = set(server.output.rglob("*.png")) - before
    for file in set(models.rglob("*.safetensors")) - own:
        file.unlink()  # with another output folder it is another training, which would not replace the file
    monkeypatch.chdir(server.place)
    settings = [word for (node, name), value in changes.items() for word in ("--set", f"{node}.{name}={value}")]
    assert main(["run", str(workflow), *settings, "--output", str(new_program)]) == 0
    expected = set(new_program.rglob("*.png"))
    assert made and sorted(path.read_bytes() for path in made) == sorted(path.read_bytes() for path in expected)


def missing_files(workflow: Path, nodes: node_classes.Nodes) -> list[str]:
    """Such as the published models, which nobody downloads for a test."""
    document = workflow_file.read(workflow)
    prompt = graph.convert(document, graph.definitions(nodes.classes), nodes.names).prompt
    return [file.name for file in requirements.files_of(prompt, document, nodes) if not file.is_fine]


def seed_of(path: Path) -> int:
    """Of the first sampler, as a picture carries it."""
    nodes: list[dict[str, Any]] = workflow_file.read(path)["nodes"]
    return next(int(node["widgets_values"][0]) for node in nodes if "Sampler" in node["type"])


def test_four_pictures_are_the_pictures_of_a_batch_of_four(server: Server) -> None:
    client = Client(server)
    (size,) = [place for place in client.button("text_to_image").places if place[1] == "batch_size"]
    quick = {place: 1 for place in client.button("text_to_image").places if place[1] == "steps"}
    quick |= {place: "5" for place in client.button("text_to_image").places if place[1] == "seed"}
    before = set(server.output.rglob("*.png"))
    end, _ = client.run("text_to_image", {**quick, ("", "number"): 4})
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
    assert (
        end["success"]
        and "model files are not here, 11.8 GB in all" in told
        and f"--models {server.place / 'models'}" in told
    )
    verdicts = [part["props"].get("value") for part in server.config["components"] if part["type"] == "html"]
    (verdict,) = [text for text in verdicts if text and "stage_c_bf16.safetensors" in text]
    assert "5 model files are not here, 11.8 GB in all" in verdict and "is missing" in verdict
    texts = [part["props"].get("value") for part in server.config["components"] if part["type"] == "textbox"]
    (command,) = [text for text in texts if text and "download" in text]
    asked = ["download", "essential", "big-big", "--text-encoder", "--models", str(server.place / "models")]
    assert shlex.split(command) == [sys.executable, str(SHIPPED.parent), *asked]


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


def photo(name: str, hole: bool = False) -> bytes:
    """A disc on grey, 640 x 400; with a hole it is the disc that is transparent."""
    down, across = np.mgrid[-1:1:400j, -1.6:1.6:640j]
    disc = down**2 + across**2 < 0.2
    picture = Image.fromarray(np.where(disc, 230, 90).astype(np.uint8)).convert("RGB")
    if hole:
        picture.putalpha(Image.fromarray(np.where(disc, 0, 255).astype(np.uint8)))
    data = BytesIO()
    picture.save(data, Image.registered_extensions()[Path(name).suffix])
    return data.getvalue()


@pytest.mark.parametrize(
    ("tab", "name", "mask", "size"),
    [
        ("image_to_image", "photo.jpg", "", (320, 200)),
        ("inpainting", "holed.png", "", (640, 400)),
        ("inpainting", "photo.jpg", "white.png", (640, 400)),
        ("inpainting", "photo.jpg", "", None),
    ],
)
def test_a_photo_of_ones_own_is_fitted(
    server: Server, tab: str, name: str, mask: str, size: tuple[int, int] | None
) -> None:
    client = Client(server)
    places = client.button(tab).places
    changes: dict[tuple[str, str], Any] = {place: QUICK[place[1]] for place in places if place[1] in QUICK}
    (place,) = [place for place in places if place[1] == "image"]
    session = uuid.uuid4().hex  # one page

    def bring(place: tuple[str, str], name: str, content: bytes) -> None:
        (path,) = json.loads(client.upload(name, content).text)
        file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        end = client.call(client.bringer(tab, place).number, [file], session)
        changes[place] = end["output"]["data"][0]["value"]

    bring(place, name, photo(name, hole="holed" in name))
    if mask:
        bring((place[0], "mask"), mask, photo(mask))
    before = set(server.output.rglob("*.png"))
    _, told = client.run(tab, changes, session=session)
    made = set(server.output.rglob("*.png")) - before
    if size is None:
        assert not made and NOTHING_PAINTED in told
        return
    assert "Done in" in told, told[-3000:]
    (path,) = made
    with Image.open(path) as picture:
        assert picture.size == size
