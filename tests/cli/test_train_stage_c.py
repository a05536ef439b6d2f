"""`cascade train stage_c` from nothing: latents with captions and an architecture to a Stage C that loaders find.

Run: pytest tests/cli
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.training.data import latent_files
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.nodes.loaders import CascadeStageCLoader

ARCHITECTURE = {"c_hidden": [32, 48], "blocks": [[1, 1], [1, 1]], "nhead": [2, 3], "c_clip_img": 128}
OPTIONS = ["--batch-size", "2", "--learning-rate", "0.001", "--sample-every", "2", "--prompts", "a red star"]
COMMAND = ["train", "stage_c", "--latents", "l.safetensors", "--architecture", "a.json", "--name", "own", *OPTIONS]
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(new_program: Path) -> None:
    """Three small pictures with captions in files of three kinds, encoded; and an architecture."""
    (new_program / "in" / "sub").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "sub/c")):
        levels = np.random.default_rng(number).integers(255, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(levels).save(new_program / "in" / f"{name}.png")
    (new_program / "in" / "a.txt").write_text("a red star\na star, red\n")
    (new_program / "in" / "b.caption").write_text("ein Stern für dich")
    (new_program / "in" / "sub" / "metadata.jsonl").write_text('{"file_name": "c.png", "text": "a blue circle"}\n')
    (new_program / "a.json").write_text(json.dumps(ARCHITECTURE))
    assert main(["encode", "in", "--to", "l.safetensors", "--caption-lines", "each"]) == 0


def test_captions_are_taken_along() -> None:
    with safe_open("l.safetensors", "pt") as file:
        pictures = json.loads(file.metadata()["cascade_latents"])["pictures"]
    assert {name: entry.get("captions") for name, entry in pictures.items()} == {
        "a.png": ["a red star", "a star, red"],
        "b.png": ["ein Stern für dich"],
        "sub/c.png": ["a blue circle"],
    }
    assert latent_files.read(Path("l.safetensors")).pictures["b.png"].captions == ("ein Stern für dich",)


def test_an_architecture_becomes_a_model_that_the_loader_finds(tmp_path: Path, capsys: Output) -> None:
    capsys.readouterr()
    assert main([*COMMAND, "--steps", "2", "--previewer", "tiny", "--x0-clamp", "5"]) == 0
    written = tmp_path / "models" / "diffusion_models" / "own.safetensors"
    assert capsys.readouterr().out == f"{written}\n"
    (handle,) = CascadeStageCLoader().load("own.safetensors", "auto")
    assert (handle.family, handle.target, handle.x0_clamp) == ("tiny", "v", 5.0)
    assert {name: getattr(handle.config, name) for name in ARCHITECTURE} == {
        "c_hidden": (32, 48),
        "blocks": ((1, 1), (1, 1)),
        "nhead": (2, 3),
        "c_clip_img": 128,
    }
    assert (tmp_path / "output/training/own/samples/000002-0.png").is_file()


def test_a_stopped_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    averaged = ["--ema", "0.9", "--ema-every", "1", "--ema-start", "1", "--optimizer", "muon"]
    assert main([*COMMAND, "--steps", "4", *averaged]) == 0
    parts = ["parts" if word == "own" else word for word in COMMAND]
    assert main([*parts, "--steps", "2", *averaged]) == 0
    assert main([*parts, "--steps", "4", *averaged]) == 0
    one, other = (tmp_path / "models" / "diffusion_models" / f"{name}.safetensors" for name in ("own", "parts"))
    assert one.read_bytes() == other.read_bytes()


def test_another_architecture_does_not_go_on_from_it(tmp_path: Path, capsys: Output) -> None:
    assert main([*COMMAND, "--steps", "1"]) == 0
    (tmp_path / "a.json").write_text(json.dumps({**ARCHITECTURE, "nhead": [2, 2]}))
    assert main([*COMMAND, "--steps", "2"]) == 2
    error = capsys.readouterr().err
    assert "began otherwise: architecture.nhead was [2, 3], is [2, 2]" in error and "Choose another name" in error


def test_seeds_make_the_weights(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        command = [name if word == "own" else word for word in COMMAND]
        assert main([*command, "--steps", "1", "--seed", str(seed)]) == 0
    one, again, two = (
        (tmp_path / "models" / "diffusion_models" / f"{name}.safetensors").read_bytes()
        for name in ("one", "again", "two")
    )
    assert one == again != two


def test_a_preset_and_pictures_do_as_well(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub" / "c.txt").write_text("a blue circle")
    (tmp_path / "in" / "b.txt").write_text("a star")
    command = ["train", "stage_c", "in", "--architecture", "tiny", "--name", "own", "--size", "64", *OPTIONS]
    assert main([*command, "--steps", "1"]) == 0
    from stable_cascade_nodes.cascade_core.models.config import PRESETS

    assert load("stage_c", tmp_path / "models/diffusion_models/own.safetensors").config == PRESETS["stage_c"]["tiny"]


def test_latents_train_a_stage_c_on_too(tmp_path: Path) -> None:
    command = ["train", "stage_c", "--latents", "l.safetensors", "--name", "on", *OPTIONS]
    assert main([*command, "--steps", "1"]) == 0
    handle = load("stage_c", tmp_path / "models/diffusion_models/on.safetensors")
    assert handle.config.c_hidden == (160,)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ('{"c_hidden": [32, 48]}', "blocks is missing"),
        ('{"c_hidden": [32], "blocks": [[1], [1]], "wide": 3}', "no field wide"),
        ('{"c_hidden": [32], "blocks": [[1], [1]], "c_clip_text": 9}', "c_clip_text is the encoders', not the file's"),
        ('{"c_hidden": [30], "blocks": [[1], [1]], "nhead": [4]}', "c_hidden 30 is no multiple of nhead 4"),
        ('{"c_hidden": [32, 32], "blocks": [[1, 1], [1]]}', "blocks[1] has 1 values, expected one for each of the 2"),
        ('{"c_hidden": 32, "blocks": [[1], [1]]}', "a.json cannot be used"),
        ("[1]", "a.json cannot be used"),
        ("{", "a.json cannot be used"),
    ],
)
def test_an_architecture_that_is_none(tmp_path: Path, architecture: str, message: str, capsys: Output) -> None:
    (tmp_path / "a.json").write_text(architecture)
    assert main([*COMMAND, "--steps", "1"]) == 2
    error = capsys.readouterr().err
    assert message in error and 'Expected such as {"c_hidden"' in error
    assert not (tmp_path / "output").exists()


def test_what_to_learn_from_is_one_of_two(capsys: Output) -> None:
    assert main([*COMMAND[:2], "in", *COMMAND[2:]]) == 2
    assert "expected FOLDER, or --latents FILE: one of the two" in capsys.readouterr().err
    assert main(["train", "stage_c", "--latents", "none.safetensors", "--name", "a"]) == 2
    assert "There are no latents in" in capsys.readouterr().err
    assert main([*COMMAND[:5], "nothing", *COMMAND[6:]]) == 2
    assert "architecture: expected 3.6B, 1B, tiny, or the path of a JSON file" in capsys.readouterr().err
