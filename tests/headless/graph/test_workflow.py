"""Reading files, and prompts in API form."""

import json
from pathlib import Path

import pytest

from stable_cascade_nodes.cascade_core import reading
from stable_cascade_nodes.headless import graph, workflow_file

PROMPT = {"1": {"class_type": "Number", "inputs": {"value": 3}}}


def refusal(path: Path) -> str:
    with pytest.raises(graph.WorkflowError) as caught:
        workflow_file.read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_reads_json(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "workflow.json"
    path.write_bytes(start + json.dumps(PROMPT).encode())
    assert workflow_file.read(path) == PROMPT


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "an empty file"),
        (b" \n ", "an empty file"),
        (b"{", "line 1 is no JSON"),
        (b"\x89PNG\r\n\x1a\n\xff", "expected a picture with a workflow"),
        (b'{"a": ' + b"9" * 5000 + b"}", "this is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"[]", "found []"),
        (b'"text"', 'found "text"'),
        (b"{}", "an empty object"),
        (b'{"version": 0.4, "links": []}', '"version", "links"'),
        (b'{"nodes": 3}', '"nodes"'),
    ],
)
def test_refuses_what_is_no_workflow(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "workflow.json"
    path.write_bytes(content)
    assert expected in refusal(path)


def test_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    assert "there is none" in refusal(tmp_path / "missing.json")
    assert "cannot be read" in refusal(tmp_path)


def test_refuses_a_huge_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST_TEXT", 2**20)
    path = tmp_path / "workflow.json"
    path.write_bytes(b" " * (2**20 + 1))
    assert "at most 1 MiB" in refusal(path)


def test_api_form_loses_the_hosts_cache_key_and_gains_a_title(classes: graph.Classes) -> None:
    document = {
        "1": {"class_type": "Number", "inputs": {"value": 3}, "is_changed": ["abc"]},
        "2": {"class_type": "Number", "inputs": {}, "_meta": {"title": "Mine"}},
    }
    found = graph.convert(document, graph.definitions(classes), {"Number": "A number"})
    assert found.editor is None
    assert found.prompt["1"] == {"class_type": "Number", "inputs": {"value": 3}, "_meta": {"title": "A number"}}
    assert graph.title_of(found.prompt["2"]) == "Mine"
    assert "is_changed" in document["1"]
