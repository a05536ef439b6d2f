"""Headers: read whatever the file's form, checked strictly, without reading a tensor; the rest is named."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.header import TensorInfo, open_tensors, read_header

from ..model_files import write_header
from .headers import TENSORS, refusal_to_read


def header_file(path: Path, header: Any, data: int = 0) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(data))
    return path


def entry(start: int, stop: int, shape: Any = None, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "f.safetensors", {"format": "pt", "cascade": "{}"})
    return tmp_path / "f.safetensors"


def test_a_plain_file(file: Path) -> None:
    header = read_header(file)
    assert (header.path, header.config) == (file, None)
    assert header.metadata == {"format": "pt", "cascade": "{}"}
    assert header.tensors == {"a.weight": TensorInfo("F32", (2, 3), file), "b": TensorInfo("F16", (4,), file)}
    with open_tensors(header) as get:
        assert all(torch.equal(get(name), tensor) for name, tensor in TENSORS.items())


def test_the_bytes_count_and_not_the_suffix(file: Path) -> None:
    for name in ("f.ckpt", ".f.safetensors.0123456789ab.part", "f"):
        assert set(read_header(file.rename(file.with_name(name))).tensors) == set(TENSORS)
        file = file.with_name(name)


def test_fourteen_gigabytes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    write_header(path, {"a": ("F32", (3_589_103_632,))})
    assert path.stat().st_size > 14e9
    assert read_header(path).tensors["a"].shape == (3_589_103_632,)


# What safetensors itself would refuse, and why.
BAD_HEADERS: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{not json", 0, "it is no JSON from character 1 on"),
    "a list in it": ({"a": [1]}, 0, "a has no type, shape or place"),
    "a number in it": ({"a": 1}, 0, "a has no type, shape or place"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [1]}}, 4, "a has no type, shape or place"),
    "65 sides": ({"a": entry(0, 4, [1] * 65)}, 4, "a has the shape [1, 1"),
    "a side of 2^63": ({"a": entry(0, 0, [2**63, 0])}, 0, "a has the shape [9223372036854775808"),
    "a long name": ({"a" * 4097: entry(0, 4)}, 4, "aaa... is a name of 4,097 characters"),
    "too many tensors": (
        {f"{number}": entry(0, 0, [0]) for number in range(100_001)},
        0,
        "it has 100,001 tensors, expected 100,000 at most",
    ),
    "too many values": (b'{"a":[' + b"[]," * 600_000 + b"[]]}", 0, "it has more than 1,000,000 values"),
    "a header of 40 MB": (b"{" + b" " * 39_999_999, 0, "it has 40.0 MB, expected 33.6 MB at most"),
    "a shape that is none": ({"a": entry(0, 4, 3)}, 4, "a has the shape 3"),
    "a negative side": ({"a": entry(0, 4, [-1])}, 4, "a has the shape"),
    "a side that is no number": ({"a": entry(0, 4, [True])}, 4, "a has the shape"),
    "an unknown type": ({"a": entry(0, 4, dtype="F33")}, 4, "a has the unknown type 'F33'"),
    "a type that is none": ({"a": entry(0, 4, dtype=["F32"])}, 4, "a has the unknown type ['F32']"),
    "offsets that are none": (
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}},
        4,
        "a has the place ['0', '4']",
    ),
    "a gap": ({"a": entry(0, 4), "b": entry(8, 12)}, 12, "b lies at 8 to 12"),
    "an overlap": ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "b lies at 4 to 12"),
    "a hole at the beginning": ({"a": entry(4, 8)}, 8, "a lies at 4 to 8"),
    "more bytes than values": ({"a": entry(0, 8, [1])}, 8, "a lies at 0 to 8"),
    "fewer bytes than values": ({"a": entry(0, 4, [2])}, 4, "a lies at 0 to 4"),
    "backwards": ({"a": entry(4, 0, [1])}, 4, "a lies at 4 to 0, expected 0 to 4"),
    "metadata that is no text": ({"__metadata__": {"a": 1}, "a": entry(0, 4)}, 4, "__metadata__ holds"),
    "metadata that is a list": ({"__metadata__": [], "a": entry(0, 4)}, 4, "__metadata__ holds"),
    "a name twice": (b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}', 0, "a name comes twice"),
    "half a character": (b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', 0, "it is no text"),
    "bytes that are no text": (b'{"\xff":{}}', 0, "it is no text"),
    "too deep": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 0, "it is nested too deeply"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_headers_that_cannot_be(tmp_path: Path, case: str) -> None:
    header, data, message = BAD_HEADERS[case]
    said = refusal_to_read(header_file(tmp_path / "f.safetensors", header, data))
    assert "is damaged or its download is not complete (its header is wrong: " in said and message in said


def test_cut_short_and_too_long(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:-6])
    assert f"(it has {len(whole) - 6} of {len(whole)} bytes, 9" in refusal_to_read(file)
    file.write_bytes(whole[:60])
    assert "it has 60 bytes, of which its table of contents alone takes " in refusal_to_read(file)
    file.write_bytes(whole[:5])
    assert "(it has only 5 bytes)" in refusal_to_read(file)
    file.write_bytes(whole + b"more")
    assert "(it has 4 bytes too many)" in refusal_to_read(file)


def test_empty_tensors_are_lawful(tmp_path: Path) -> None:
    entries = {"a": entry(0, 4), "b": entry(4, 4), "c": entry(0, 0, [0, 7]), "d": entry(4, 8, [])}
    assert len(read_header(header_file(tmp_path / "f.safetensors", entries, 8)).tensors) == 4


STRANGERS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is empty (0 bytes)"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n", "is a Git LFS pointer"),
    "page": (b"\n <!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
    "old page": (b"<HTML><HEAD><TITLE>403 Forbidden</TITLE>", "is a web page"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is an XML or HTML text"),
    "json": (b'{"error":"Repository not found"}', "is a JSON text"),
    "list": (b'[{"id": 1}]', "is a JSON text"),
    "short names": (b'{"abcd":{"a": 1}}', "is a JSON text"),
    "text": (b"Invalid username or password.", "is a text that begins with 'Invalid username or password.'"),
    "text with umlauts": ("Zugriff für Gäste verweigert ".encode() * 40, "is a text that begins with 'Zugriff"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(100), "is a GGUF file"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a PNG picture"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(100), "is a JPEG picture"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(100), "is a gzip archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "is a 7z archive"),
    "tar": (b"model.safetensors".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "is a tar archive"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(100), "is a NumPy array"),
    "zeros": (bytes(4096), "is filled with zeros"),
    "noise": (bytes(range(128, 256)) * 8, "is of no known format (it begins with b'\\x80"),
    "random": (b"\x07\x91\xfe" * 99, "is of no known format"),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_what_holds_no_weights_is_named(tmp_path: Path, case: str) -> None:
    content, message = STRANGERS[case]
    (tmp_path / "f.safetensors").write_bytes(content)
    said = refusal_to_read(tmp_path / "f.safetensors")
    assert message in said and "expected a .safetensors file" in said


def test_what_is_not_there_or_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal_to_read(tmp_path / "none.safetensors")
    assert "is a folder without weights" in refusal_to_read(tmp_path)
    assert "a folder or a device" in refusal_to_read(Path("/dev/zero"))


def test_get_names_a_file_that_went_away(file: Path) -> None:
    header = read_header(file)
    file.unlink()
    with open_tensors(header) as get, pytest.raises(CascadeError, match=r"f\.safetensors cannot be read"):
        get("b")
