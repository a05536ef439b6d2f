"""What gets past the guard, on an application that tells what reached it. Run: pytest tests/app/test_guard.py"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stable_cascade_nodes.app import blobs, guard, sessions
from stable_cascade_nodes.app.blobs import Blob, Blobs
from stable_cascade_nodes.app.guard import Guard
from stable_cascade_nodes.app.sessions import Full, Room, Sessions


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body that reached it."""
    length, more = 0, scope["method"] == "POST"
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


def ask(
    folder: Path,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    host: str = "127.0.0.1",
    pieces: int = 1,
    **more: Any,
) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of the answer; the body is sent in so many pieces, without its length if several."""
    given = {"host": "127.0.0.1:7860", **(headers or {})}
    if pieces == 1 and method == "POST":
        given.setdefault("content-length", str(len(body)))
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "client": ["127.0.0.1", 5000],
        "headers": [(key.encode(), value.encode("utf-8")) for key, value in given.items()],
    }
    size = -(-len(body) // pieces)
    waiting = [body[at : at + size] for at in range(0, len(body), max(size, 1))] or [b""]
    sent: list[Any] = []

    async def receive() -> Any:
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(inner, host, [folder], {3}, **more)(scope, receive, send))
    told = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:]).decode(), told


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/theme.css", "/assets/index-abc.js", "/static/a.png", "/gradio_api/queue/data?session_hash=abc",
     "/gradio_api/heartbeat/abc", "/gradio_api/upload_progress", "/gradio_api/startup-events"],
)  # fmt: skip
def test_what_the_page_reads_gets_through_and_may_load_nothing_from_elsewhere(tmp_path: Path, path: str) -> None:
    status, _, headers = ask(tmp_path, "GET", path)
    assert status == 200
    assert (
        "default-src 'self'" in headers["content-security-policy"] and "http" not in headers["content-security-policy"]
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/gradio_api/vibe-code"),
        ("GET", "/gradio_api/runs"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/call/handle"),
        ("POST", "/gradio_api/api/handle"),
        ("POST", "/login"),
        ("PUT", "/"),
        ("DELETE", "/gradio_api/upload"),
        ("GET", "/gradio_api/custom_component/1/server/component/../../x"),
    ],
)
def test_everything_else_of_gradio_is_out_of_reach(tmp_path: Path, method: str, path: str) -> None:
    status, text, _ = ask(tmp_path, method, path)
    assert status == 404 and "there is no" in json.loads(text)["detail"]


def test_files_are_read_from_the_own_folders_only(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (own / "a.png").write_bytes(b"a")
    (other / "b.png").write_bytes(b"b")
    (own / "link.png").symlink_to(other / "b.png")
    assert ask(own, "GET", f"/gradio_api/file={own}/a.png")[0] == 200
    outside = ["a.png", "/etc/passwd", "", "/", "http://127.0.0.1/x", f"file://{own}/a.png", f"{other}/b.png"]
    outside += [f"{own}/../other/b.png", f"{own}/%2e%2e/other/b.png", f"{own}/link.png", f"{own}/a\0.png"]
    for name in outside:
        status, text, _ = ask(own, "GET", f"/gradio_api/file={name}")
        assert status == 403, name
        assert "expected a file of the app's own folders" in json.loads(text)["detail"]


def test_a_message_names_only_files_that_were_brought(tmp_path: Path) -> None:
    def send(path: object) -> tuple[int, str]:
        body = json.dumps(
            {"fn_index": 3, "session_hash": "abc", "data": [{"a": [{"path": path, "meta": {}}]}]}
        ).encode()
        return ask(tmp_path, "POST", "/gradio_api/queue/join", body)[:2]

    assert send(str(tmp_path / "x.png"))[0] == 200
    assert send(None)[0] == 200
    for path in ("/etc/passwd", "../x", f"{tmp_path}/../x", "http://127.0.0.1:1/x", 5, ["/etc"], "a\0b", ""):
        status, text = send(path)
        assert status == 400 and "expected a file that was uploaded here" in text, path


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200), ("LOCALHOST.", 200), ("[::1]:7860", 200), ("127.0.0.1", 200),
        ("evil.example", 403), ("localhost.evil.example", 403), ("localhost:7860@evil.example", 403),
        ("evil.example#localhost", 403), ("localhost/../evil", 403), ("localhost:99999", 403), ("localhost:", 403),
        ("", 403), ("[::1", 403), ("127.0.0.1, evil.example", 403), ("127.0.0.\u0661", 403),
    ],
)  # fmt: skip
def test_a_request_is_for_this_computer(tmp_path: Path, host: str, status: int) -> None:
    assert ask(tmp_path, "GET", "/", headers={"host": host})[0] == status


def test_any_host_may_be_asked_for_where_all_are_listened_to(tmp_path: Path) -> None:
    assert ask(tmp_path, "GET", "/", headers={"host": "192.168.0.5:7860"}, host="0.0.0.0")[0] == 200
    assert ask(tmp_path, "GET", "/", headers={"host": "a b"}, host="0.0.0.0")[0] == 403


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:7860", "http://127.0.0.1:7860", 200), ("localhost", "http://localhost:80", 200),
        ("localhost", "https://localhost:443", 200), ("localhost:7860", "HTTP://LOCALHOST:7860", 200),
        ("127.0.0.1:7860", "https://evil.example", 403), ("127.0.0.1:7860", "null", 403),
        ("127.0.0.1:7860", "http://127.0.0.1:1", 403), ("127.0.0.1:7860", "ftp://127.0.0.1:7860", 403),
        ("127.0.0.1:7860", "http://127.0.0.1:7860@evil.example", 403), ("127.0.0.1:7860", "", 403),
        ("127.0.0.1:7860", "http://127.0.0.1:7860/../x", 403), ("localhost", "https://localhost:80", 403),
    ],
)  # fmt: skip
def test_a_request_is_of_this_page(tmp_path: Path, host: str, origin: str, status: int) -> None:
    body = b'{"fn_index": 3, "session_hash": "abc"}'
    assert ask(tmp_path, "POST", "/gradio_api/queue/join", body, {"host": host, "origin": origin})[0] == status


def test_a_password(tmp_path: Path) -> None:
    def proof(text: str) -> dict[str, str]:
        return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}

    for given in (proof("me:open sesame"), proof(":open sesame")):
        assert ask(tmp_path, "GET", "/", headers=given, password="open sesame")[0] == 200
    wrong = [{}, proof("me:sesame"), proof("open sesame"), {"authorization": "Basic !"}, {"authorization": "x"}]
    for given in wrong:
        status, _, headers = ask(tmp_path, "GET", "/", headers=given, password="open sesame")
        assert status == 401 and headers["www-authenticate"].startswith("Basic realm=")


class Editor:
    """As much of Gradio's ImageEditor as keeps layers until they are used."""

    def __init__(self) -> None:
        self.blob_storage: dict[str, Any] = {}

    def accept(self, id: str, size: int) -> None:
        kept = self.blob_storage.setdefault(id, SimpleNamespace(background=None, composite=None, layers=[]))
        kept.layers.append(bytes(size))


def form(size: int = 10, files: int = 1, **changes: Any) -> tuple[bytes, dict[str, str]]:
    fields = {"fn_name": "accept_blobs", "component_id": "7", "session_hash": "abc", "id": "blob", "type": "layer"}
    fields = {name: value for name, value in {**fields, "index": "0", **changes}.items() if value is not None}
    parts = [f'name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts += [f'name="file"; filename="blob"\r\n\r\n{"x" * size}'] * files
    body = "".join(f"--border\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--border--\r\n"
    return body.encode(), {"content-type": "multipart/form-data; boundary=border"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""), ({"index": "7"}, ""), ({"index": "null", "type": "background"}, ""), ({"index": None}, ""),
        ({"index": "8"}, "one of at most 8 layers"), ({"index": "1000000000"}, "one of at most 8 layers"),
        ({"index": "-1"}, "one of at most 8 layers"), ({"type": "x"}, "one of at most 8 layers"),
        ({"fn_name": "postprocess"}, "the layer of a painted picture"), ({"fn_name": None}, "the layer of a painted"),
        ({"component_id": "8"}, "the layer of a painted"), ({"component_id": "7" * 5000}, "the layer of a painted"),
        ({"session_hash": ""}, "one file, of a page"), ({"id": "../x"}, "one file, of a page"),
        ({"id": "x" * 65}, "one file, of a page"), ({"files": 0}, "one file, of a page"), ({"files": 2}, ""),
    ],
)  # fmt: skip
def test_forms_are_looked_through_as_messages_are(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    body, headers = form(**changes)
    status, text, _ = ask(tmp_path, "POST", "/gradio_api/component_server", body, headers, painted=Blobs({7: Editor()}))
    is_fine = not message and changes.get("files") != 2
    assert status == (200 if is_fine else 400), text
    assert text == str(len(body)) if is_fine else message in json.loads(text)["detail"]


def test_what_is_no_form_calls_nothing(tmp_path: Path) -> None:
    message = json.dumps({"fn_name": "accept_blobs", "component_id": 7, "session_hash": "abc", "data": {}}).encode()
    for headers in ({"content-type": "application/json"}, {"content-type": "multipart/form-data"}):
        assert ask(tmp_path, "POST", "/gradio_api/component_server", message, headers)[0] == 400


def test_a_page_that_waits_for_nothing_is_told_that_all_was_told(tmp_path: Path) -> None:
    """Its stream may have told of an event between the event and the stream that the page opens for it."""
    answer = ask(tmp_path, "GET", "/gradio_api/queue/data?session_hash=abc", open_events=lambda session: 0)
    assert answer[0] == 200 and answer[1] == 'data: {"msg": "close_stream"}\n\n'


def test_a_page_waits_for_what_it_asked_for(tmp_path: Path) -> None:
    def ask_with(open_events: int, method: str, path: str, body: bytes = b"") -> int:
        return ask(tmp_path, method, f"/gradio_api/{path}", body, open_events=lambda session: open_events)[0]

    assert ask_with(1, "GET", "queue/data?session_hash=abc") == 200
    assert ask_with(0, "GET", "heartbeat/abc") == 200
    for name in ("queue/data", "queue/data?session_hash=a%20b", "heartbeat/" + "x" * 65):
        assert ask_with(1, "GET", name) == 400
    message = b'{"fn_index": 3, "session_hash": "abc"}'
    assert ask_with(guard.MOST_EVENTS - 1, "POST", "queue/join", message) == 200
    assert ask_with(guard.MOST_EVENTS, "POST", "queue/join", message) == 503


def test_painted_layers_that_nobody_uses_are_bounded_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "LARGEST_EACH", 1000)
    monkeypatch.setattr(blobs, "LARGEST", 1500)
    editor = Editor()
    kept = Blobs({7: editor})

    def bring(id: str, visitor: str, size: int) -> None:
        kept.make_room(Blob(7, f"session of {visitor}", id), visitor, size)
        editor.accept(id, size)

    for number in range(20):
        bring(f"a{number}", "one", 300)
    assert list(editor.blob_storage) == ["a17", "a18", "a19"]
    bring("b", "another", 500)
    assert list(editor.blob_storage) == ["a17", "a18", "a19", "b"]
    bring("c", "a third", 500)
    assert list(editor.blob_storage) == ["a19", "b", "c"]
    editor.blob_storage.pop("b")  # its event has come
    kept.forget("session of one")
    assert list(editor.blob_storage) == ["c"]
    for _ in range(9):
        bring("c", "a third", 300)
    assert sum(len(layer) for layer in editor.blob_storage["c"].layers) <= 1000


def test_pages_that_no_longer_listen_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    monkeypatch.setattr(sessions, "MOST_EACH", 2)
    monkeypatch.setattr(sessions, "MOST", 3)
    now = 0.0
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now)
    found = Sessions(gone.append)
    with found.listening("open", "one"):
        found.see("silent", "one")
        found.see("next", "one")
        assert gone == ["silent"]
        with found.listening("next", "one"), pytest.raises(Full):
            found.see("third", "one")
        found.see("other", "two")
        now = sessions.QUIET + 1
        found.see("last", "two")
        assert gone == ["silent", "next", "other"]
    now = 3 * sessions.QUIET
    found.see("again", "one")
    assert "open" in gone and "again" in found


def test_requests_share_the_room_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "WAITING_EACH", 100)
    monkeypatch.setattr(sessions, "WAITING", 150)
    room = Room()
    with room.taken("one") as take, room.taken("another") as take_too:
        take(90)
        with pytest.raises(Full):
            take(11)
        take_too(60)
        with pytest.raises(Full):
            take_too(1)
    with room.taken("one") as take:
        take(100)


def test_the_oldest_files_go_first(tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / f"{number}" / "x.png"
        path.parent.mkdir()
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    (tmp_path / ".lock").write_bytes(bytes(1000))
    sessions.trim(tmp_path, 450, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "2", "3", "4", "5"]
    sessions.trim(tmp_path, 450, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "5"]


@pytest.mark.parametrize("pieces", [1, 40])
def test_too_much_is_refused_with_and_without_a_length(
    tmp_path: Path, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "LARGEST_MESSAGE", 1000)
    monkeypatch.setattr(guard, "LARGEST_UPLOAD", 2000)
    form = {"content-type": "multipart/form-data; boundary=x"}
    message = json.dumps({"fn_index": 3, "session_hash": "abc", "data": ["a" * 900]}).encode()
    assert ask(tmp_path, "POST", "/gradio_api/queue/join", message, pieces=pieces)[:2] == (200, str(len(message)))
    assert ask(tmp_path, "POST", "/gradio_api/queue/join", message + b" " * 100, pieces=pieces)[0] == 413
    assert ask(tmp_path, "POST", "/gradio_api/upload", b"a" * 1900, form, pieces=pieces)[:2] == (200, "1900")
    assert ask(tmp_path, "POST", "/gradio_api/upload", b"a" * 2100, form, pieces=pieces)[0] == 413
    assert ask(tmp_path, "POST", "/gradio_api/queue/join", b"a" * 1900, form, pieces=pieces)[0] == 413


@pytest.mark.parametrize("body", [b"{", b"\xff\xff", b"[" * 100_000, b'{"a": }'])
def test_what_is_no_message_is_refused(tmp_path: Path, body: bytes) -> None:
    status, text, _ = ask(tmp_path, "POST", "/gradio_api/queue/join", body)
    assert status == 400 and json.loads(text) == {"detail": "expected a message as JSON"}


@pytest.mark.parametrize("message", [{}, [], {"fn_index": 4}, {"fn_index": "3"}, {"fn_index": [3]}, 3])
def test_only_events_of_the_page_get_through(tmp_path: Path, message: Any) -> None:
    status, text, _ = ask(tmp_path, "POST", "/gradio_api/queue/join", json.dumps(message).encode())
    assert status == 400 and "expected an event of this page" in text
