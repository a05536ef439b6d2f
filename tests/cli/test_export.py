"""`cascade export --api`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cascade = Callable[..., Any]
OTHERS = {
    "Other": {
        "input": {"required": {"seed": ["INT", {"default": 0}], "size": [["small", "large"], {}]}},
        "input_order": {"required": ["seed", "size"]},
        "output": ["IMAGE"],
        "output_node": False,
        "display_name": "Another pack's",
    }
}
DOCUMENT = {
    "version": 0.4,
    "nodes": [
        {"id": 1, "type": "Other", "widgets_values": [7, "fixed", "large"], "outputs": [{"type": "IMAGE"}]},
        {
            "id": 2,
            "type": "SaveImage",
            "widgets_values": ["a"],
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
}
PROMPT = {
    "1": {"class_type": "Other", "inputs": {"seed": 7, "size": "large"}, "_meta": {"title": "Another pack's"}},
    "2": {
        "class_type": "SaveImage",
        "inputs": {"filename_prefix": "a", "images": ["1", 0]},
        "_meta": {"title": "Save Image"},
    },
}


@pytest.fixture
def info(folders: Path) -> Path:
    path = folders / "object_info"
    path.write_text(json.dumps(OTHERS))
    return path


def test_stdout(cascade: Cascade, info: Path) -> None:
    answer = cascade("export", "--api", DOCUMENT, "--object-info", info)
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == PROMPT


def test_values_are_set(cascade: Cascade, info: Path) -> None:
    choices = ["--set", "Another pack's.size=small", "--set", "2.filename_prefix=b"]
    found = json.loads(cascade("export", "--api", DOCUMENT, "--object-info", info, *choices).out)
    assert (found["1"]["inputs"]["size"], found["2"]["inputs"]["filename_prefix"]) == ("small", "b")


def test_a_prompt_stays_one(cascade: Cascade, info: Path) -> None:
    assert json.loads(cascade("export", "--api", PROMPT, "--object-info", info).out) == PROMPT


def test_a_file(cascade: Cascade, info: Path, folders: Path) -> None:
    target = folders / "out.json"
    target.write_text("old")
    answer = cascade("export", "--api", DOCUMENT, "--object-info", info, "-o", target)
    assert (answer.code, answer.out) == (0, "")
    assert json.loads(target.read_text()) == PROMPT
    assert not list(folders.glob(".*"))
    answer = cascade("export", "--api", DOCUMENT, "--object-info", info, "--output", folders / "nowhere" / "out.json")
    assert (answer.code, answer.out) == (2, "")
    assert "--output: " in answer.err


def test_unknown_nodes_are_named(cascade: Cascade) -> None:
    answer = cascade("export", "--api", DOCUMENT)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith('cascade: node 1 "Other" (Other): no node "Other" in this pack')
    assert answer.err.endswith("; --object-info tells of the nodes of other packs\n")


def test_pictures_lie_in_the_input_folder(cascade: Cascade, folders: Path) -> None:
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}
    for place in ("input", "outside"):
        (folders / place / "a.png").touch()
    found = cascade("export", "--api", prompt, "--set", f"1.image={folders / 'input' / 'a.png'}")
    assert json.loads(found.out)["1"]["inputs"] == {"image": "a.png"}
    answer = cascade("export", "--api", prompt, "--set", f"1.image={folders / 'outside' / 'a.png'}")
    assert (answer.code, answer.out) == (2, "")
    assert "expected a file of the input folder" in answer.err


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (b"", "as JSON"),
        (b"[]", "expected an object of nodes"),
        (b'{"A": 1}', '"A"'),
        (None, "No such file"),
    ],
)
def test_bad_object_info(cascade: Cascade, folders: Path, info: bytes | None, expected: str) -> None:
    if info is not None:
        (folders / "info").write_bytes(info)
    answer = cascade("export", "--api", DOCUMENT, "--object-info", folders / "info")
    assert (answer.code, answer.out) == (2, "")
    assert expected in answer.err


def test_an_address_nobody_answers_at(cascade: Cascade) -> None:
    pytest.importorskip("aiohttp")
    answer = cascade("export", "--api", DOCUMENT, "--object-info", "http://127.0.0.1:1/object_info")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("cascade: --object-info: http://127.0.0.1:1 cannot be reached")


def test_numbers_that_are_none(cascade: Cascade) -> None:
    answer = cascade("export", "--api", {"1": {"class_type": "Paint", "inputs": {"red": float("nan")}}})
    assert (answer.code, answer.out) == (2, "")
    assert "numbers that JSON can write" in answer.err


def test_the_form_need_not_be_said(cascade: Cascade) -> None:
    said, unsaid = cascade("export", "--api", DOCUMENT), cascade("export", DOCUMENT)
    assert (said.code, said.out, said.err) == (unsaid.code, unsaid.out, unsaid.err)


def test_comfyuis_own_nodes_need_no_server(cascade: Cascade) -> None:
    nodes = [
        {"id": 1, "type": "KSampler", "widgets_values": [7, "fixed", 4, 5.5, "heun", "karras", 0.5]},
        {"id": 2, "type": "SaveVideo", "widgets_values": ["a", "mp4", "h264", "auto", "auto"]},
        {"id": 3, "type": "EmptyLatentImage"},
    ]
    answer = cascade("export", "--api", {"version": 0.4, "nodes": nodes, "links": []})
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert found["1"]["inputs"] == {
        "seed": 7,
        "steps": 4,
        "cfg": 5.5,
        "sampler_name": "heun",
        "scheduler": "karras",
        "denoise": 0.5,
    }
    assert found["2"]["inputs"]["format.codec.encoding"] == "auto"
    assert found["3"]["_meta"]["title"] == "Empty Latent Image"
    assert found["3"]["inputs"] == {"width": 512, "height": 512, "batch_size": 1}


def test_a_choice_brings_its_inputs(cascade: Cascade) -> None:
    document = {"nodes": [{"id": 1, "type": "SaveVideo", "widgets_values": ["a", "auto", "auto", "auto"]}], "links": []}
    choices = ["--set", "1.format=mp4", "--set", "1.format.codec=h264", "--set", "1.format.codec.encoding=re-encode"]
    answer = cascade("export", "--api", document, *choices, "--set", "Save Video.format.codec.encoding.crf=9")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["1"]["inputs"] == {
        "filename_prefix": "a",
        "format": "mp4",
        "format.codec": "h264",
        "format.codec.encoding": "re-encode",
        "format.codec.encoding.crf": 9,
        "format.codec.encoding.color_space": "auto",
        "codec": "auto",
    }
    answer = cascade("export", "--api", document, "--set", "1.format.nothing=1")
    assert answer.code == 2 and 'found "format.nothing"' in answer.err


def test_an_input_that_is_not_understood_is_named(cascade: Cascade, folders: Path) -> None:
    declared = {
        "unknown": ["COMFY_DYNAMICGROUP_V3", {}],
        "texts": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"text": ["STRING", {}]}}, "prefix": "t"}}],
        "drawn": ["PACK_WHEEL", {}],
        "plain": ["PACK_SOCKET", {}],
    }
    for name, spec in declared.items():
        info = {"Other": {"input": {"required": {name: spec}}, "output": []}}
        (folders / "object_info").write_text(json.dumps(info))
        slots = [{"name": name, "type": spec[0], "link": None, "widget": {"name": name}}]
        entry = {"id": 1, "type": "Other", "widgets_values": [1], "inputs": slots if name == "drawn" else []}
        answer = cascade("export", "--api", {"nodes": [entry], "links": []}, "--object-info", folders / "object_info")
        if name == "plain":
            assert answer.code == 0
        else:
            assert answer.code == 2 and answer.out == ""
            assert f'node 1 "Other" (Other), input "{name}": expected a type of input' in answer.err
            assert str(spec[0]) in answer.err


def test_an_unknown_choice_is_named(cascade: Cascade) -> None:
    entry = {"id": 1, "type": "SaveVideo", "widgets_values": ["a", "avi", "dv", "auto"]}
    answer = cascade("export", "--api", {"nodes": [entry], "links": []})
    assert answer.code == 2 and answer.out == ""
    assert 'input "format": expected one of "auto", "mp4"' in answer.err and 'found "avi"' in answer.err
    assert cascade("export", "--api", {"nodes": [entry | {"mode": 2}], "links": []}).code == 0


def test_halves_of_characters(cascade: Cascade) -> None:
    for entry in (
        {"nodes": [{"id": 1, "type": "CLIPTextEncode", "widgets_values": ["a \ud800 {b|c}"]}], "links": []},
        {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a \ud800"}}},
    ):
        answer = cascade("export", "--api", entry)
        assert answer.code == 2 and answer.out == ""
        assert 'input "text": expected a text without halves of Unicode characters' in answer.err
        assert cascade("validate", entry).code == 2


@pytest.mark.parametrize(
    "damage", [{"options": 3}, {"options": [{"key": 1, "inputs": {}}]}, {"options": [{"key": "a"}]}]
)
def test_a_dynamic_combo_that_is_none(cascade: Cascade, folders: Path, damage: Any) -> None:
    info = {"Other": {"input": {"required": {"model": ["COMFY_DYNAMICCOMBO_V3", damage]}}, "output": []}}
    (folders / "object_info").write_text(json.dumps(info))
    answer = cascade("export", "--api", DOCUMENT, "--object-info", folders / "object_info")
    assert answer.code == 2
    assert "expected what a COMFY_DYNAMICCOMBO_V3 brings, of the node Other, input model" in answer.err
