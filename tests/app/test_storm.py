"""A running app under a storm: what it takes in memory and on the disk stays bounded, and a picture is made meanwhile.

Run: pytest tests/app/test_storm.py, with -m slow for all of it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stable_cascade_nodes.app.server import LARGEST_CACHE

from .client import Client, Reply
from .conftest import SHIPPED, Server, running, wait_for

SIZES = [(25, 20, 6, 200), pytest.param((500, 300, 64, 10_000), marks=pytest.mark.slow)]
"""Hostile requests, slow connections, uploads of 32 MiB, and painted layers."""
MEMORY = 300 * 2**20  # bytes above the start
IN_FLIGHT = 16 * 33 * 2**20  # bytes of uploads that are not through


def memory(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text("utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def on_disk(server: Server) -> int:
    return sum(path.stat().st_size for path in server.temporary.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("storm")
    for name in ("input", "output", "workflows"):
        (place / name).mkdir()
    for name in ("text_to_image.json", "inpainting.json"):
        (place / "workflows" / name).write_bytes((SHIPPED / name).read_bytes())
    (place / "workflows" / "odd.json").write_text('{"1": {"class_type": "EmptyImage", "inputs": 0.5}}', "utf-8")
    null = '{"1": {"class_type": "EmptyImage", "inputs": {}}, "2": null}'
    (place / "workflows" / "null.json").write_text(null, "utf-8")
    with running(place, "--workflows", "workflows") as server:
        yield server


def layer(client: Client, size: int, id: str, **changes: str) -> Reply:
    """A painted layer, as the page sends it."""
    editor = next(id for id, part in client.components.items() if part["type"] == "imageeditor")
    fields = {"fn_name": "accept_blobs", "component_id": str(editor), "session_hash": "storm", "id": id}
    fields |= {"type": "layer", "index": "0", **changes}
    border = uuid.uuid4().hex
    parts = [f'name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    parts.append(b'name="file"; filename="blob"\r\n\r\n' + bytes(size) + b"\r\n")
    head = f"--{border}\r\nContent-Disposition: form-data; ".encode()
    body = b"".join(head + part for part in parts) + f"--{border}--\r\n".encode()
    kind = {"content-type": f"multipart/form-data; boundary={border}"}
    return client.request("POST", "/gradio_api/component_server", body, kind)


def hostile(client: Client) -> list[Callable[[], object]]:
    """Twenty kinds of requests that no page makes."""

    def post(path: str, message: object, **headers: str) -> Callable[[], object]:
        return lambda: client.post(f"/gradio_api/{path}", message, headers)

    def get(path: str, **headers: str) -> Callable[[], object]:
        return lambda: client.request("GET", path, None, headers)

    number = client.button("text_to_image").number
    event = {"data": [], "fn_index": number, "event_data": None, "trigger_id": None}

    def join() -> object:
        return client.post("/gradio_api/queue/join", event | {"session_hash": uuid.uuid4().hex})

    return [
        get("/gradio_api/proxy=http://127.0.0.1:1/"), get("/gradio_api/file=/etc/passwd"), get("/x" * 2000),
        get("/", host="evil.example"), get("/", origin="http://evil.example"), get("/" + "%00" * 99),
        post("queue/join", b"[" * 100_000), post("queue/join", event | {"fn_index": 10**9, "session_hash": "a"}),
        post("queue/join", event | {"session_hash": None}), post("queue/join", event | {"session_hash": "x" * 10**6}),
        post("queue/join", b"9" * 3_000_000), post("cancel", {"session_hash": "a", "fn_index": 1, "event_id": "b"}),
        post("cancel", [1, 2, 3]), post("reset", {"event_id": "x"}), join,
        lambda: layer(client, 10, "a", index="1000000000"), lambda: layer(client, 10, "a", fn_name="__init__"),
        lambda: client.upload("../../x.png", b"\0" * 100), get("/gradio_api/queue/data?session_hash=" + "y" * 64),
        get(f"/gradio_api/upload_progress?upload_id={uuid.uuid4()}", connection="close"),
    ]  # fmt: skip


def trickle(server: Server, end: threading.Event) -> None:
    """A connection that sends a byte now and then, and never all of a request."""
    with contextlib.suppress(OSError), socket.create_connection(_address(server), timeout=60) as connection:
        connection.sendall(random.choice((b"GET / HTTP/1.1\r\nX: ", b"POST /gradio_api/upload HTTP/1.1\r\n")))
        while not end.wait(3):
            connection.sendall(b"a")


def _address(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


def cpu(server: Server) -> float:
    """Seconds of a processor that the app has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_new_page_begins_at_once(app: Server) -> None:
    """Gradio by itself describes all components at the first event of each: half a second for all tabs."""
    client = Client(app)
    number, pages = client.button("text_to_image").number, 10
    client.call(number, [])
    before = cpu(app)
    for _ in range(pages):
        assert client.send(number, [])[0].status == 200
    assert cpu(app) - before < 0.02 * pages


@pytest.mark.parametrize("sizes", SIZES)
def test_a_storm(app: Server, sizes: tuple[int, int, int, int]) -> None:
    requests, slow, uploads, blobs = sizes
    client, end = Client(app), threading.Event()
    kinds = hostile(client)
    assert len(kinds) == 20
    _, answer = client.run("text_to_image", {(("6"), "text"): "a red circle"})  # models are loaded
    assert "Done in" in answer
    start, highest, disk = memory(app), [0], [0]
    faults: list[str] = []

    def watch() -> None:
        while not end.wait(0.1):
            highest[0], disk[0] = max(highest[0], memory(app)), max(disk[0], on_disk(app))

    def send(work: Callable[[int], object], count: int) -> None:
        for index in range(count):
            try:
                work(index)
            except (OSError, http.client.HTTPException) as error:  # refused, and the rest of the body not read
                if not isinstance(error, ConnectionError | http.client.HTTPException):
                    faults.append(repr(error))

    # 40 layers of 8 MiB among them: nobody uses any
    works = [
        threading.Thread(target=watch),
        *(threading.Thread(target=trickle, args=(app, end)) for _ in range(slow)),
        threading.Thread(target=send, args=(lambda index: kinds[index % 20](), requests)),
        threading.Thread(target=send, args=(lambda i: client.upload("x.png", bytes([i]) * (32 * 2**20 - 1)), uploads)),
        threading.Thread(
            target=send, args=(lambda i: layer(client, 8 * 2**20 if i % 250 == 0 else 10_000, f"b{i}"), blobs)
        ),
    ]
    for work in works:
        work.start()
    _, answer = client.run("text_to_image", {("9", "seed"): "7"})
    for work in works[1 + slow :]:
        work.join()
    end.set()
    for work in works:
        work.join()
    print(json.dumps({"MB above the start": (highest[0] - start) >> 20, "MB on the disk": disk[0] >> 20}))
    assert "Done in" in answer, answer[-2000:]
    assert not faults
    assert highest[0] - start < MEMORY
    assert disk[0] < LARGEST_CACHE + IN_FLIGHT
    assert client.request("GET", "/").status == 200


def test_files_that_are_no_workflows_have_no_tab_and_a_sentence(app: Server) -> None:
    log = (app.place / "log").read_text("utf-8")
    assert 'expected "inputs", an object, found 0.5' in log and "expected an object with class_type" in log
    page = json.dumps(app.config)
    assert "found 0.5" in page and "status-text_to_image" in page and "status-odd" not in page


@pytest.mark.parametrize("busy", [pytest.param(False, marks=pytest.mark.slow), True])
def test_sigterm_leaves_nothing(tmp_path: Path, busy: bool) -> None:
    (tmp_path / "place" / "input").mkdir(parents=True)
    with running(tmp_path / "place") as server:
        client = Client(server)
        client.upload("x.png", b"\0" * 1000)
        assert on_disk(server) > 0
        if busy:
            button = client.button("text_to_image")
            client.send(button.number, button.data)
            time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: server.process.poll() is not None, 60)
        assert server.process.poll() == 130
        server.process.poll = lambda: None  # type: ignore[method-assign]  (it was to end)
    assert not list(server.temporary.iterdir())
    assert not list((tmp_path / "place").rglob(".*"))
    assert "Traceback" not in (tmp_path / "place" / "log").read_text("utf-8")


def test_a_password_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from stable_cascade_nodes.cli.main import main

    for host in ("0.0.0.0", "::", ""):
        assert main(["app", "--host", host, "--port", "0"]) == 2
        assert "add --password WORD, or say --no-password" in capsys.readouterr().err
