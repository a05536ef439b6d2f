"""`cascade nodes`."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import node_classes

Cascade = Callable[..., Any]


def test_lists_every_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes"]) == 0
    out = capsys.readouterr().out
    assert "SaveImage  Save Image\n    images, filename_prefix -> nothing\n    Saves the pictures" in out
    assert all(f"\n{name}  " in f"\n{out}" for name in node_classes.load().classes)


def test_describes_one(cascade: Cascade) -> None:
    answer = cascade("nodes", "Many")
    assert answer.code == 0
    assert "  ratio: FLOAT, default 0.5, min 0.0, max 1.0\n" in answer.out
    assert '  colour: COMBO, one of "red", "green"\n' in answer.out
    assert "Outputs:\n  STRING: STRING\n" in answer.out


def test_json(cascade: Cascade) -> None:
    found = json.loads(cascade("nodes", "SaveImage", "--json").out)["SaveImage"]
    assert found["display_name"] == "Save Image"
    assert found["inputs"][1] == {"name": "filename_prefix", "type": "STRING", "required": True, "default": "ComfyUI"}
    assert found["is_output"] is True


def test_an_unknown_name(cascade: Cascade) -> None:
    answer = cascade("nodes", "SaveImages")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith('cascade: expected a node ("SaveImage"')
