"""`cascade run --server`: what is sent and brought, what is refused, and how a run there ends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

web = pytest.importorskip("aiohttp.web")

from ..headless.graph.fake_nodes import node  # noqa: E402
from . import fake_server  # noqa: E402 (it needs aiohttp)
from .remote_prompts import IMAGE, LOAD, PNG, PROMPT  # noqa: E402

Cascade = Callable[..., Any]


def test_progress_and_results(there: Cascade, server: Any, folders: Path) -> None:
    server.outputs = {"2": {"images": [IMAGE, IMAGE | {"type": "temp"}], "text": ["words"]}}
    server.files = {"a_00001_.png": PNG}
    answer = there(PROMPT)
    assert answer.code == 0
    assert answer.lines == [str(folders / "output" / "a_00001_.png")]
    assert Path(answer.lines[0]).read_bytes() == PNG
    assert [line.split(" s  ")[1] for line in answer.err.splitlines()] == ["Words", "Out"]
    assert server.prompts[0]["prompt"] == PROMPT
    assert server.prompts[0]["extra_data"] == {}


def test_where_nothing_comes_the_nodes_say_why(there: Cascade, server: Any) -> None:
    server.outputs = {
        "1": {"text": ["nothing is picked of 8 pictures yet"]},
        "2": {"images": [IMAGE | {"type": "temp"}]},
    }
    answer = there(PROMPT)
    assert (answer.code, answer.lines) == (0, [])
    assert answer.err.splitlines()[-1] == "Words: nothing is picked of 8 pictures yet"


def test_json(there: Cascade, server: Any) -> None:
    async def cached(server: Any, id: str) -> None:
        await server.tell("execution_cached", nodes=["1"], prompt_id=id)
        await server.tell("executing", node="2.0.1", display_node="2", prompt_id=id)
        await server.tell("executing", node="2.0.2", display_node="2", prompt_id=id)
        server.done.add(id)
        await server.tell("execution_success", prompt_id=id)

    server.script = cached
    found = json.loads(there(PROMPT, "--json").out)
    assert found["files"] == []
    assert {key: (entry["title"], entry["cached"]) for key, entry in found["nodes"].items()} == {
        "1": ("Words", True),
        "2": ("Out", False),
    }


def test_nothing_is_replaced_and_subfolders_are_kept(there: Cascade, server: Any, folders: Path) -> None:
    names = ["a_00001_.png", "notes.webp"]
    server.outputs = {"2": {"images": [{"filename": name, "subfolder": "x/y", "type": "output"} for name in names]}}
    server.files = dict.fromkeys(names, PNG)
    found = [there(PROMPT).lines for _ in range(3)]
    folder = folders / "output" / "x" / "y"
    assert found[0] == [str(folder / name) for name in names]
    assert found[1] == [str(folder / "a_00002_.png"), str(folder / "notes (1).webp")]
    assert found[2] == [str(folder / "a_00003_.png"), str(folder / "notes (2).webp")]
    assert len(list(folder.iterdir())) == 6


def test_a_result_that_is_gone(there: Cascade, server: Any, folders: Path) -> None:
    server.outputs = {"2": {"images": [IMAGE]}}
    answer = there(PROMPT)
    assert (answer.code, answer.out) == (1, "")
    assert '"a_00001_.png", found 404' in answer.err
    assert not list((folders / "output").iterdir())


def test_pictures_are_uploaded_once(there: Cascade, server: Any, folders: Path) -> None:
    (folders / "input" / "deep").mkdir()
    for name in ("input/a.png", "input/deep/b.png", "outside/c.png"):
        (folders / name).write_bytes(name.encode())
    pictures = {"1": "a.png", "3": "a.png", "4": "deep/b.png", "5": "theirs.png", "6": "theirs too.png", "7": "a.png"}
    prompt = LOAD | {key: node("LoadImage", f"P{key}", image=name) for key, name in pictures.items()}
    answer = there(prompt, "--set", f"P7.image={folders / 'outside' / 'c.png'}")
    assert answer.code == 0, answer.err
    assert server.uploads == [
        ("a.png", "", b"input/a.png"),
        ("b.png", "deep", b"input/deep/b.png"),
        ("c.png", "", b"outside/c.png"),
    ]
    sent = server.prompts[0]["prompt"]
    assert {key: sent[key]["inputs"]["image"] for key in pictures} == {
        "1": "new a.png", "3": "new a.png", "4": "deep/new b.png",
        "5": "theirs.png", "6": "theirs too.png", "7": "new c.png",
    }  # fmt: skip


def test_the_editors_form_goes_along_with_the_new_names(there: Cascade, server: Any, folders: Path) -> None:
    (folders / "input" / "a.png").write_bytes(b"a")
    document = {
        "version": 0.4,
        "nodes": [
            {"id": 1, "type": "LoadImage", "widgets_values": ["a.png", "image"], "outputs": [{"type": "IMAGE"}]},
            {
                "id": 2,
                "type": "SaveImage",
                "widgets_values": ["b"],
                "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
            },
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    }
    answer = there(document, "--set", "Save Image.filename_prefix=c")
    assert answer.code == 0, answer.err
    sent = server.prompts[0]
    assert sent["prompt"]["1"] == node("LoadImage", "Load Image", image="new a.png")
    assert sent["prompt"]["2"]["inputs"] == {"images": ["1", 0], "filename_prefix": "c"}
    kept = sent["extra_data"]["extra_pnginfo"]["workflow"]["nodes"]
    assert [entry["widgets_values"] for entry in kept] == [["new a.png", "image"], ["c"]]


def test_a_workflow_uploads_only_what_lies_in_its_folders(there: Cascade, server: Any, folders: Path) -> None:
    (folders / "outside" / "secret.png").write_bytes(b"secret")
    answer = there(LOAD | {"1": node("LoadImage", "Picture", image="../outside/secret.png")})
    assert (answer.code, answer.out, server.uploads, server.prompts) == (2, "", [], [])
    assert 'node 1 "Picture" (LoadImage), input "image"' in answer.err


def error(kind: str, **info: Any) -> dict[str, Any]:
    return {"type": kind, "message": "In short", "details": info.pop("details", "text"), "extra_info": info}


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (error("value_not_in_list", input_name="text", received_value=3), "expected a value of type STRING, found 3"),
        (
            error("return_type_mismatch", input_name="text", received_type="INT", linked_node=["1", 0]),
            'found INT from node 1 "Words" (Text)',
        ),
        (error("custom_validation_failed", input_name="text", details="text - no such file"), '"text": no such file'),
        (error("exception_during_validation", details="KeyError"), "(Show): KeyError"),
        (error("something new", details=""), "(Show): In short"),
    ],
)
def test_what_the_server_refuses(there: Cascade, server: Any, problem: dict[str, Any], expected: str) -> None:
    body = {"error": {"type": "x", "message": "y"}, "node_errors": {"2": {"errors": [problem], "class_type": "Show"}}}
    server.answers["prompt"] = web.json_response(body, status=400)
    answer = there(PROMPT)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith('cascade: node 2 "Out" (Show)')
    assert expected in answer.err


def test_a_refusal_of_the_whole(there: Cascade, server: Any) -> None:
    body = {"error": {"message": "Prompt has no outputs", "details": "none"}, "node_errors": {}}
    server.answers["prompt"] = web.json_response(body, status=400)
    answer = there(PROMPT)
    assert (answer.code, answer.err) == (2, "cascade: workflow: the server refuses it: Prompt has no outputs (none)\n")


def test_dropped_outputs_stop_everything(there: Cascade, server: Any) -> None:
    server.script = fake_server.nothing
    server.node_errors = {"2": {"errors": [error("custom_validation_failed", details="dropped")]}}
    answer = there(PROMPT)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == 'cascade: node 2 "Out" (Show): dropped\n'
    assert server.asked == [("interrupt", {"prompt_id": server.prompts[0]["prompt_id"]})]


def test_partial_runs_the_others(there: Cascade, server: Any) -> None:
    server.node_errors = {"2": {"errors": [error("custom_validation_failed", details="dropped")]}}
    server.outputs, server.files = {"2": {"images": [IMAGE]}}, {IMAGE["filename"]: PNG}
    answer = there(PROMPT, "--partial")
    assert answer.code == 2
    assert len(answer.lines) == 1
    assert "dropped" in answer.err


def test_unknown_nodes_and_broken_links_are_never_sent(there: Cascade, server: Any) -> None:
    for change, expected in (
        (node("Txt", "T"), 'node 1 "T" (Txt): no node "Txt" in http://127.0.0.1'),
        ([], "node 1: expected an object with class_type and inputs, found []"),
        (
            node("Show", "T", text=["2", 1]),
            'node 1 "T" (Show), input "text": expected a node with outputs, found slot 1',
        ),
        (node("Show", "T", text=["9", 0]), 'expected a link to a node of the workflow ("1", "2"), found "9"'),
    ):
        answer = there(PROMPT | {"1": change})
        assert (answer.code, answer.out) == (2, "")
        assert expected in answer.err
    assert server.prompts == []


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (
            "execution_error",
            {"exception_type": "x.y.CascadeError", "exception_message": "too wide\n"},
            'node 1 "Words" (Text) failed: too wide',
        ),
        (
            "execution_error",
            {"exception_type": "torch.OutOfMemoryError", "exception_message": "60 GiB"},
            "failed: OutOfMemoryError: 60 GiB; choose a smaller size",
        ),
        ("execution_interrupted", {}, 'somebody interrupted it at node 1 "Words" (Text)'),
    ],
)
def test_a_failure_there(there: Cascade, server: Any, kind: str, fields: dict[str, str], expected: str) -> None:
    server.messages = [[kind, {"node_id": "1", "node_type": "Text", **fields}]]
    server.outputs, server.files = {"2": {"images": [IMAGE]}}, {IMAGE["filename"]: PNG}
    answer = there(PROMPT)
    assert answer.code == 1
    assert expected in answer.err.splitlines()[-1]
    assert len(answer.lines) == 1  # what was finished before


@pytest.mark.parametrize("waiting", [False, True])
def test_ctrl_c_stops_it_there(there: Cascade, server: Any, waiting: bool) -> None:
    async def begin(server: Any, id: str) -> None:
        if waiting:
            server.running, server.pending = ["another"], [id]
            await server.tell("status", status={})
        else:
            await server.tell("executing", node="1", prompt_id=id)
        await asyncio.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    server.script = begin
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answer = there(PROMPT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (answer.code, answer.out) == (130, "")
    assert answer.err.splitlines()[-1] == "cascade: stopped"
    id = server.prompts[0]["prompt_id"]
    assert server.asked == [("queue", {"delete": [id]}) if waiting else ("interrupt", {"prompt_id": id})]
    assert waiting == ("waiting in the server's queue behind 1" in answer.err)


def test_taken_out_of_the_queue_by_somebody(there: Cascade, server: Any) -> None:
    async def removed(server: Any, id: str) -> None:
        server.running = []
        await server.tell("status", status={})

    server.script = removed
    answer = there(PROMPT)
    assert answer.code == 1
    assert "took the workflow out of the queue" in answer.err


def test_a_connection_lost_while_it_runs(there: Cascade, server: Any) -> None:
    async def close(server: Any, id: str) -> None:
        await server.tell("executing", node="1", prompt_id=id)
        await server.socket.close()

    server.script = close
    answer = there(PROMPT)
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith(f"cascade: {server.url}: the connection was lost")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--server", "http://127.0.0.1:1"], "http://127.0.0.1:1 cannot be reached"),
        (["--server", "ftp://x"], "an address such as http://127.0.0.1:8188"),
        (["--server", "http://["], "the address of a ComfyUI"),
        (["--server", "x", "--models", "."], "--models: the server has its own"),
        (["--server", "x", "--device", "cpu"], "--device: the server has its own"),
        (["--server", "x", "--compile"], "--compile: the server has its own"),
    ],
)
def test_bad_arguments(cascade: Cascade, arguments: list[str], expected: str) -> None:
    answer = cascade("run", PROMPT, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1


def test_without_aiohttp(cascade: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    answer = cascade("run", PROMPT, "--server", "http://127.0.0.1:1")
    assert (answer.code, answer.err) == (2, "cascade: talking to a server needs aiohttp: pip install aiohttp\n")


def test_a_password_is_not_told(cascade: Cascade) -> None:
    answer = cascade("run", PROMPT, "--server", "http://me:secret@127.0.0.1:1")
    assert "127.0.0.1:1 cannot be reached" in answer.err
    assert "secret" not in answer.err
