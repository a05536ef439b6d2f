"""`cascade run --server`, against a server that does what a real one seldom does: answers that should not be."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

web = pytest.importorskip("aiohttp.web")
from stable_cascade_nodes.headless.remote import server as remote  # noqa: E402 (it needs aiohttp)

from . import fake_server  # noqa: E402 (it needs aiohttp)
from .remote_prompts import IMAGE, LOAD, PNG, PROMPT  # noqa: E402

Cascade = Callable[..., Any]


@pytest.mark.parametrize(
    "entry",
    [
        {"filename": "../../x.png"},
        {"filename": "/x.png"},
        {"filename": "..\\x.png"},
        {"filename": ".."},
        {"filename": ""},
        {"filename": "x\0.png"},
        {"filename": "x.png", "subfolder": "../outside"},
        {"filename": "x.png", "subfolder": "/tmp"},
        {"filename": "x.png", "subfolder": "link"},
    ],
)
def test_results_stay_in_the_output_folder(there: Cascade, server: Any, folders: Path, entry: dict[str, str]) -> None:
    (folders / "output" / "link").symlink_to(folders / "outside", target_is_directory=True)
    server.outputs = {"2": {"images": [{"type": "output", **entry}]}}
    server.files = {entry["filename"]: b"x"}
    answer = there(PROMPT)
    assert (answer.code, answer.out) == (1, "")
    assert "inside its output folder" in answer.err
    found = {path.name for path in folders.rglob("*") if path.suffix != ".json"}
    assert found == {"input", "output", "outside", "link"}


@pytest.mark.parametrize(
    ("path", "reply", "expected"),
    [
        ("object_info", {"status": 403}, "refuses /object_info: 403"),
        ("object_info", {"status": 500}, "found 500"),
        ("object_info", {"text": "<html>Welcome"}, 'expected JSON from /object_info, found "<html>Welcome"'),
        ("object_info", {"text": "[1]"}, "expected JSON from /object_info, found [1]"),
        ("object_info", {"text": "{}"}, "expected a ComfyUI with its nodes"),
        ("object_info", {"text": '{"status": "fine"}'}, "expected a ComfyUI with its nodes"),
        ("ws", {"status": 403}, "the websocket for its progress cannot be opened"),
        ("prompt", {"text": '{"fine": true}'}, "expected the id of the queued prompt"),
        ("upload/image", {"text": "{}"}, "expected the name of the uploaded file"),
    ],
)
def test_what_is_no_comfyui(
    there: Cascade, server: Any, folders: Path, path: str, reply: dict[str, Any], expected: str
) -> None:
    (folders / "input" / "a.png").touch()
    server.answers[path] = web.Response(**reply)
    answer = there(LOAD)
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith(f"cascade: {server.url}")
    assert expected in answer.err


@pytest.mark.parametrize("path", ["object_info", "ws", "prompt", "upload/image", "view", "history"])
def test_nobody_is_sent_to_another_address(there: Cascade, server: Any, folders: Path, path: str) -> None:
    (folders / "input" / "a.png").touch()
    server.outputs = {"2": {"images": [IMAGE]}}
    with fake_server.serve() as other:
        server.answers[path] = web.Response(status=307, headers={"Location": f"{other.url}/secret"})
        answer = there(LOAD)
        assert (answer.code, answer.out) == (1 if path in ("view", "history") else 2, "")
        assert f'sends us on to "{other.url}/secret"' in answer.err.splitlines()[-1]
        assert not other.asked and not other.uploads and not other.prompts


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.sh", PNG, 'expected a picture as its result, found "a.sh": it stays there'),
        ("a.png", b"#!/bin/sh", 'expected a picture as its result "a.png", found none: it is no picture'),
        ("a.png", b"", "found none: "),
        ("a.png", PNG + bytes(2**20), 'expected at most 1 MiB of the result "a.png", found more'),
        ("\x1b[2J.png", PNG, None),
    ],
)
def test_a_result_is_a_picture_within_bounds(
    there: Cascade, server: Any, folders: Path, name: str, content: bytes, expected: str | None, monkeypatch: Any
) -> None:
    monkeypatch.setattr(remote, "_LARGEST_RESULT", 2**20)
    server.outputs = {"2": {"images": [IMAGE | {"filename": name}, IMAGE]}}
    server.files = {name: content, IMAGE["filename"]: PNG}
    answer = there(PROMPT)
    found = sorted(path.name for path in (folders / "output").iterdir())
    assert found == sorted([IMAGE["filename"]] if expected else [IMAGE["filename"], name])  # the other is brought
    assert answer.code == (1 if expected else 0)
    assert (expected or "Out") in answer.err.splitlines()[-1] and "\x1b" not in answer.err


def test_answers_have_an_end(there: Cascade, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes a byte at a time, and one of too much."""
    monkeypatch.setattr(remote, "_LONGEST", 1)
    server.endless = b" ", 0.1
    answer = there(PROMPT)
    assert (answer.code, answer.out) == (2, "")
    assert "no answer within 120 s, or no whole one within 1 s" in answer.err
    monkeypatch.setattr(remote, "_LONGEST", 60)
    monkeypatch.setattr(remote, "LARGEST_TEXT", 2**22)
    server.endless = bytes(2**20), 0.0
    answer = there(PROMPT)
    assert answer.code == 2 and "expected at most 4 MiB from /object_info, found more" in answer.err


def test_it_may_run_for_longer_than_an_answer(there: Cascade, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slowly(server: Any, id: str) -> None:
        await asyncio.sleep(2)
        await fake_server.finish(server, id)

    monkeypatch.setattr(remote, "_LONGEST", 1)
    server.script = slowly
    assert there(PROMPT).code == 0


ODD: list[Any] = [
    None,
    5,
    "x",
    [],
    [1],
    [[]],
    {},
    {"x": 1},
    {"2": 5},
    {"2": {"errors": [5]}},
    [["x", 5]],
    float("nan"),
    10**400,
]
"""What any part of an answer may be that should not."""


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("part", ["node_errors", "queue", "outputs", "messages", "status", "prompt_id", "progress"])
def test_odd_answers_are_one_sentence(there: Cascade, server: Any, part: str, value: Any) -> None:
    async def odd(server: Any, id: str) -> None:
        fields = {"node": value, "display_node": value, "value": value, "max": value, "nodes": value}
        for kind in ("status", "execution_cached", "executing", "progress", "new"):
            await server.tell(kind, prompt_id=id, **(fields | ({"node": "1"} if kind == "executing" else {})))
        await fake_server.finish(server, id)

    async def waiting(server: Any, id: str) -> None:
        await server.tell("status", status={})
        await fake_server.finish(server, id)

    if part == "progress":
        server.script = odd
    elif part == "queue":
        server.script = waiting
        server.answers["queue"] = web.json_response({"queue_running": value, "queue_pending": value})
    elif part == "prompt_id":
        server.answers["prompt"] = web.json_response({"prompt_id": [value]})
    elif part == "node_errors":
        body = {"error": value, "node_errors": value}
        server.answers["prompt"] = web.json_response(body, status=400)
    else:
        server.account = {part: value} if part != "messages" else {"status": {"messages": value}}
    answer = there(PROMPT)
    assert answer.code in (0, 1, 2) and "this is a fault of the program" not in answer.err
    if answer.code:
        assert server.url in answer.err.splitlines()[-1] or "the server" in answer.err.splitlines()[-1]
