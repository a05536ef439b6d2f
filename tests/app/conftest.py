"""The app without a page, and as a server of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.headless import node_classes, shipped, workflow_file
from stable_cascade_nodes.runtime import host

from .browser import browser_paths

collect_ignore_glob = [] if find_spec("gradio") else ["test_*.py"]  # without the extra `app` there is nothing to test

SHIPPED = Path(stable_cascade_nodes.__file__).parent / "workflows"


@pytest.fixture
def place(new_program: Path) -> Path:
    """A folder with `input`, `output` and `outside` in it, which are the nodes' folders but for the last."""
    for name in ("input", "output", "outside"):
        (new_program / name).mkdir()
    host.configure(input=new_program / "input", output=new_program / "output")
    return new_program


@pytest.fixture(scope="session")
def nodes() -> node_classes.Nodes:
    return node_classes.load()


def two_prompts() -> dict[str, Any]:
    """text_to_image with titles of its own, and with its second prompt as one that the picture follows too."""
    document = workflow_file.read(SHIPPED / "text_to_image.json")
    titles = {6: "What is seen", 7: "What is not seen", 8: "How large", 9: "First stage", 10: "Second stage"}
    for node in document["nodes"]:
        node["title"] = titles.get(node["id"], node.get("title"))
    return document


def quick_training() -> dict[str, Any]:
    """A training of a few steps, as an API prompt."""

    def node(kind: str, title: str = "", **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}

    tiny = {"model_name": "tiny (built-in)"}
    models = {"stage_c": ["1", 0], "text_encoder": ["2", 0], "effnet": ["3", 0], "previewer": ["4", 0]}
    learning = {"size": 192, "steps": 4, "batch_size": 2, "learning_rate": 0.001, "rank": 4, "alpha": 1.0}
    samples = {"prompts": "a [zig] on a white background", "sample_every": 2, "seed": 1}
    return {
        "1": node("CascadeStageCLoader", **tiny, dtype="auto"),
        "2": node("CascadeTextEncoderLoader", **tiny),
        "3": node("CascadeEffnetLoader", **tiny),
        "4": node("CascadePreviewerLoader", **tiny),
        "5": node("CascadeDataset", "Dataset", folder="tiny zig (built-in)", caption=""),
        "6": node(
            "CascadeLoRATrain", "Training", name="quick", dataset=["5", 0], tokens="[zig]=^star$", **models, **learning,
            **samples,
        ),
    }  # fmt: skip


@dataclass
class Server:
    """A running `cascade app`."""

    url: str
    place: Path  # with `input` and `output`, in which it was started
    config: dict[str, Any]
    process: subprocess.Popen[str]
    temporary: Path  # where the system's temporary files of it are

    @property
    def input(self) -> Path:
        return self.place / "input"

    @property
    def output(self) -> Path:
        return self.place / "output"


def launch(place: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """`cascade app` in a folder; what it says of itself goes into `log`."""
    command = [sys.executable, str(SHIPPED.parent), "app", "--port", "0", *map(str, arguments)]
    temporary_of(place).mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary_of(place))}
    with (place / "log").open("w", encoding="utf-8") as log:
        return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)


def temporary_of(place: Path) -> Path:
    return place.with_name(f"{place.name}_temporary")


def reach(process: subprocess.Popen[str], place: Path) -> Server:
    """The server, as soon as it answers."""
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), (place / "log").read_text("utf-8")
    with urllib.request.urlopen(f"{url}/config", timeout=120) as answer:
        config = json.load(answer)
    return Server(url, place, config, process, temporary_of(place))


@contextmanager
def running(place: Path, *arguments: str | Path) -> Iterator[Server]:
    """`cascade app` in a folder, until the end of the block; it must live till then."""
    process = launch(place, *arguments)
    try:
        yield reach(process, place)
        assert process.poll() is None, (place / "log").read_text("utf-8")
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The shipped workflows and one more, with a title and prompts of its own, put into the folder."""
    place = tmp_path_factory.mktemp("app")
    for name in ("input", "output", "workflows"):
        (place / name).mkdir()
    for path in shipped.files():
        (place / "workflows" / path.name).write_bytes(path.read_bytes())
    (place / "workflows" / "my_own_way.json").write_text(json.dumps(two_prompts()), "utf-8")
    (place / "workflows" / "quick_training.json").write_text(json.dumps(quick_training()), "utf-8")
    with running(place, "--workflows", place / "workflows") as started:
        yield started


def wait_for(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def browser() -> tuple[str, str]:
    found = browser_paths()
    if found is None:
        pytest.skip("needs chromium and chromedriver on the PATH")
    return found
