"""Headers of models that lie in several files: shards with their index, and folders of components."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.header import open_tensors, read_header

from ..model_files import write_shards
from .headers import refusal_to_read


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
        said = refusal_to_read(folder / name)
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
        assert "its files lack 1 tensors that it names: t9" in refusal_to_read(index)
        index.write_text(json.dumps({"weight_map": {"t9": "../secret.safetensors"}}))
        assert "names ../secret.safetensors, which does not lie beside it" in refusal_to_read(index)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}', "{"])
    def test_an_index_that_is_none(self, folder: Path, content: str) -> None:
        (folder / "m.safetensors.index.json").write_text(content)
        refusal_to_read(folder / "m.safetensors.index.json")

    def test_a_number_beyond_the_set(self, folder: Path) -> None:
        stray = (folder / "m-00001-of-00003.safetensors").rename(folder / "m-00004-of-00003.safetensors")
        assert "part 4 of a set of 3 files" in refusal_to_read(stray)


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
        assert "is a folder of 2 models (b.safetensors, stage_c.safetensors): choose one" in refusal_to_read(folder)

    @pytest.mark.parametrize("content", ["", "[]", "{"])
    def test_a_damaged_config(self, tmp_path: Path, content: str) -> None:
        folder = self.make(tmp_path / "prior", "model.safetensors")
        (folder / "config.json").write_text(content)
        with pytest.raises(CascadeError, match=r"config\.json is damaged"):
            read_header(folder)
