"""Loaders: what they offer, and what they make of a choice."""

import os
from pathlib import Path

import pytest
import torch

from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.cascade_core import CascadeError, OneAtATime
from stable_cascade_nodes.nodes import host

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
    found = {name: node.FOLDERS for name, node in NODE_CLASS_MAPPINGS.items() if name.endswith("Loader")}
    assert found == {
        "CascadeStageCLoader": ("diffusion_models", "checkpoints", "diffusers"),
        "CascadeStageBLoader": ("diffusion_models", "checkpoints", "diffusers"),
        "CascadeStageALoader": ("vae", "checkpoints", "diffusers"),
        "CascadeTextEncoderLoader": ("text_encoders", "checkpoints", "diffusers"),
        "CascadeImageEncoderLoader": ("clip_vision", "checkpoints", "diffusers"),
        "CascadeEffnetLoader": ("vae", "checkpoints"),
        "CascadePreviewerLoader": ("vae", "checkpoints"),
    }


def test_the_precision_can_be_chosen(models: Path) -> None:
    host.configure(models=models)
    (handle,) = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]().load(model_name="stage_c.safetensors", dtype="bfloat16")
    assert handle.dtype == torch.bfloat16


def test_a_gpu_gets_one_model_at_a_time(models: Path) -> None:
    host.configure(models=models, device="meta")
    (handle,) = NODE_CLASS_MAPPINGS["CascadeStageCLoader"]().load(model_name="stage_c.safetensors")
    assert isinstance(handle.placement, OneAtATime)
    assert handle.dtype == torch.bfloat16  # what auto means there
    assert next(handle.module.parameters()).device.type == "cpu"  # until it is asked for


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(CascadeError, match=r"no Stage C 'x\.safetensors' in the model folders diffusion_models, check"):
        NODE_CLASS_MAPPINGS["CascadeStageCLoader"]().load(model_name="x.safetensors")


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
