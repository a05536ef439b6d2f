"""What loaders offer of model folders: files, sharded sets and diffusers folders, told from their names."""

import json
import os
import time
from pathlib import Path

import pytest

from stable_cascade_nodes.runtime import model_folders

PIPELINE = {"_class_name": "StableCascadePriorPipeline", "prior": ["diffusers", "StableCascadeUNet"]}


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def component(folder: Path, weights: str = "diffusion_pytorch_model.safetensors") -> Path:
    touch(folder / "config.json")
    touch(folder / weights)
    return folder


def pipeline(folder: Path, content: str = json.dumps(PIPELINE)) -> Path:
    touch(folder / "model_index.json").write_text(content)
    component(folder / "prior")
    component(folder / "prior_lite")
    touch(folder / "tokenizer" / "vocab.json")
    return folder


def test_a_link_that_leads_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "a.safetensors")
    (tmp_path / "b").mkdir()
    os.symlink(tmp_path / "a", tmp_path / "b" / "a")
    os.symlink(tmp_path / "b", tmp_path / "a" / "b")
    os.symlink(tmp_path, tmp_path / "again")
    assert list(model_folders.files([tmp_path])) == ["a/a.safetensors", "b/a/a.safetensors"]


def test_two_links_to_one_folder_are_two_names(tmp_path: Path) -> None:
    file = touch(tmp_path / "disk" / "a.safetensors")
    (tmp_path / "vae").mkdir()
    for name in ("one", "two"):
        os.symlink(file.parent, tmp_path / "vae" / name)
    assert list(model_folders.files([tmp_path / "vae"])) == ["one/a.safetensors", "two/a.safetensors"]


def test_what_is_no_whole_model_is_not_listed(tmp_path: Path) -> None:
    os.symlink(tmp_path / "gone", tmp_path / "link.safetensors")
    touch(tmp_path / "a.safetensors.part")
    touch(tmp_path / ".git" / "b.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    assert model_folders.files([tmp_path]) == {}


def test_diffusers_folders(tmp_path: Path) -> None:
    whole = pipeline(tmp_path / "people" / "stable-cascade-prior")
    alone = component(tmp_path / "decoder", "diffusion_pytorch_model.bf16-00001-of-00002.safetensors")
    file = touch(tmp_path / "flat.safetensors")
    touch(tmp_path / "other" / "in_a_folder.safetensors")
    touch(tmp_path / "settings" / "config.json")
    component(tmp_path / ".cache" / "half")
    assert model_folders.diffusers([tmp_path]) == {
        "decoder/": alone,
        "flat.safetensors": file,
        "people/stable-cascade-prior/": whole,
        "people/stable-cascade-prior/prior_lite/": whole / "prior_lite",  # which the pipeline does not name
    }


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_a_pipeline_whose_index_is_damaged_is_still_offered(tmp_path: Path, content: str) -> None:
    pipeline(tmp_path / "p", content)
    assert list(model_folders.diffusers([tmp_path])) == ["p/", "p/prior/", "p/prior_lite/"]


def test_a_key_that_leads_to_a_pipeline_itself(tmp_path: Path) -> None:
    whole = pipeline(tmp_path / "stable-cascade-prior")
    assert model_folders.diffusers([whole])["stable-cascade-prior/"] == whole


def test_of_a_sharded_set_the_first_is_offered() -> None:
    shards = [f"sub/c-{part}-of-00003.safetensors" for part in ("00001", "00002", "00003")]
    others = ["sub/c-00002-of-00002.safetensors", "sub/d-00002-of-00003.safetensors", "c.safetensors", "c-1-of-2.bin"]
    assert model_folders.offered([*shards, *others]) == [shards[0], *others]


def test_a_name_from_a_system_with_another_separator(tmp_path: Path) -> None:
    linux, windows = {"sub/a.safetensors": tmp_path}, {"sub\\a.safetensors": tmp_path}
    for known in (linux, windows):
        assert model_folders.find(known, "sub/a.safetensors") == tmp_path
        assert model_folders.find(known, "sub\\a.safetensors") == tmp_path
        assert model_folders.find(known, "a.safetensors") is None
    exact = {"sub/a.bin": tmp_path / "1", "sub\\a.bin": tmp_path / "2"}
    assert model_folders.find(exact, "sub\\a.bin") == tmp_path / "2"


def test_all_files_of_a_choice(tmp_path: Path) -> None:
    whole = pipeline(tmp_path / "p")
    touch(whole / ".git" / "HEAD")
    os.symlink(tmp_path / "gone", whole / "link.safetensors")
    assert len(model_folders.belonging(whole)) == 6
    file = touch(tmp_path / "a.safetensors")
    assert model_folders.belonging(file) == [file]
    shards = [touch(tmp_path / f"b-0000{part}-of-00002.safetensors") for part in (1, 2)]
    touch(tmp_path / "b-00001-of-00003.safetensors")
    index = touch(tmp_path / "b.safetensors.index.json")
    assert model_folders.belonging(shards[1]) == [*shards, index]


def test_a_large_collection_is_listed_quickly(tmp_path: Path) -> None:
    for folder in range(50):
        for file in range(40):
            touch(tmp_path / str(folder) / f"{file}.safetensors")
    start = time.perf_counter()
    assert len(model_folders.files([tmp_path])) == 2000
    assert time.perf_counter() - start < 1
