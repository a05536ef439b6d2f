"""Model files in ComfyUI: the same names as the command lists, and the same picture from a folder and an all-in-one."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.tokenizer import PublishedTokenizer
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.runtime import host

from .. import model_files
from ..models.byte_pairs import ids, vocabulary
from ..models.test_clip_vocabulary import PROMPTS
from .conftest import Start
from .in_process import Prompt, out
from .lanes import Lane
from .server import ComfyUI, Refused

LOADERS = sorted(name for name in NODE_CLASS_MAPPINGS if name.endswith("Loader"))
SIZE = {"width": 128, "height": 96}


@pytest.fixture(scope="module")
def tokenizer(lane: Lane) -> Path:
    """ComfyUI's copy of CLIP's vocabulary."""
    return lane.path / "comfy" / "sd1_tokenizer"


@pytest.fixture(scope="module")
def base(lane: Lane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder with files in every layout, also in folders that extra_model_paths.yaml names."""
    base = tmp_path_factory.mktemp("files")
    models, disk = base / "models", base / "disk"
    stages = model_files.small_stages()
    for folder in (models / "vae", models / "unet", models / "diffusion_models" / "sub", disk / "first", disk / "last"):
        folder.mkdir(parents=True)
    save(models / "diffusion_models" / "sub" / "c.safetensors", stages["stage_c"], "stage_c")
    for place in (models / "unet", models / "vae", disk / "first", disk / "last"):
        save(place / "same.safetensors", stages["stage_a"], "stage_a")
    shutil.copy(disk / "last" / "same.safetensors", disk / "last" / "Extra.safetensors")
    model_files.write_shards(models / "vae", "set", stages["stage_a"].state_dict(), 3, {})
    for name in ("b.CKPT", "half.safetensors.part", "notes.txt", "code.pkl"):
        (models / "vae" / name).touch()
    (models / "vae" / "gone.safetensors").symlink_to(base / "nowhere")
    (models / "vae" / "linked").symlink_to(disk / "last")
    model_files.write_pipeline(models / "diffusers" / "people" / "pipeline", stages, model_files.SMALL_TEXT)
    model_files.write_component(models / "diffusers" / "people" / "pipeline" / "prior_lite", stages["stage_c"])
    model_files.write_component(disk / "diffusers" / "alone", stages["stage_b"])
    model_files.write_decoder_all_in_one(models / "checkpoints" / "whole.safetensors")
    (base / "extra_model_paths.yaml").write_text(
        f"a:\n  base_path: {disk}\n  is_default: true\n  vae: first\n"
        f"b:\n  base_path: {disk}\n  vae: |\n    last\n    missing\n  unet: last\n  diffusers: diffusers\n"
    )
    return base


@pytest.fixture(scope="module")
def comfyui(start_comfyui: Start, base: Path) -> ComfyUI:
    return start_comfyui("--extra-model-paths-config", str(base / "extra_model_paths.yaml"), folder=base)


@pytest.fixture(autouse=True)
def headless_models(base: Path, new_program: Path) -> None:
    host.configure(models=base / "models", device="cpu")


def test_combos_list_the_same_names_as_the_command(comfyui: ComfyUI) -> None:
    info = comfyui.object_info()
    names = {node: info[node]["input"]["required"]["model_name"][0] for node in LOADERS}
    assert names == {node: NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["required"]["model_name"][0] for node in LOADERS}
    assert names["CascadeStageALoader"] == [
        "tiny (built-in)",
        "b.CKPT",
        "Extra.safetensors",
        "linked/Extra.safetensors",
        "linked/same.safetensors",
        "same.safetensors",
        "set-00001-of-00003.safetensors",
        "whole.safetensors",
        "alone/",
        "people/pipeline/",
        "people/pipeline/prior_lite/",
    ]


def test_the_first_folder_wins_as_in_comfyui(base: Path) -> None:
    found = host.current().model_files(("vae", "checkpoints"))
    assert found["same.safetensors"] == base / "disk" / "first" / "same.safetensors"


def test_a_diffusers_folder_and_an_all_in_one_file_make_a_picture(
    comfyui: ComfyUI, base: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = Prompt()
    pipeline = {"model_name": "people\\pipeline/"}  # as a person on Windows may have written it
    text = prompt.add("CascadeTextEncoderLoader", **pipeline)
    stage_c = prompt.add("CascadeStageCLoader", model_name="people/pipeline/", dtype="auto")
    stage_b = prompt.add("CascadeStageBLoader", model_name="alone/", dtype="auto")
    stage_a = prompt.add("CascadeStageALoader", model_name="whole.safetensors", dtype="auto")
    size = prompt.add("CascadeEmptyLatents", **SIZE, batch_size=1)
    positive, negative = (
        prompt.add("CascadeTextEncode", text_encoder=text, text=words) for words in ("a red star", "")
    )
    both = {"positive": positive, "negative": negative, "seed": 1, "sampler": "ddpm"}
    latent = prompt.add(
        "CascadeStageCSampler", stage_c=stage_c, latent=size, steps=2, cfg=4.0, shift=2.0, denoise=1.0, **both
    )
    detail = prompt.add(
        "CascadeStageBSampler",
        stage_b=stage_b,
        stage_c=latent,
        latent=out(size, 1),
        steps=2,
        cfg=1.1,
        shift=1.0,
        **both,
    )
    image = prompt.add("CascadeStageADecode", stage_a=stage_a, latent=detail)
    saved, _ = prompt.add("SaveImage", images=image, filename_prefix="files")
    run = comfyui.run(prompt.nodes)
    assert run.error is None
    (shown,) = run.images(saved)
    theirs = np.asarray(Image.open(io.BytesIO(comfyui.view(**shown))).convert("RGB"), dtype=float)
    assert theirs.shape == (SIZE["height"], SIZE["width"], 3)

    shutil.copytree(tokenizer, base / "models" / "text_encoders" / "tokenizer")  # as `cascade download` would
    (tmp_path / "w.json").write_text(json.dumps(prompt.nodes))
    capsys.readouterr()
    assert main(["run", str(tmp_path / "w.json"), "--models", str(base / "models"), "--output", str(tmp_path)]) == 0
    ours = np.asarray(Image.open(capsys.readouterr().out.strip()).convert("RGB"), dtype=float)
    assert np.abs(ours - theirs).max() <= 2


def test_a_missing_model_names_the_folder_and_the_command(comfyui: ComfyUI, base: Path) -> None:
    prompt = Prompt()
    model = prompt.add("CascadePreviewerLoader", model_name="previewer.safetensors")
    latent = prompt.add("CascadeEmptyLatents", **SIZE, batch_size=1)
    prompt.add("PreviewImage", images=prompt.add("CascadePreviewDecode", previewer=model, latent=latent))
    (refused,) = _errors(comfyui, prompt)
    assert f"put the file into {base / 'models' / 'vae'} (`cascade download essential` does so)" in refused["details"]


def _errors(comfyui: ComfyUI, prompt: Prompt) -> list[dict[str, Any]]:
    with pytest.raises(Refused) as raised:
        comfyui.submit(prompt.nodes)
    return [error for node in raised.value.answer["node_errors"].values() for error in node["errors"]]


def test_comfyuis_vocabulary_gives_the_ids_of_clip(tokenizer: Path) -> None:
    merges = (tokenizer / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    names = json.loads((tokenizer / "vocab.json").read_text(encoding="utf-8"))
    assert vocabulary(merges) == names
    ours = PublishedTokenizer(tokenizer)
    for prompt in PROMPTS:
        assert ours.encode(prompt) == ids(prompt, merges, names), prompt
