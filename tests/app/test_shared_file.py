"""A shared file is tried with the built-in models. Run: pytest tests/app/test_shared_file.py"""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image

from .. import shared_graphs
from .client import Client
from .conftest import Server

KEY = "the shared file"


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server)


def attempt(client: Client, name: str, content: bytes) -> tuple[dict[str, Any], str]:
    """Bring a file and press the button -> the end, and all that was told on the way."""
    path = json.loads(client.upload(name, content).text)[0]
    event = client.button(KEY, "try")
    file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    reply, session = client.send(event.number, [file])
    assert reply.status == 200, reply
    told = client.listen(session)
    return next(message for message in told if message["msg"] == "process_completed"), json.dumps(told)


def test_a_graph_of_comfyuis_own_nodes_makes_a_picture(client: Client) -> None:
    before = set(client.server.output.iterdir())
    end, told = attempt(client, "theirs.json", json.dumps(shared_graphs.text_to_image()).encode())
    assert end["success"] and "Done in" in told, told
    assert f"built-in models: {shared_graphs.STAGE_C} is now tiny stage_c (built-in)" in told
    assert "built-in sizes: 1024 x 1024 is now 256 x 256" in told
    assert " run theirs.json --built-in" in told
    (made,) = set(client.server.output.iterdir()) - before
    with Image.open(made) as picture:
        assert picture.size == (256, 256)
    # The picture carries the workflow that made it, so it is a shared file itself, and makes the same.
    end, told = attempt(client, "again.png", made.read_bytes())
    assert end["success"] and "Nothing has changed since this was made" in told, told


def prompt(changes: dict[str, dict[str, Any]]) -> bytes:
    graph = shared_graphs.text_to_image()
    for node_id, inputs in changes.items():
        graph[node_id]["inputs"] |= inputs
    return json.dumps(graph).encode()


def reading(folder: Any) -> bytes:
    """A workflow that reads a folder, which may come from another node."""
    graph = shared_graphs.text_to_image()
    graph["1"] = shared_graphs.node("CascadeDataset", folder=folder, caption="")
    graph["2"] = shared_graphs.node("PrimitiveStringMultiline", value="/etc" if isinstance(folder, list) else "text")
    return json.dumps(graph).encode()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.json", b"not a workflow", "x.json"),
        ("x.json", b'{"a": 1}', "x.json"),
        ("x.png", b"\x89PNG\r\n\x1a\n", "x.png: expected a picture with a workflow in it, found none"),
        ("x.json", prompt({"9": {"filename_prefix": "../../evil"}}), "inside the app&#x27;s own folders"),
        ("x.json", reading("/etc"), "inside the app&#x27;s own folders, found"),
        ("x.json", reading(["2", 0]), "inside the app&#x27;s own folders, found"),
        ("x.json", prompt({"3": {"sampler_name": "none of them"}}), "Sampler name (KSampler): expected one of"),
    ],
)
def test_what_cannot_be_tried_is_one_sentence(client: Client, name: str, content: bytes, expected: str) -> None:
    end, told = attempt(client, name, content)
    words = end["output"]["data"][0]
    assert end["success"] and expected in words, told
    assert words.count('class="message"') == 1 and "Traceback" not in told
    assert str(client.server.place) not in words and "gradio" not in words
    assert "Done in" not in told
