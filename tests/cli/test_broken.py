"""Broken workflows: exit code 2, nothing runs, nothing is written, and a message that names the place and the cause."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..headless.graph.fake_nodes import node

Cascade = Callable[..., Any]


def api(**nodes: Any) -> dict[str, Any]:
    """Nodes `n1`, `n2`, ... as a prompt, with a picture that would be written if anything ran."""
    picture = {"90": node("Paint", red=0.5), "91": node("SaveImage", images=["90", 0], filename_prefix="written")}
    return {key[1:]: value for key, value in nodes.items()} | picture


def load(name: str) -> dict[str, Any]:
    return api(n1=node("LoadImage", "Mine", image=name), n2=node("PreviewImage", images=["1", 0]))


def editor(*nodes: dict[str, Any], links: Any = (), **fields: Any) -> dict[str, Any]:
    return {"version": 0.4, "nodes": list(nodes), "links": links if isinstance(links, str) else list(links)} | fields


NUMBER = {"id": 1, "type": "Number", "title": "Mine", "widgets_values": [3]}
SHOW = {"id": 2, "type": "Show", "title": "Out", "inputs": [{"name": "value", "type": "INT", "link": 5}]}
LINK = [5, 1, 0, 2, 0, "INT"]
MANY = {"colour": "red", "size": "small", "ratio": 0.5, "fast": False, "name": "x"}

CASES: dict[str, tuple[Any, list[str]]] = {
    # files
    "empty file": (b"", ["an empty file"]),
    "not json": (b"{nodes: []}", ["as JSON"]),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\xff", ["a picture with a workflow in it", "found none"]),
    "cut off": (json.dumps(api(n1=node("Number", value=1))).encode()[:-9], ["as JSON"]),
    "huge": (b" " * (32 * 2**20 + 1), ["at most 32 MiB"]),
    "nested deeply": (b'{"a":' * 100_000, ["nested too deeply"]),
    "a list": (b"[1, 2]", ["nodes and links", "found [1, 2]"]),
    "an empty object": (b"{}", ["an empty object"]),
    "another object": ({"prompt": {}, "client_id": "x"}, ["nodes and links", '"prompt"', '"client_id"']),
    # the API form
    "a node that is none": (api(n1="text"), ["node 1", "class_type", '"text"']),
    "a node without a class": (api(n1={"inputs": {}}), ["node 1", "class_type", '"inputs"']),
    "a node without inputs": (api(n1={"class_type": "Number"}), ["node 1", '"inputs"', "null"]),
    "inputs that are a list": (api(n1={"class_type": "Number", "inputs": [1]}), ["node 1", '"inputs"', "[1]"]),
    "a missing class": (api(n1=node("Numbr", "Mine")), ['node 1 "Mine"', '"Number"', '"Numbr"']),
    "a missing class that nothing needs": (api(n1=node("SamplerCustom", "Mine")), ['node 1 "Mine"', '"SamplerCustom"']),
    "no output": ({"1": node("Number", value=1)}, ["shows or saves", '"Number"']),
    "a missing input": (api(n1=node("Show", "Mine")), ['node 1 "Mine" (Show), input "value"', "INT", "nothing"]),
    "a missing link": (api(n1=node("ShowRatio", "Mine")), ['input "ratio"', "a link to RATIO", "nothing"]),
    "a dangling link": (api(n1=node("Show", "Mine", value=["7", 0])), ['input "value"', "of the workflow", '"7"']),
    "a number as source": (api(n1=node("Show", "Mine", value=[90, 0])), ['input "value"', "id as a text", "[90, 0]"]),
    "a text as slot": (api(n1=node("Show", "Mine", value=["90", "0"])), ['input "value"', '["90", "0"]']),
    "half a link": (api(n1=node("Show", "Mine", value=["90"])), ['input "value"', "[node id", '["90"]']),
    "a bad slot": (
        api(n1=node("Show", "Mine", value=["2", 5]), n2=node("Two", "Pair")),
        ['node 1 "Mine" (Show), input "value"', "0 to 1", 'slot 5 of node 2 "Pair" (Two)'],
    ),
    "a negative slot": (api(n1=node("Show", value=["2", -1]), n2=node("Two")), ['input "value"', "slot -1"]),
    "the wrong type": (
        api(n1=node("Show", "Mine", value=["2", 1]), n2=node("Two", "Pair")),
        ['input "value"', "INT", 'STRING from node 2 "Pair" (Two)'],
    ),
    "a link to an unknown input": (api(n1=node("Strict", "Mine", value=1, valu=["90", 0])), ['"valu"', '"value"']),
    "a text for a number": (api(n1=node("Strict", "Mine", value="many")), ['input "value"', "whole number", '"many"']),
    "null for a number": (api(n1=node("Strict", "Mine", value=None)), ['input "value"', "a whole number", "null"]),
    "not a number": (b'{"1": {"class_type": "Strict", "inputs": {"value": NaN}}}', ["node 1", '"value"', "NaN"]),
    "infinity": (
        b'{"1": {"class_type": "Paint", "inputs": {"red": Infinity}}, "2": '
        b'{"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}',
        ["node 1", '"red"', "Infinity"],
    ),
    "too small": (api(n1=node("Strict", "Mine", value=-1)), ['input "value"', "0 to 100", "-1"]),
    "too large": (api(n1=node("Strict", "Mine", value=10**30)), ['input "value"', "0 to 100", "1000"]),
    "a list for a number": (api(n1=node("Strict", value={"__value__": [1, 2]})), ['input "value"', "[1, 2]"]),
    "an unknown choice": (
        api(n1=node("ShowRatio", ratio=["2", 1]), n2=node("Many", "Mine", **(MANY | {"colour": "blue"}))),
        ['node 2 "Mine" (Many), input "colour"', '"red", "green"', '"blue"'],
    ),
    "an unknown choice, new style": (
        api(n1=node("ShowRatio", ratio=["2", 1]), n2=node("Many", "Mine", **(MANY | {"size": "huge"}))),
        ['input "size"', '"small", "large"', '"huge"'],
    ),
    "a text for a boolean": (
        api(n1=node("ShowRatio", ratio=["2", 1]), n2=node("Many", "Mine", **(MANY | {"fast": "false"}))),
        ['input "fast"', "true or false", '"false"'],
    ),
    "a text without end": (
        api(n1=node("ShowText", text=["2", 0]), n2=node("Text", "Mine", text="x" * 2_000_000)),
        ['node 2 "Mine" (Text), input "text"', "1,000,000 characters"],
    ),
    "the node's own check": (
        api(n1=node("Show", value=["2", 0]), n2=node("Checked", "Mine", value=13, text="")),
        ['node 2 "Mine" (Checked), input "value": 13 brings bad luck'],
    ),
    "a circle": (
        api(
            n1=node("Show", value=["2", 0]),
            n2=node("Add", "Two", a=["3", 0], b=1),
            n3=node("Add", "Three", a=["2", 0], b=1),
        ),
        ["a circle", '2 "Two"', '3 "Three"'],
    ),
    "a node that needs itself": (api(n1=node("Strict", "Mine", value=["1", 0])), ['1 "Mine" -> 1 "Mine"']),
    "a lazy input": (api(n1=node("Lazy", "Mine", value=1)), ['node 1 "Mine" (Lazy)', "the lazy input value"]),
    "an asynchronous node": (api(n1=node("Async", "Mine")), ['node 1 "Mine" (Async)', "asynchronous"]),
    "a V3 node": (api(n1=node("Third", "Mine")), ['node 1 "Mine" (Third)', "V3"]),
    # files and folders
    "a picture outside": (load("../outside/x.png"), ["node 1", '"image"', "x.png"]),
    "a picture by an absolute path": (load("{folder}/outside/x.png"), ["node 1", '"image"']),
    "a picture through a link": (load("link/x.png"), ["node 1", '"image"', "link/x.png"]),
    "a picture that is not there": (load("y.png"), ['"Mine"', '"image"', "y.png"]),
    "a folder as a picture": (load("."), ["node 1", '"image"']),
    "a name with a null character": (load("x\0.png"), ["node 1", '"image"']),
    "an output outside": (
        api(n1=node("SaveImage", images=["90", 0], filename_prefix="../x")),
        ['"filename_prefix"', "../x"],
    ),
    "an absolute output": (
        api(n1=node("SaveImage", images=["90", 0], filename_prefix="{folder}/outside/x")),
        ["node 1", '"filename_prefix"'],
    ),
    "an output through a link": (
        api(n1=node("SaveImage", images=["90", 0], filename_prefix="link/x")),
        ["node 1", '"filename_prefix"', "link/x"],
    ),
    # the editor's form
    "no nodes": (editor(), ["shows or saves"]),
    "nodes without ids": (editor({"type": "Number"}), ["an id, a type", '{"type": "Number"}']),
    "an id twice": (editor(NUMBER, NUMBER), ["an id of its own", '"1"']),
    "links that are a text": (editor(NUMBER, links="none"), ['"links"', '"none"']),
    "a link that is cut": (editor(NUMBER, SHOW, links=[[5, 1, 0]]), ["every link", "[5, 1, 0]"]),
    "a link that is not there": (editor(NUMBER, SHOW), ['node 2 "Out" (Show), input "value"', "link 5"]),
    "a link from a node that is not there": (editor(SHOW, links=[LINK]), ['node 2 "Out" (Show), input "value"', '"1"']),
    "a muted source": (
        editor(NUMBER | {"mode": 2}, SHOW, links=[LINK]),
        ['node 2 "Out" (Show), input "value"', "nothing"],
    ),
    "a widget value of the wrong type": (
        editor(NUMBER | {"widgets_values": ["x"]}, SHOW, links=[LINK]),
        ['node 1 "Mine" (Number), input "value"', '"x"'],
    ),
    "an unknown version": (editor(NUMBER, version=7), ["version 0.4 or 1", "found 7"]),
    "a subgraph in itself": (
        editor(
            {"id": 1, "type": "a-b", "title": "Mine"},
            definitions={"subgraphs": [{"id": "a-b", "nodes": [{"id": 2, "type": "a-b", "title": "Inner"}]}]},
        ),
        ['node 1:2 "Inner"', "a subgraph", "itself"],
    ),
    "a group node": (editor({"id": 1, "type": "workflow>mine"}), ["node 1", "a group node"]),
}


def fill(value: Any, folder: Path) -> Any:
    """`{folder}` in any text of a document."""
    return json.loads(json.dumps(value).replace("{folder}", str(folder)))


@pytest.mark.parametrize("name", CASES)
def test_broken(cascade: Cascade, folders: Path, calls: list[Any], name: str) -> None:
    for place in ("input", "output"):
        os.symlink(folders / "outside", folders / place / "link")
    (folders / "outside" / "x.png").write_bytes(b"secret")
    written, expected = CASES[name]
    answer = cascade("run", written if isinstance(written, bytes) else fill(written, folders))
    assert (answer.code, answer.out, calls) == (2, "", [])
    assert all(line.startswith("cascade: ") for line in answer.err.splitlines())
    assert all(part in answer.err for part in expected), answer.err
    assert "Traceback" not in answer.err
    assert len(answer.err) < 3000
    assert [path.name for path in (folders / "output").iterdir()] == ["link"]
    assert [path.name for path in (folders / "outside").iterdir()] == ["x.png"]


def test_validate_says_the_same(cascade: Cascade, folders: Path) -> None:
    for name in ("not json", "the wrong type", "a circle", "a link that is not there"):
        written, _ = CASES[name]
        assert cascade("validate", written).err.split(": ", 2)[2:] == cascade("run", written).err.split(": ", 2)[2:]


def test_a_missing_file(cascade: Cascade, folders: Path) -> None:
    answer = cascade("run", folders / "missing.json")
    assert answer.code == 2
    reason = "expected a workflow file, but there is none"
    assert answer.err == f"cascade: {folders / 'missing.json'}: {reason}\n"
