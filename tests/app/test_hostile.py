"""Hostile requests to a running app: nothing outside its folders is read or written, nothing crashes, each is told why.

Run: pytest tests/app/test_hostile.py
"""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .client import Client, Reply
from .conftest import Server

SECRET = "the secret of the house"
UPLOADS = 32 * 2**20


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server)


@pytest.fixture(autouse=True)
def nothing_leaves(server: Server) -> Iterator[None]:
    """A secret beside the folders, which no test of this file may read, and no new file beside them."""
    secret = server.place / "secret.png"
    picture = Image.new("RGB", (8, 8))
    picture.info["note"] = SECRET
    picture.save(secret)
    secret.write_bytes(secret.read_bytes() + SECRET.encode())
    link = server.input / "link.png"
    if not link.is_symlink():
        link.symlink_to(secret)
    before = beside(server.place)
    yield
    assert beside(server.place) == before
    assert Client(server).request("GET", "/theme.css").status == 200  # it lives


def beside(place: Path) -> dict[str, tuple[int, int]]:
    """What lies outside the input and output folders."""
    found = {}
    for folder, _, names in os.walk(place):
        relative = Path(folder).relative_to(place)
        if relative.parts[:1] in (("input",), ("output",)):
            continue
        for name in names:
            state = (Path(folder) / name).stat()
            found[str(relative / name)] = (0, 0) if name == "log" else (state.st_size, state.st_mtime_ns)
    return found


def png(size: tuple[int, int] = (16, 16), kind: str = "PNG") -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, "red").save(written, kind)
    return written.getvalue()


def told(end: dict[str, Any]) -> str:
    return json.dumps(end["output"])


ESCAPES = [
    "../secret.png", "../../secret.png", "../secret.png [input]", "../secret.png [output]", "../secret.png [temp]",
    "..\\secret.png", "/etc/passwd", "{place}/secret.png", "link.png", "app/../../secret.png", "a\0b.png", "~/x.png",
    "C:\\x.png", "http://127.0.0.1:1/x.png", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
def test_a_picture_field_stays_in_its_folders(client: Client, name: str) -> None:
    name = name.replace("{place}", str(client.server.place))
    place = next(place for place in client.button("canny").places if place[1] == "image")
    before = sorted(client.server.output.rglob("*"))
    _, answer = client.run("canny", {place: name})
    assert SECRET not in answer and sorted(client.server.output.rglob("*")) == before
    assert "expected" in answer or "leads out" in answer or "not in the list of choices" in answer, answer[:2000]


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "{place}/evil", "a/../../evil", "..\\evil", "a\0b", "~/evil", ""]
)
def test_a_file_name_to_write_stays_in_its_folder(client: Client, name: str) -> None:
    name = name.replace("{place}", str(client.server.place))
    place = next(place for place in client.button("text_to_image").places if place[1] == "filename_prefix")
    _, answer = client.run("text_to_image", {place: name})
    assert "expected" in answer and "Done in" not in answer


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/passwd", "nothing.safetensors", "link.png"])
def test_a_model_field_takes_only_models(client: Client, name: str) -> None:
    place = next(place for place in client.button("text_to_image").places if place[1] == "model_name")
    _, answer = client.run("text_to_image", {place: name})
    assert "not in the list of choices" in answer or "There is no" in answer
    assert "Done in" not in answer


def brought(client: Client, name: str, content: bytes) -> str:
    """What the page is told of a file that its button of the tab Canny brings."""
    reply = client.upload(name, content)
    if reply.status != 200:
        return reply.text
    (path,) = json.loads(reply.text)
    file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    return told(client.call(client.uploader(0).number, [file]))


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..%2fevil.png", "a\\..\\..\\evil.png"])
def test_an_upload_lands_in_its_own_folder_whatever_its_name(client: Client, name: str) -> None:
    assert '"app/' in brought(client, name, png())
    assert not [*client.server.place.glob("*evil*"), *client.server.input.glob("*evil*")]
    assert not Path("/etc/evil.png").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.png", png(kind="GIF"), "found a picture of the kind GIF"),
        ("x.png", b"#!/bin/sh", "cannot be read as one"),
        ("x.png", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "cannot be read as one"),
        ("x.png", png()[:50], "cannot be read as one"),
        ("x.png", png((9000, 8)), "at most 8192 pixels"),
        ("x.png", b"", "cannot be read as one"),
        ("x.png", b"\0" * (UPLOADS + 1), "maximum allowed size"),
        ("x.png", b"\0" * (UPLOADS + 2**21), "at most 33 MiB"),
    ],
)
def test_an_upload_that_is_no_picture_is_refused(client: Client, name: str, content: bytes, message: str) -> None:
    before = sorted(client.server.input.rglob("*"))
    assert message in brought(client, name, content)
    assert sorted(client.server.input.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.png", png(), "expected a picture with a workflow in it, found none"),
        ("x.json", b"{", "is no JSON"),
        ("x.json", b"[" * 100_000, "nested too deeply"),
        ("x.json", b'{"1": {"class_type": "Evil", "inputs": {}}}', "expected the workflow of one of the tabs"),
    ],
)
def test_a_dropped_file_that_restores_nothing_is_told(client: Client, name: str, content: bytes, message: str) -> None:
    (path,) = json.loads(client.upload(name, content).text)
    file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    answer = told(client.call(client.restorer().number, [file]))
    assert message in answer and str(client.server.place) not in answer


@pytest.mark.parametrize("path", ["/etc/passwd", "{place}/secret.png", "../secret.png", "http://127.0.0.1:1/x.png"])
def test_only_what_was_uploaded_can_be_dropped(client: Client, path: str) -> None:
    file = {"path": path.replace("{place}", str(client.server.place)), "meta": {"_type": "gradio.FileData"}}
    end = client.call(client.restorer().number, [file])
    assert not end["success"] and "expected a file that was uploaded here" in told(end)


@pytest.mark.parametrize("path", ["/etc/passwd", "{place}/secret.png", "{output}/../secret.png", "{input}/link.png"])
def test_no_file_outside_is_served(client: Client, path: str) -> None:
    server = client.server
    for key, value in (("place", server.place), ("output", server.output), ("input", server.input)):
        path = path.replace(f"{{{key}}}", str(value))
    reply = client.request("GET", f"/gradio_api/file={path}")
    assert reply.status == 403 and SECRET not in reply.text


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("6", "text"), "a" * 500_000, "expected at most 10,000 characters, found 500,000 characters"),
        (("8", "width"), 10**9, "8192"),
        (("8", "width"), -5, "16"),
        (("8", "width"), "wide", ""),
        (("8", "width"), None, "expected a whole number, found nothing"),
        (("9", "seed"), "-1", "expected a number from 0"),
        (("9", "seed"), "1" * 5000, "expected a whole number"),
        (("9", "sampler"), "evil", "not in the list of choices"),
        (("9", "cfg"), 1e308, "50"),
    ],
)
def test_a_wrong_value_is_told_and_nothing_runs(
    client: Client, place: tuple[str, str], value: Any, message: str
) -> None:
    before = sorted(client.server.output.rglob("*"))
    end, answer = client.run("text_to_image", {place: value})
    assert message in answer
    assert "expected" in answer or not end["success"]
    if not end["success"]:
        assert end["output"]["error"], "a refusal says why"
    assert sorted(client.server.output.rglob("*")) == before


@pytest.mark.parametrize(
    "message",
    [
        {"data": [], "fn_index": 0},
        {"data": [], "fn_index": 10**6, "session_hash": "a"},
        {"data": "x", "fn_index": 1, "session_hash": "a"},
        {"fn_index": 1},
        [],
        b"{",
        b"\xff" * 100,
        b" " * (5 * 2**20),
    ],
)
def test_a_broken_message_is_refused(client: Client, message: Any) -> None:
    reply: Reply = client.post("/gradio_api/queue/join", message)
    assert 400 <= reply.status < 500 and json.loads(reply.text)["detail"]


def test_too_few_values_are_refused(client: Client) -> None:
    end = client.call(client.button("text_to_image").number, [])
    assert not end["success"]


def test_a_page_of_another_site_cannot_run_anything(client: Client) -> None:
    reply = client.post("/gradio_api/queue/join", {"data": []}, {"origin": "https://evil.example"})
    assert reply.status == 403 and "expected a request of this page" in reply.text
    reply = client.request("GET", "/", headers={"host": "evil.example"})
    assert reply.status == 403 and "expected a request for this computer" in reply.text


def test_twenty_requests_at_once_are_run_or_told_that_the_queue_is_full(client: Client) -> None:
    answers: list[str] = []

    def press(number: int) -> None:
        changes = {("9", "seed"): str(1000 + number), ("9", "steps"): 1, ("10", "steps"): 1}
        answers.append(client.run("text_to_image", changes)[1])

    threads = [threading.Thread(target=press, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(answers) == 20
    done = sum("Done in" in answer for answer in answers)
    full = sum("let some finish or cancel them" in answer for answer in answers)
    assert done + full == 20 and done >= 10


@pytest.mark.parametrize(
    ("vast", "message"),
    [
        ([[]] * 11_000, "at most 10,000 values"),
        ("a" * 2**19, "at most 512 KiB"),
        ({"a": {"b": [0] * 10_000}}, "values"),
    ],
    ids=["lists", "a text", "deep inside"],
)
@pytest.mark.parametrize("name", ["data", "event_data"])
def test_an_event_is_small_since_it_is_kept_until_it_is_over(
    client: Client, name: str, vast: object, message: str
) -> None:
    """A list is two bytes in a message and sixty in memory."""
    event = {"fn_index": client.button("text_to_image").number, "session_hash": "abc", name: vast}
    reply = client.post("/gradio_api/queue/join", event)
    assert reply.status == 413 and message in reply.text
