"""Headers: read whatever the file's form, checked strictly, without reading a tensor; the rest is named."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.header import TensorInfo, open_tensors, read_header

from ..model_files import write_header, write_shards

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4, dtype=torch.float16)}


def refusal(path: Path) -> str:
    """The one sentence about a file that cannot be used."""
    with pytest.raises(CascadeError) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(path.name) and "\n" not in message
    return message


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
    said = refusal(header_file(tmp_path / "f.safetensors", header, data))
    assert "is damaged or its download is not complete (its header is wrong: " in said and message in said


def test_cut_short_and_too_long(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:-6])
    assert f"(it has {len(whole) - 6} of {len(whole)} bytes, 9" in refusal(file)
    file.write_bytes(whole[:60])
    assert "it has 60 bytes, of which its table of contents alone takes " in refusal(file)
    file.write_bytes(whole[:5])
    assert "(it has only 5 bytes)" in refusal(file)
    file.write_bytes(whole + b"more")
    assert "(it has 4 bytes too many)" in refusal(file)


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
    said = refusal(tmp_path / "f.safetensors")
    assert message in said and "expected a .safetensors file" in said


def test_what_is_not_there_or_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "none.safetensors")
    assert "is a folder without weights" in refusal(tmp_path)
    assert "a folder or a device" in refusal(Path("/dev/zero"))


class TestPickled:
    """torch's own files: tensors alone, and nothing else of them."""

    @pytest.mark.parametrize("new", [True, False])
    @pytest.mark.parametrize("outer", [False, True])
    def test_tensors_with_and_without_an_outer_state_dict(self, tmp_path: Path, new: bool, outer: bool) -> None:
        path = tmp_path / "f.ckpt"
        value: Any = {"state_dict": TENSORS, "global_step": 3} if outer else TENSORS
        torch.save(value, path, _use_new_zipfile_serialization=new)
        header = read_header(path)
        assert header.tensors == {"a.weight": TensorInfo("F32", (2, 3), path), "b": TensorInfo("F16", (4,), path)}
        assert header.metadata == {}
        with open_tensors(header) as get:
            assert all(torch.equal(get(name), tensor) for name, tensor in TENSORS.items())

    def test_nested_tensors_have_dotted_names(self, tmp_path: Path) -> None:
        torch.save({"params": {"a": torch.zeros(2)}, "epoch": 3, "b": [torch.zeros(1)]}, tmp_path / "f.pth")
        assert set(read_header(tmp_path / "f.pth").tensors) == {"params.a"}

    def test_objects_are_refused_and_nothing_is_run(self, tmp_path: Path) -> None:
        torch.save({"a": torch.zeros(1), "b": Bomb(tmp_path / "ran")}, tmp_path / "f.pt")
        assert "holds more than tensors and could run code" in refusal(tmp_path / "f.pt")
        assert not (tmp_path / "ran").exists()

    def test_old_torch_is_not_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.save(TENSORS, tmp_path / "f.pt")
        monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
        assert "opened safely by torch 2.6 and newer, found 2.5.1+cpu" in refusal(tmp_path / "f.pt")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([1, 2], "holds no named tensors"),
            ({"a": 1}, "holds no named tensors"),
            (torch.zeros(3), "holds no named tensors"),
            ({"a": torch.zeros(2, dtype=torch.complex64)}, "a tensor of a kind that no model here has"),
            ({"a": torch.eye(2).to_sparse()}, "a tensor of a kind that no model here has"),
        ],
    )
    def test_no_weights_in_it(self, tmp_path: Path, content: Any, message: str) -> None:
        torch.save(content, tmp_path / "f.pt")
        assert message in refusal(tmp_path / "f.pt")

    def test_a_dictionary_that_holds_itself(self, tmp_path: Path) -> None:
        endless: dict[str, Any] = {"a": torch.zeros(1)}
        endless["b"] = endless
        torch.save(endless, tmp_path / "f.pt")
        assert {name.replace("b.", "") for name in read_header(tmp_path / "f.pt").tensors} == {"a"}

    @pytest.mark.parametrize("new", [True, False])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_cut_short(self, tmp_path: Path, new: bool, share: float) -> None:
        path = tmp_path / "f.pt"
        torch.save({"a": torch.rand(1000)}, path, _use_new_zipfile_serialization=new)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        assert "is damaged or its download is not complete" in refusal(path)

    def test_other_archives(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
            archive.writestr("stage_c/model.safetensors", "x")
        assert "is a zip archive" in refusal(tmp_path / "f.zip")
        with zipfile.ZipFile(tmp_path / "f.pt", "w") as archive:
            archive.writestr("f/data.pkl", "x")
            archive.writestr("f/constants.pkl", "x")
        assert "is a TorchScript program" in refusal(tmp_path / "f.pt")

    def test_a_pickle_of_noise(self, tmp_path: Path) -> None:
        (tmp_path / "f.pt").write_bytes(b"\x80\x02" + bytes(range(128, 256)))
        assert "is damaged" in refusal(tmp_path / "f.pt")


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_whose_length_begins_as_a_pickle_does(tmp_path: Path, length: int) -> None:
    """Its first bytes are b"\\x80\\x02" and so on."""
    entry = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    header = json.dumps(entry).encode().ljust(length)
    (tmp_path / "f.safetensors").write_bytes(length.to_bytes(8, "little") + header + bytes(8))
    with open_tensors(read_header(tmp_path / "f.safetensors")) as get:
        assert get("a").tolist() == [0, 0]


class Bomb:
    """What a pickled file could hold."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.target,)


class TestSets:
    """Shards and their index."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_shards(tmp_path, "m", {f"t{i}": torch.full((2,), float(i)) for i in range(5)}, 3, {"format": "pt"})
        return tmp_path

    @pytest.mark.parametrize(
        "name", ["m-00001-of-00003.safetensors", "m-00003-of-00003.safetensors", "m.safetensors.index.json"]
    )
    def test_any_of_them_brings_the_others(self, folder: Path, name: str) -> None:
        header = read_header(folder / name)
        assert set(header.tensors) == {f"t{i}" for i in range(5)}
        assert len({info.file for info in header.tensors.values()}) == 3
        with open_tensors(header) as get:
            assert [float(get(f"t{i}")[0]) for i in range(5)] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("name", ["m-00001-of-00003.safetensors", "m.safetensors.index.json"])
    def test_a_missing_one_is_named(self, folder: Path, name: str) -> None:
        (folder / "m-00002-of-00003.safetensors").unlink()
        said = refusal(folder / name)
        assert "a set of 3 files, of which 1 lie not beside it (m-00002-of-00003.safetensors)" in said

    def test_a_damaged_one_is_named(self, folder: Path) -> None:
        (folder / "m-00002-of-00003.safetensors").write_bytes(b"")
        with pytest.raises(CascadeError, match=r"m-00002-of-00003\.safetensors is empty"):
            read_header(folder / "m-00001-of-00003.safetensors")

    def test_files_that_do_not_belong_together(self, folder: Path) -> None:
        save_file({"t0": torch.zeros(1)}, folder / "m-00002-of-00003.safetensors")
        with pytest.raises(CascadeError, match="repeats 1 tensors of another file of its set"):
            read_header(folder / "m-00001-of-00003.safetensors")

    def test_an_index_that_names_what_is_not_there(self, folder: Path) -> None:
        index = folder / "m.safetensors.index.json"
        places = json.loads(index.read_text())["weight_map"]
        index.write_text(json.dumps({"weight_map": places | {"t9": "m-00001-of-00003.safetensors"}}))
        assert "its files lack 1 tensors that it names: t9" in refusal(index)
        index.write_text(json.dumps({"weight_map": {"t9": "../secret.safetensors"}}))
        assert "names ../secret.safetensors, which does not lie beside it" in refusal(index)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}', "{"])
    def test_an_index_that_is_none(self, folder: Path, content: str) -> None:
        (folder / "m.safetensors.index.json").write_text(content)
        refusal(folder / "m.safetensors.index.json")

    def test_a_number_beyond_the_set(self, folder: Path) -> None:
        stray = (folder / "m-00001-of-00003.safetensors").rename(folder / "m-00004-of-00003.safetensors")
        assert "part 4 of a set of 3 files" in refusal(stray)


class TestComponents:
    """Folders of diffusers and transformers."""

    @staticmethod
    def make(folder: Path, *names: str) -> Path:
        folder.mkdir()
        (folder / "config.json").write_text('{"_class_name": "StableCascadeUNet"}')
        for name in names:
            tensors = {name: torch.zeros(1)}
            (save_file if name.endswith("safetensors") else torch.save)(tensors, folder / name)
        return folder

    @pytest.mark.parametrize(
        "best_first",
        [
            ("model.safetensors", "model.bf16.safetensors", "model.fp16.safetensors", "model.fp8.safetensors"),
            ("diffusion_pytorch_model.bf16.safetensors", "diffusion_pytorch_model.fp16.safetensors"),
            ("model.fp16.safetensors", "model.non_ema.safetensors", "pytorch_model.bin", "pytorch_model.fp16.bin"),
        ],
    )
    def test_which_variant_wins(self, tmp_path: Path, best_first: tuple[str, ...]) -> None:
        folder = self.make(tmp_path / "prior", *best_first)
        for name in best_first:
            assert set(read_header(folder).tensors) == {name}
            (folder / name).unlink()

    def test_config_is_read_with_the_folder_and_with_a_file_of_it(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path / "prior", "diffusion_pytorch_model.bf16.safetensors", "else.safetensors")
        for path in (folder, folder / "diffusion_pytorch_model.bf16.safetensors"):
            assert read_header(path).config == {"_class_name": "StableCascadeUNet"}
        assert read_header(folder / "else.safetensors").config is None

    @pytest.mark.parametrize("name", ["model-{}.bf16.safetensors", "model.bf16-{}.safetensors"])
    def test_variants_in_shards(self, tmp_path: Path, name: str) -> None:
        shards = [name.format(f"0000{number}-of-00002") for number in (1, 2)]
        folder = self.make(tmp_path / "prior", *shards, "model.fp16.safetensors")
        assert set(read_header(folder).tensors) == set(shards)
        (folder / shards[0]).unlink()
        with pytest.raises(CascadeError, match="belongs to a set of 2 files"):
            read_header(folder)

    def test_an_unusual_name_serves_where_it_is_the_only_one(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path / "prior", "stage_c.safetensors")
        assert set(read_header(folder).tensors) == {"stage_c.safetensors"}
        save_file({"b": torch.zeros(1)}, folder / "b.safetensors")
        assert "is a folder of 2 models (b.safetensors, stage_c.safetensors): choose one" in refusal(folder)

    @pytest.mark.parametrize("content", ["", "[]", "{"])
    def test_a_damaged_config(self, tmp_path: Path, content: str) -> None:
        folder = self.make(tmp_path / "prior", "model.safetensors")
        (folder / "config.json").write_text(content)
        with pytest.raises(CascadeError, match=r"config\.json is damaged"):
            read_header(folder)


def test_get_names_a_file_that_went_away(file: Path) -> None:
    header = read_header(file)
    file.unlink()
    with open_tensors(header) as get, pytest.raises(CascadeError, match=r"f\.safetensors cannot be read"):
        get("b")
