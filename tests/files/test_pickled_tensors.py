"""Headers of torch's own files: tensors alone are read of them, and nothing that they hold is run."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.files.header import TensorInfo, open_tensors, read_header

from .headers import TENSORS, refusal_to_read


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
        assert "holds more than tensors and could run code" in refusal_to_read(tmp_path / "f.pt")
        assert not (tmp_path / "ran").exists()

    def test_old_torch_is_not_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.save(TENSORS, tmp_path / "f.pt")
        monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
        assert "opened safely by torch 2.6 and newer, found 2.5.1+cpu" in refusal_to_read(tmp_path / "f.pt")

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
        assert message in refusal_to_read(tmp_path / "f.pt")

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
        assert "is damaged or its download is not complete" in refusal_to_read(path)

    def test_other_archives(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
            archive.writestr("stage_c/model.safetensors", "x")
        assert "is a zip archive" in refusal_to_read(tmp_path / "f.zip")
        with zipfile.ZipFile(tmp_path / "f.pt", "w") as archive:
            archive.writestr("f/data.pkl", "x")
            archive.writestr("f/constants.pkl", "x")
        assert "is a TorchScript program" in refusal_to_read(tmp_path / "f.pt")

    def test_a_pickle_of_noise(self, tmp_path: Path) -> None:
        (tmp_path / "f.pt").write_bytes(b"\x80\x02" + bytes(range(128, 256)))
        assert "is damaged" in refusal_to_read(tmp_path / "f.pt")


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
