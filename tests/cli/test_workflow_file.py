"""A workflow out of a picture, wherever a workflow is taken."""

import json
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from stable_cascade_nodes.headless import workflow_file
from stable_cascade_nodes.headless.graph import WorkflowError

Cascade = Callable[..., Any]
PROMPT = {"1": {"class_type": "Paint", "inputs": {"red": 0.25}, "is_changed": [float("nan")]}}
EDITOR = {"nodes": [], "links": [], "version": 0.4, "extra": "Ä"}


def text_chunk(kind: bytes, key: str, value: Any, **options: Any) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add(kind, key.encode() + b"\0" + json.dumps(value, ensure_ascii=False).encode(), **options)
    return info


def save_png(path: Path, **texts: Any) -> None:
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_text(key, json.dumps(value))
    Image.new("RGB", (4, 4)).save(path, format="PNG", pnginfo=info)


@pytest.mark.parametrize("suffix", [".png", ".json", ""])
def test_the_editors_form_wins(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save_png(path, prompt=PROMPT, workflow=EDITOR)
    assert workflow_file.read(path) == EDITOR
    save_png(path, prompt=PROMPT)
    assert workflow_file.read(path)["1"]["class_type"] == "Paint"


@pytest.mark.parametrize(
    "info",
    [
        text_chunk(b"tEXt", "workflow", EDITOR),
        text_chunk(b"tEXt", "workflow", EDITOR, after_idat=True),
        text_chunk(b"comf", "workflow", EDITOR, after_idat=True),
    ],
)
@pytest.mark.parametrize("frames", [1, 2])
def test_chunks_of_a_png(tmp_path: Path, info: PngImagePlugin.PngInfo, frames: int) -> None:
    more = [Image.new("RGB", (4, 4), "red")] * (frames - 1)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info, save_all=frames > 1, append_images=more)
    assert workflow_file.read(tmp_path / "a.png") == EDITOR


def test_international_text(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("workflow", json.dumps(EDITOR, ensure_ascii=False))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    assert workflow_file.read(tmp_path / "a.png") == EDITOR


@pytest.mark.parametrize("format", ["WEBP", "JPEG"])
def test_exif(tmp_path: Path, format: str) -> None:
    picture = Image.new("RGB", (4, 4))
    exif = picture.getexif()
    exif[0x0110] = f"prompt:{json.dumps(PROMPT)}"
    picture.save(tmp_path / "a", format=format, exif=exif)
    assert workflow_file.read(tmp_path / "a")["1"]["class_type"] == "Paint"
    exif[0x010F] = f"Workflow:{json.dumps(EDITOR)}"
    picture.save(tmp_path / "a", format=format, exif=exif)
    assert workflow_file.read(tmp_path / "a") == EDITOR


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG", "GIF", "BMP", "TIFF"])
def test_a_picture_without_a_workflow(tmp_path: Path, format: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.json", format=format)
    with pytest.raises(WorkflowError, match="expected a picture with a workflow in it, found none"):
        workflow_file.read(tmp_path / "a.json")


@pytest.mark.parametrize("data", [b"RIFF....WEBPVP8 ", b"\xff\xd8\xff\xe0", b"\0\0\0\x1cftypavif\0\0\0\0"])
def test_a_damaged_picture(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.webp").write_bytes(data)
    with pytest.raises(WorkflowError, match=r"a\.webp: expected a picture, but it cannot be read"):
        workflow_file.read(tmp_path / "a.webp")


@pytest.mark.parametrize(("text", "expected"), [("{", "line 1 is no JSON"), ("[]", "expected a workflow")])
def test_what_is_in_it_is_no_workflow(tmp_path: Path, text: str, expected: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", text)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(WorkflowError, match=rf"a\.png \(workflow\): .*{expected}"):
        workflow_file.read(tmp_path / "a.png")


def test_a_written_picture_makes_itself_again(cascade: Cascade, folders: Path) -> None:
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}}
    first = cascade("run", PROMPT | {"2": save}).lines[0]
    assert cascade("validate", first).code == 0
    again = cascade("run", first, "--set", "1.red=0.75")
    assert again.code == 0, again.err
    with Image.open(first) as one, Image.open(again.lines[0]) as other:
        assert (one.getpixel((0, 0)), other.getpixel((0, 0))) == ((63, 0, 0), (191, 0, 0))
    assert json.loads(cascade("export", "--api", again.lines[0]).out)["1"]["inputs"] == {"red": 0.75}


def zipped(key: bytes, data: bytes, kind: bytes = b"zTXt") -> PngImagePlugin.PngInfo:
    """A compressed chunk: with its method, and in iTXt a flag before it and two texts for people behind."""
    info = PngImagePlugin.PngInfo()
    info.add(kind, key + b"\0" + (b"\0" if kind == b"zTXt" else b"\x01\0de\0Name\0") + data)
    return info


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_compressed_texts(tmp_path: Path, kind: bytes) -> None:
    data = zlib.compress(json.dumps(EDITOR, ensure_ascii=False).encode())
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=zipped(b"workflow", data, kind))
    assert workflow_file.read(tmp_path / "a.png") == EDITOR


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"not compressed", "expected a compressed text, but it cannot be read"),
        (zlib.compress(json.dumps(EDITOR).encode())[:-8], "expected a whole compressed text, found its beginning"),
        (zlib.compress(b" " * (32 * 2**20 + 1), 9), "expected a text of at most 32 MiB, found a longer one"),
    ],
)
def test_compressed_texts_that_cannot_be_used(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, pnginfo=zipped(b"prompt", data))
    with pytest.raises(WorkflowError, match=expected) as caught:
        workflow_file.read(path)
    assert str(caught.value).startswith(f"{path} (prompt): ")


def test_what_inflates_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, pnginfo=zipped(b"workflow", zlib.compress(bytes(2**29), 9)))
    tracemalloc.start()
    with pytest.raises(WorkflowError, match="at most 32 MiB"):
        workflow_file.read(path)
    assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(EDITOR, ensure_ascii=False).encode(encoding))
    assert workflow_file.read(path) == EDITOR


NODES = {"1": {"class_type": "Paint", "inputs": {"red": 0.25}}}
RUN = [3, "an-id", NODES, {"extra_pnginfo": {}}, ["1"]]


@pytest.mark.parametrize(
    "document",
    [
        {"prompt": NODES},
        {"prompt": NODES, "client_id": "x", "extra_data": {"extra_pnginfo": {"workflow": EDITOR}}},
        {"output": NODES, "workflow": EDITOR},
        {"an-id": {"prompt": RUN, "outputs": {}, "status": {"status_str": "success"}}},
        {"prompt": RUN, "outputs": {}, "status": {}},
        NODES,
    ],
)
def test_what_a_prompt_travels_in(tmp_path: Path, document: dict[str, Any]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    assert workflow_file.read(path) == NODES


def test_a_node_may_have_the_id_prompt(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    document = {"prompt": NODES["1"]}
    path.write_text(json.dumps(document))
    assert workflow_file.read(path) == document


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"a": {"prompt": RUN}, "b": {"prompt": RUN}}, "found a history of 2 runs: keep the entry of one"),
        ({"prompt": {}}, "expected a workflow"),
        ({"prompt": "a text"}, "expected a workflow"),
        ({"1": {"class_type": "Paint", "inputs": {"deep": json.loads("[" * 500 + "]" * 500)}}}, "nested too deeply"),
    ],
)
def test_what_is_none(tmp_path: Path, document: dict[str, Any], expected: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    with pytest.raises(WorkflowError, match=expected):
        workflow_file.read(path)


def test_a_picture_whose_editor_form_is_broken(cascade: Cascade, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", '{"nodes": [')
    info.add_text("prompt", json.dumps({"1": {"class_type": "SaveImage", "inputs": {}}}))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    answer = cascade("export", "--api", tmp_path / "a.png")
    assert answer.code == 0 and list(json.loads(answer.out)) == ["1"]
    assert len(answer.err.splitlines()) == 1
    assert "the prompt in the same picture is used instead" in answer.err
