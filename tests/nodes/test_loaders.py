"""Loaders: what they offer, and what they make of a choice."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.convert import convert
from stable_cascade_nodes.cascade_core.files.header import read_header
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.memory import OneAtATime
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.runtime import devices, host

from .. import model_files
from .conftest import FOLDERS

LOADERS = {
    "stage_c": "CascadeStageCLoader",
    "stage_b": "CascadeStageBLoader",
    "stage_a": "CascadeStageALoader",
    "effnet": "CascadeEffnetLoader",
    "previewer": "CascadePreviewerLoader",
    "text_encoder": "CascadeTextEncoderLoader",
}


def choices(node: str) -> list[str]:
    return NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["required"]["model_name"][0]


@pytest.mark.parametrize("kind", LOADERS)
def test_a_file_becomes_a_model(kind: str, models: Path) -> None:
    host.configure(models=models)
    (handle,) = NODE_CLASS_MAPPINGS[LOADERS[kind]]().load(model_name=f"{kind}.safetensors")
    assert (handle.kind, handle.family, handle.name) == (kind, "tiny", f"{kind}.safetensors")
    assert handle.acquire() == torch.device("cpu")


def test_built_ins_come_first_then_the_folders_in_order(models: Path) -> None:
    host.configure(models=models)
    assert choices("CascadeStageCLoader") == ["tiny (built-in)", "stage_b.safetensors", "stage_c.safetensors"]
    assert choices("CascadeStageALoader") == [
        "tiny (built-in)",
        "effnet.safetensors",
        "previewer.safetensors",
        "stage_a.safetensors",
    ]


def test_a_file_cannot_take_the_name_of_a_built_in(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "tiny (built-in)").touch()
    host.configure(models=tmp_path)
    assert choices("CascadeStageALoader") == ["tiny (built-in)"]


def test_the_folders_are_those_of_the_design() -> None:
    found = {name: node.KIND.folders for name, node in NODE_CLASS_MAPPINGS.items() if name.endswith("Loader")}
    assert found == {
        "CascadeStageCLoader": ("diffusion_models", "checkpoints", "diffusers"),
        "CascadeStageBLoader": ("diffusion_models", "checkpoints", "diffusers"),
        "CascadeStageALoader": ("vae", "checkpoints", "diffusers"),
        "CascadeTextEncoderLoader": ("text_encoders", "checkpoints", "diffusers"),
        "CascadeImageEncoderLoader": ("clip_vision", "checkpoints", "diffusers"),
        "CascadeEffnetLoader": ("vae", "checkpoints"),
        "CascadePreviewerLoader": ("vae", "checkpoints"),
        "CascadeControlNetLoader": ("controlnet",),
    }


def test_the_precision_can_be_chosen(models: Path) -> None:
    host.configure(models=models)
    (handle,) = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]().load(model_name="stage_c.safetensors", dtype="bfloat16")
    assert handle.dtype == torch.bfloat16


@pytest.mark.parametrize(("dtype", "told"), [("int8", 1), ("int4", 0), ("bfloat16", 0), ("auto", 0)])
def test_another_precision_of_what_is_quantised_already_is_told(
    models: Path, capsys: pytest.CaptureFixture[str], dtype: str, told: int
) -> None:
    host.configure(models=models)
    folder = models / "diffusion_models"
    convert(folder / "stage_b.safetensors", folder / "b4.safetensors", layout="comfyui", dtype="int4", overwrite=True)
    NODE_CLASS_MAPPINGS["CascadeStageBLoader"]().load(model_name="b4.safetensors", dtype=dtype)
    line = "Load Stage B: b4.safetensors is int4 in its file and stays so: dtype int8 is ignored\n"
    assert capsys.readouterr().err == line * told


def test_compiling_on_a_cpu_is_told(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host.configure(models=models, device="cpu")
    loader = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]()
    loader.load(model_name="stage_c.safetensors", compile="graphs")
    assert "Load Stage C: compile graphs is for an NVIDIA GPU and does nothing here" in capsys.readouterr().err
    loader.load(model_name="stage_c.safetensors", compile="blocks")
    (line,) = capsys.readouterr().err.splitlines()
    assert "first step takes up to minutes" in line and "on a CPU" in line


def test_compiling_is_chosen_at_the_loader_or_for_the_whole_run(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]
    host.configure(models=models)
    (handle,) = loader().load(model_name="stage_c.safetensors")
    assert handle.compile == "off"
    assert not capsys.readouterr().err
    (handle,) = loader().load(model_name="stage_c.safetensors", compile="graphs")
    assert handle.compile == "graphs"
    host.configure(compile="blocks")
    (handle,) = loader().load(model_name="stage_c.safetensors")
    assert handle.compile == "blocks"
    assert "compile blocks: the first step takes up to minutes" in capsys.readouterr().err
    (handle,) = NODE_CLASS_MAPPINGS["CascadeStageBLoader"]().load(model_name="stage_b.safetensors", compile="graphs")
    assert handle.compile == "graphs"


def test_a_gpu_gets_one_model_at_a_time(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "choose_device", lambda chosen: torch.device("meta"))
    host.configure(models=models)
    (handle,) = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]().load(model_name="stage_c.safetensors")
    assert isinstance(handle.placement, OneAtATime)
    assert handle.dtype == torch.bfloat16  # what auto means there
    assert next(handle.module.parameters()).device.type == "cpu"  # until it is asked for


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    node = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]
    message = (
        "There is no Stage C 'x.safetensors' in the model folders diffusion_models, checkpoints, diffusers:"
        f" put the file into {tmp_path / 'models' / 'diffusion_models'}, or choose another"
    )
    assert node.VALIDATE_INPUTS(model_name="x.safetensors") == message
    with pytest.raises(CascadeError, match="There is no Stage C") as raised:
        node().load(model_name="x.safetensors")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "name", ["stage_c_lite.safetensors", "sub/stage_c_lite.safetensors", "sub\\stage_c_lite.safetensors"]
)
def test_a_published_file_that_is_not_there_has_a_command(name: str) -> None:
    said = NODE_CLASS_MAPPINGS["CascadeStageCLoader"].VALIDATE_INPUTS(model_name=name)
    assert "diffusion_models (`cascade download small-small float32` does so), or choose another" in said


def test_a_file_in_the_wrong_loader(models: Path) -> None:
    host.configure(models=models)
    with pytest.raises(CascadeError, match=r"is a Stage B file .* choose it in the Stage B loader"):
        NODE_CLASS_MAPPINGS["CascadeStageCLoader"]().load(model_name="stage_b.safetensors")


def test_a_file_that_was_written_again_is_loaded_again(models: Path) -> None:
    host.configure(models=models)
    node = NODE_CLASS_MAPPINGS["CascadeStageALoader"]
    before = node.IS_CHANGED(model_name="stage_a.safetensors", dtype="auto")
    assert before == node.IS_CHANGED(model_name="stage_a.safetensors", dtype="auto")
    file = models / FOLDERS["stage_a"] / "stage_a.safetensors"
    os.utime(file, (1, 1))
    assert before != node.IS_CHANGED(model_name="stage_a.safetensors", dtype="auto")


# ---- every layout ----


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    return model_files.small_stages()


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory, stages: dict[str, Any]) -> Path:
    """A models folder with each stage in each layout."""
    folder = tmp_path_factory.mktemp("layouts")
    for key in ("diffusion_models", "vae", "text_encoders", "checkpoints", "diffusers"):
        (folder / key).mkdir()
    for kind, module in stages.items():
        place = folder / FOLDERS[kind]
        save(place / f"{kind}.safetensors", module, kind)
        convert(place / f"{kind}.safetensors", place / "comfyui" / f"{kind}.safetensors", layout="comfyui")
        header = read_header(place / f"{kind}.safetensors")
        model_files.write_shards(place, f"{kind}_set", module.state_dict(), 3, dict(header.metadata))
        model_files.write_component(folder / "diffusers" / f"{kind}_alone", module, shard="100KB")
    model_files.write_pipeline(folder / "diffusers" / "pipeline", stages, model_files.SMALL_TEXT)
    return folder


@pytest.mark.parametrize(
    "name", ["{}.safetensors", "comfyui/{}.safetensors", "comfyui\\{}.safetensors", "pipeline/", "{}_alone/"]
)
@pytest.mark.parametrize("kind", ["stage_c", "stage_b", "stage_a"])
def test_every_layout_gives_the_same_model(layouts: Path, stages: dict[str, Any], kind: str, name: str) -> None:
    host.configure(models=layouts)
    node = NODE_CLASS_MAPPINGS[LOADERS[kind]]
    name = name.format(kind)
    assert node.VALIDATE_INPUTS(model_name=name) is True
    assert name.replace("\\", "/") in choices(LOADERS[kind])
    (handle,) = node().load(model_name=name)
    expected = stages[kind].state_dict()
    assert (handle.kind, handle.name, handle.family) == (kind, name, "stable-cascade")
    assert all(torch.equal(tensor, expected[key]) for key, tensor in handle.module.state_dict().items())


@pytest.mark.parametrize("number", [1, 3])
def test_any_shard_loads_the_set(layouts: Path, stages: dict[str, Any], number: int) -> None:
    host.configure(models=layouts)
    listed = [name for name in choices("CascadeStageCLoader") if "stage_c_set" in name]
    assert listed == ["stage_c_set-00001-of-00003.safetensors"]
    name = f"stage_c_set-0000{number}-of-00003.safetensors"
    assert NODE_CLASS_MAPPINGS["CascadeStageCLoader"].VALIDATE_INPUTS(model_name=name) is True
    (handle,) = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]().load(model_name=name)
    assert torch.equal(handle.module.clf[1].weight, stages["stage_c"].clf[1].weight)


def test_a_shard_that_is_missing_is_named(layouts: Path, tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    shutil.copy(layouts / "vae" / "stage_a_set-00002-of-00003.safetensors", tmp_path / "vae")
    host.configure(models=tmp_path)
    with pytest.raises(CascadeError, match=r"stage_a_set-00001-of-00003\.safetensors, stage_a_set-00003"):
        NODE_CLASS_MAPPINGS["CascadeStageALoader"]().load(model_name="stage_a_set-00002-of-00003.safetensors")


def test_a_text_encoder_of_a_diffusers_folder(layouts: Path, tmp_path: Path) -> None:
    host.configure(models=layouts)
    node = NODE_CLASS_MAPPINGS["CascadeTextEncoderLoader"]
    with pytest.raises(CascadeError, match=r"no tokenizer beside it.*cascade download --text-encoder"):
        node().load(model_name="pipeline/")
    tokenizer = layouts / "text_encoders" / "tokenizer"  # where `cascade download --text-encoder` puts it
    tokenizer.mkdir()
    words = ["a", "red", "star"]
    ids = {f"{word}</w>": index for index, word in enumerate(words)} | {
        "<|startoftext|>": 49_406,
        "<|endoftext|>": 49_407,
    }
    (tokenizer / "vocab.json").write_text(json.dumps(ids))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    (handle,) = node().load(model_name="pipeline/")
    assert handle.module.tokenizer.encode("a") == [0]
    assert handle.config.hidden_size == 64


def test_a_part_of_an_all_in_one_file(tmp_path: Path) -> None:
    """The file says that it has 1.5 GB, of which the disk has but Stage A: nothing else is read."""
    expected = model_files.write_decoder_all_in_one(tmp_path / "checkpoints" / "whole.safetensors")
    host.configure(models=tmp_path)
    for kind in ("stage_a", "stage_b", "stage_c", "text_encoder", "effnet", "previewer"):
        assert "whole.safetensors" in choices(LOADERS[kind])
    (handle,) = NODE_CLASS_MAPPINGS["CascadeStageALoader"]().load(model_name="whole.safetensors")
    found = handle.module.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.state_dict().items() if key in found)
    (handle,) = NODE_CLASS_MAPPINGS["CascadeStageBLoader"]().rehearse(model_name="whole.safetensors")
    assert handle.config == PRESETS["stage_b"]["700M"]
    with pytest.raises(CascadeError, match=r"whole\.safetensors holds Stage B .*Stage A.*, but no Stage C"):
        NODE_CLASS_MAPPINGS["CascadeStageCLoader"]().load(model_name="whole.safetensors")


def test_a_component_that_a_folder_does_not_have(layouts: Path) -> None:
    host.configure(models=layouts)
    with pytest.raises(CascadeError, match=r"pipeline.* holds .*, but no image encoder"):
        NODE_CLASS_MAPPINGS["CascadeImageEncoderLoader"]().load(model_name="pipeline/")
    with pytest.raises(CascadeError, match=r"stage_c_alone.* is a Stage C file"):
        NODE_CLASS_MAPPINGS["CascadeStageBLoader"]().load(model_name="stage_c_alone/")


def test_folders_and_sets_are_loaded_again_when_any_of_their_files_changes(layouts: Path, tmp_path: Path) -> None:
    shutil.copytree(layouts, tmp_path / "models")
    host.configure(models=tmp_path / "models")
    node = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]
    for name, file in (
        ("pipeline/", "diffusers/pipeline/prior/config.json"),
        ("stage_c_alone/", "diffusers/stage_c_alone/config.json"),
        ("stage_c_set-00001-of-00003.safetensors", "diffusion_models/stage_c_set-00003-of-00003.safetensors"),
    ):
        before = node.IS_CHANGED(model_name=name)
        assert before == node.IS_CHANGED(model_name=name)
        os.utime(tmp_path / "models" / file, (1, 1))
        assert before != node.IS_CHANGED(model_name=name)


@pytest.mark.parametrize(("scale", "is_told"), [(0.3764, True), (0.43, False)])
def test_the_scale_of_another_model_is_told(
    layouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], scale: float, is_told: bool
) -> None:
    folder = tmp_path / "diffusers" / "vqgan"
    shutil.copytree(layouts / "diffusers" / "stage_a_alone", folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scale_factor": scale}))
    host.configure(models=tmp_path)
    (handle,) = NODE_CLASS_MAPPINGS["CascadeStageALoader"]().load(model_name="vqgan/")
    assert handle.config.scale == 0.43
    assert ("its config.json says scale_factor 0.3764" in capsys.readouterr().err) == is_told
