"""What gets past the guard, on an application that tells what reached it. Run: pytest tests/app/test_guard.py"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from stable_cascade_nodes.app import guard
from stable_cascade_nodes.app.guard import Guard


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
) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of the answer; the body is sent in so many pieces, without its length if several."""
    given = {"host": "127.0.0.1:7860", **(headers or {})}
    if pieces == 1 and method == "POST":
        given.setdefault("content-length", str(len(body)))
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(key.encode(), value.encode()) for key, value in given.items()],
    }
    size = -(-len(body) // pieces)
    waiting = [body[at : at + size] for at in range(0, len(body), max(size, 1))] or [b""]
    sent: list[Any] = []

    async def receive() -> Any:
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(inner, host, [folder], {3})(scope, receive, send))
    told = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:]).decode(), told


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/theme.css", "/assets/index-abc.js", "/static/a.png", "/gradio_api/queue/data",
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
        body = json.dumps({"fn_index": 3, "data": [{"a": [{"path": path, "meta": {}}]}]}).encode()
        return ask(tmp_path, "POST", "/gradio_api/queue/join", body)[:2]

    assert send(str(tmp_path / "x.png"))[0] == 200
    assert send(None)[0] == 200
    for path in ("/etc/passwd", "../x", f"{tmp_path}/../x", "http://127.0.0.1:1/x", 5, ["/etc"], "a\0b", ""):
        status, text = send(path)
        assert status == 400 and "expected a file that was uploaded here" in text, path


def test_other_hosts_and_other_pages_are_refused(tmp_path: Path) -> None:
    assert ask(tmp_path, "GET", "/", headers={"host": "evil.example"})[0] == 403
    assert ask(tmp_path, "GET", "/", headers={"host": "localhost:7860"})[0] == 200
    assert ask(tmp_path, "GET", "/", headers={"host": "[::1]:7860"})[0] == 200
    assert ask(tmp_path, "GET", "/", headers={"host": "192.168.0.5:7860"}, host="0.0.0.0")[0] == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        assert ask(tmp_path, "POST", "/gradio_api/queue/join", b"{}", {"origin": origin})[0] == 403
    assert (
        ask(tmp_path, "POST", "/gradio_api/queue/join", b'{"fn_index": 3}', {"origin": "http://127.0.0.1:7860"})[0]
        == 200
    )


@pytest.mark.parametrize("pieces", [1, 40])
def test_too_much_is_refused_with_and_without_a_length(
    tmp_path: Path, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "LARGEST_MESSAGE", 1000)
    monkeypatch.setattr(guard, "LARGEST_UPLOAD", 2000)
    form = {"content-type": "multipart/form-data; boundary=x"}
    message = json.dumps({"fn_index": 3, "data": ["a" * 900]}).encode()
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
