"""`cascade run --built-in` and `cascade validate --built-in`, and what is said of workflows that do not run here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stable_cascade_nodes.cli.main import main

from ..shared_graphs import Graph, image_to_image, node, text_to_image

SMALL = ("--set", "3.steps=2", "--set", "33.steps=1", "--set", "6.text=a red star")


@pytest.fixture
def cascade(new_program: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(command: str, prompt: Graph, *arguments: str) -> tuple[int, list[str], list[str]]:
        path = new_program / "shared.json"
        path.write_text(json.dumps(prompt))
        code = main([command, str(path), *arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), [line for line in err.splitlines() if line.startswith("cascade: ")]

    return run


def test_a_shared_workflow_runs_at_once(cascade: Any) -> None:
    code, (file,), told = cascade("run", image_to_image(), "--built-in", *SMALL)
    assert code == 0
    with Image.open(file) as picture:
        assert picture.size == (256, 256)
        prompt = json.loads(picture.text["prompt"])  # type: ignore[attr-defined]
    assert prompt["41"]["inputs"]["ckpt_name"] == "tiny stage_c (built-in)"
    assert [line.partition(":")[2].partition(":")[0].strip() for line in told] == [
        "built-in models",
        "built-in pictures",
        "built-in sizes",
    ]


def test_it_is_checked_as_it_would_run(cascade: Any) -> None:
    code, out, told = cascade("validate", text_to_image(), "--built-in")
    assert code == 0 and "no problems" in out[0] and len(told) == 2
    code, out, told = cascade("validate", text_to_image())
    assert code == 2 and out == [] and len(told) == 2
    assert "2 model files are not here, 13.8 GB in all: stable_cascade_stage_" in told[0]
    assert told[1] == "cascade: `--built-in` tries a workflow at once, small, with the built-in models and pictures"


def test_what_a_person_sets_wins(cascade: Any) -> None:
    choice = ("--set", "34.width=512", "--set", "41.ckpt_name=mine.safetensors")
    code, _, told = cascade("validate", text_to_image(), "--built-in", *choice)
    assert code == 2 and "'mine.safetensors'" in told[-1]


def test_a_server_has_its_own_models(cascade: Any) -> None:
    code, _, told = cascade("run", text_to_image(), "--built-in", "--server", "http://127.0.0.1:9")
    assert code == 2 and told == ["cascade: --built-in: the server has its own models: leave it out with --server"]


def test_a_workflow_of_another_model_is_one_sentence(cascade: Any) -> None:
    prompt = {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "2": node("EmptyLatentImage", width=1024, height=1024, batch_size=1),
        "3": node("KSampler", model=["1", 0], latent_image=["2", 0]),
        "4": node("LoraLoader", model=["1", 0], clip=["1", 1], lora_name="style.safetensors"),
        "5": node("FaceDetailer"),
    }
    for command in ("run", "validate"):
        code, out, told = cascade(command, prompt)
        assert (code, out) == (2, [])
        assert told == [
            "cascade: this workflow makes pictures with another model than Stable Cascade (it names"
            ' "sd_xl_base_1.0.safetensors"): have a ComfyUI run it, by `cascade run --server URL`, or do the same with'
            " ours, `lora`"
        ]


def test_many_nodes_of_other_packs_are_one_sentence(cascade: Any) -> None:
    others = {f"x{number}": node(f"easy thing {number % 4}") for number in range(9)}
    code, out, told = cascade("validate", text_to_image() | others, "--built-in")
    assert (code, out) == (2, [])
    assert [line for line in told if "built-in" not in line] == [
        "cascade: workflow: 9 nodes are not here (of another pack or a newer ComfyUI:"
        ' "easy thing 0", "easy thing 1", "easy thing 2", "easy thing 3"): `cascade run --server URL` has a ComfyUI run'
        " them",
    ]
