"""Folders without a server: which files a loader lists, and which a workflow may name."""

import os
from pathlib import Path

import pytest

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.runtime import host, local, model_folders


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def model_files(models: Path, *keys: str) -> dict[str, Path]:
    host.configure(models=models)
    return host.current().model_files(keys)


def test_the_first_key_wins_a_clash(tmp_path: Path) -> None:
    models = tmp_path / "models"
    first = touch(models / "diffusion_models" / "b.safetensors")
    touch(models / "checkpoints" / "b.safetensors")
    touch(models / "checkpoints" / "a.safetensors")
    found = model_files(models, "diffusion_models", "checkpoints")
    assert list(found) == ["b.safetensors", "a.safetensors"]
    assert found["b.safetensors"] == first


def test_keys_have_all_of_the_hosts_folders(tmp_path: Path) -> None:
    for folder in ("unet", "diffusion_models", "clip", "text_encoders"):
        touch(tmp_path / folder / f"{folder}.safetensors")
    assert set(model_files(tmp_path, "diffusion_models")) == {
        "unet.safetensors",
        "diffusion_models.safetensors",
    }
    assert set(model_files(tmp_path, "text_encoders")) == {"clip.safetensors", "text_encoders.safetensors"}


def test_sub_folders_and_other_files(tmp_path: Path) -> None:
    touch(tmp_path / "vae" / "cascade" / "a.safetensors")
    touch(tmp_path / "vae" / "readme.txt")
    touch(tmp_path / "vae" / "B.SFT")
    touch(tmp_path / "vae" / "old.ckpt")
    assert list(model_files(tmp_path, "vae")) == ["B.SFT", "cascade/a.safetensors", "old.ckpt"]


def test_missing_folders_list_nothing(tmp_path: Path) -> None:
    assert model_files(tmp_path / "none", "vae") == {}


def test_extra_model_paths(tmp_path: Path) -> None:
    """Sections with base_path, several paths to a key, old key names, and defaults that come first."""
    models, disk = tmp_path / "models", tmp_path / "disk"
    own = touch(models / "diffusion_models" / "same.safetensors")
    touch(disk / "unets" / "same.safetensors")
    touch(disk / "unets" / "extra.safetensors")
    touch(tmp_path / "near" / "near.safetensors")
    (tmp_path / "extra_model_paths.yaml").write_text(
        f"big:\n  base_path: {disk}\n  unet: |\n    unets\n    other\nhere:\n  diffusion_models: near\nempty:\n"
    )
    found = model_files(models, "diffusion_models")
    assert set(found) == {"same.safetensors", "extra.safetensors", "near.safetensors"}
    assert found["same.safetensors"] == own

    (tmp_path / "extra_model_paths.yaml").write_text(f"big:\n  base_path: {disk}\n  is_default: true\n  unet: unets\n")
    os.utime(tmp_path / "extra_model_paths.yaml", (1, 1))
    found = model_files(models, "diffusion_models")
    assert found["same.safetensors"] == disk / "unets" / "same.safetensors"


def test_later_defaults_of_extra_model_paths_come_first(tmp_path: Path) -> None:
    (tmp_path / "extra_model_paths.yaml").write_text(
        "a:\n  is_default: true\n  vae: disk/../first\nb:\n  is_default: true\n  vae: second\nc:\n  vae: models/vae\n"
    )
    assert model_folders.folders_of("vae", tmp_path / "models") == [
        tmp_path / "second",
        tmp_path / "first",
        tmp_path / "models" / "vae",
    ]


@pytest.mark.parametrize("text", ["a: [", "- just\n- a list\n", "a: 3\n"])
def test_damaged_extra_model_paths(tmp_path: Path, text: str) -> None:
    (tmp_path / "extra_model_paths.yaml").write_text(text)
    with pytest.raises(CascadeError, match=r"extra_model_paths\.yaml"):
        model_files(tmp_path / "models", "vae")


def test_folders_are_comfyuis_where_the_pack_lies_in_its_custom_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert host.configure().comfyui_directory() is None
    assert host.configure().models_directory() == tmp_path / "models"
    assert host.current().input_directory() == tmp_path / "input"

    base = tmp_path / "ComfyUI"
    (base / "models").mkdir(parents=True)
    monkeypatch.setattr(local, "__file__", str(base / "custom_nodes" / "any-name" / "runtime" / "local.py"))
    assert host.configure().models_directory() == base / "models"
    assert host.current().input_directory() == base / "input"
    assert host.current().output_directory() == tmp_path / "output"  # never ComfyUI's


def test_what_was_configured_wins_and_stays(tmp_path: Path) -> None:
    host.configure(output=tmp_path / "o", input="i")
    host.configure(models=tmp_path / "m")
    assert host.current().output_directory() == tmp_path / "o"
    assert host.current().input_directory() == tmp_path / "i"
    assert host.configure().models_directory() == tmp_path / "m"
