"""What a person is told who uses the command for the first time: typing errors, files that are not there, other models.

Run: pytest tests/cli/test_first_steps.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import shipped

from ..shared_graphs import Graph, image_to_image, node, text_to_image


class Answer(NamedTuple):
    code: int
    out: str
    told: list[str]


@pytest.fixture
def cascade(new_program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command with real nodes; a graph among the arguments is written to a file."""
    monkeypatch.setenv("COLUMNS", "400")
    for name in ("input", "models"):
        (new_program / name).mkdir()

    def run(*arguments: Any) -> Answer:
        texts = list(map(str, arguments))
        for index, argument in enumerate(arguments):
            if isinstance(argument, dict):
                (new_program / "shared.json").write_text(json.dumps(argument))
                texts[index] = "shared.json"
        code = main(texts)
        out, err = capsys.readouterr()
        return Answer(code, out, [line.removeprefix("cascade: ") for line in err.splitlines()])

    return run


Cascade = Callable[..., Answer]
BUILT_IN = "tiny stage_c (built-in)"


def small() -> Graph:
    """Text to image with the built-in models, which nothing speaks against."""
    prompt = text_to_image()
    prompt["41"]["inputs"]["ckpt_name"], prompt["42"]["inputs"]["ckpt_name"] = BUILT_IN, "tiny stage_b (built-in)"
    return prompt


def test_what_only_comfyui_samples_is_refused_before_it_runs(cascade: Cascade) -> None:
    prompt = small()
    prompt["3"]["inputs"] |= {"sampler_name": "dpm_adaptive", "scheduler": "karas"}
    prompt["shift"] = node("ModelSamplingStableCascade", model=["41", 0], shift=0.0)
    prompt["3"]["inputs"]["model"] = ["shift", 0]
    code, _, told = cascade("validate", prompt)
    assert code == 2 and len(told) == 3
    assert 'input "sampler_name": expected one of ' in told[0]
    assert '("dpm_adaptive" runs only in ComfyUI: `cascade run --server URL` has a ComfyUI run it)' in told[0]
    assert 'input "scheduler": expected one of "karras", ' in told[1] and "kl_optimal" not in told[1]
    assert "`shift`: expected over 0" in told[2]
    code, out, _ = cascade("doctor", prompt)
    assert code == 2 and "inputs:" in out and '"dpm_adaptive" runs only in ComfyUI' in out
    _, out, _ = cascade("doctor", prompt, "--json")
    assert len(json.loads(out)["problems"]) == 3 and not json.loads(out)["fine"]


def test_the_type_of_another_text_encoder_is_refused_before_it_runs(cascade: Cascade) -> None:
    prompt = small() | {"clip": node("CLIPLoader", clip_name="tiny (built-in)", type="sd3")}
    prompt["6"]["inputs"]["clip"] = ["clip", 0]
    code, _, told = cascade("validate", prompt)
    assert code == 2 and 'input "type": expected one of "stable_cascade" ("sd3" runs only in ComfyUI' in told[0]


def test_doctor_takes_the_name_of_a_workflow(cascade: Cascade) -> None:
    code, out, told = cascade("doctor", "text_to_image")
    assert (code, told) == (0, []) and "kinds are here" in out
    code, _, told = cascade("doctor", "text_to_imge")
    assert code == 2 and told[0].endswith("did you mean the workflow that comes with the pack, `text_to_image`?")


def test_doctor_says_of_another_model_what_validate_says(cascade: Cascade) -> None:
    prompt = {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "3": node("KSampler", model=["1", 0]),
    }
    code, out, told = cascade("doctor", prompt)
    assert (code, out) == (2, "") and "another model than Stable Cascade" in told[0]
    assert cascade("validate", prompt).told == told


def test_the_files_of_comfyuis_examples_can_be_had(cascade: Cascade) -> None:
    code, out, _ = cascade("doctor", text_to_image())
    assert code == 2 and out.count("get it with: cascade download checkpoints\n") == 2
    assert "cascade run shared.json --built-in" in out
    assert "2 model files are not here, 13.8 GB" in (line := cascade("validate", text_to_image()).told[0])
    assert "get them with `cascade download checkpoints` or choose others" in line
    prompt = small() | {"vae": node("VAELoader", vae_name="stage_a_ft_hq.safetensors")}
    prompt["8"]["inputs"]["vae"] = ["vae", 0]
    (line, _) = cascade("validate", prompt).told
    assert "(it lies at https://huggingface.co/madebyollin/stage-a-ft-hq), or choose another" in line


@pytest.mark.parametrize("command", ["run", "validate", "doctor"])
def test_missing_models_are_one_message(cascade: Cascade, new_program: Path, command: str) -> None:
    """All files, their size and one command for where this program looks; a near miss keeps its own message."""
    code, out, told = cascade(command, "published_models")
    assert code == 2
    message = next(line for line in (*told, *out.splitlines()) if "model files are not here" in line)
    assert "5 model files are not here, 11.8 GB in all: model.bf16.safetensors (text encoder), stage_c_bf16" in message
    assert "get them with `cascade download essential big-big --text-encoder` or choose others" in message
    assert command == "doctor" or len(told) == 2  # the other says that --built-in tries it
    if command == "doctor":
        return
    (new_program / "with space" / "vae").mkdir(parents=True)
    (new_program / "with space" / "vae" / "portrait_decoder.safetensors").write_bytes(b"")
    setting = ("--set", "5.model_name=portrait_decodr.safetensors", "--models", "with space")
    told = cascade(command, "published_models", *setting).told
    assert "did you mean" in told[0] and "There is no Stage A 'portrait_decodr" in told[0]
    assert "4 model files" in told[1] and "--text-encoder --models '" in told[1] and "with space'`" in told[1]


@pytest.mark.parametrize("place", ["workflows/text_to_image.json", "elsewhere/text_to_image"])
def test_a_shipped_workflow_in_a_folder_that_is_not_here(cascade: Cascade, place: str) -> None:
    code, _, told = cascade("run", place)
    assert code == 2 and told == [
        f"{place}: expected a workflow file, but there is none; did you mean the workflow that comes with the pack,"
        " `text_to_image`, without folder and ending?"
    ]


def test_a_mistyped_workflow(cascade: Cascade, new_program: Path) -> None:
    assert (
        cascade("run", "inpaintng")
        .told[0]
        .endswith("did you mean the workflow that comes with the pack, `inpainting`?")
    )
    (new_program / "inpaintin.json").touch()
    assert cascade("validate", "inpaintng.json").told[0].endswith("did you mean inpaintin.json?")
    assert cascade("run", "xyz.json").told == ["xyz.json: expected a workflow file, but there is none"]
    assert all(shipped.find(Path(name)).is_file() for name in shipped.names())


def test_the_nearest_picture_and_the_nearest_model(cascade: Cascade, new_program: Path) -> None:
    prompt = image_to_image()
    prompt["48"]["inputs"]["image"] = "phto.jpg"
    told = cascade("validate", prompt, "--built-in", "--set", "48.image=phto.jpg").told
    assert not any("did you mean" in line for line in told)
    assert any("(which has none): put the file there" in line for line in cascade("validate", prompt).told)
    Image.new("RGB", (8, 8)).save(new_program / "input" / "photo.jpg")
    assert any("(did you mean photo.jpg?): put the file there" in line for line in cascade("validate", prompt).told)
    folder = new_program / "models" / "checkpoints"
    (folder / "cascade").mkdir(parents=True)
    (folder / "cascade" / "stable_cascade_stage_c.safetensors").write_bytes(b"")
    told = cascade("validate", text_to_image()).told
    assert "(did you mean cascade/stable_cascade_stage_c.safetensors?)" in told[0]
    assert "'stable_cascade_stage_b.safetensors'" in told[1] and "did you mean" not in told[1]  # another model


def test_a_class_that_was_mistyped_and_one_of_comfyui(cascade: Cascade) -> None:
    prompt = small() | {"x": node("SamplerCustom"), "y": node("KSampeler")}
    code, _, told = cascade("validate", prompt)
    assert code == 2 and told == [
        'node x "SamplerCustom" (SamplerCustom): no node "SamplerCustom" here; it is ComfyUI\'s own: `cascade run'
        " --server URL` has a ComfyUI run it",
        'node y "KSampeler" (KSampeler): no node "KSampeler" here; did you mean "KSampler"?',
    ]


def test_a_class_of_a_pack_that_the_file_names(cascade: Cascade) -> None:
    faces = {"id": 1, "type": "FaceDetailer", "pos": [0, 0], "properties": {"cnr_id": "comfyui-impact-pack"}}
    document = {"nodes": [faces | {"inputs": [], "outputs": []}], "links": [], "version": 0.4}
    code, _, told = cascade("validate", document)
    assert code == 2 and any("it is of the pack comfyui-impact-pack: `cascade run" in line for line in told), told


def test_files_that_cannot_be_used_are_seen_before_a_run(cascade: Cascade, new_program: Path) -> None:
    prompt = small()
    prompt["41"]["inputs"]["ckpt_name"] = "c.safetensors"
    prompt["42"]["inputs"]["ckpt_name"] = "b.safetensors"
    folder = new_program / "models" / "checkpoints"
    folder.mkdir()
    (folder / "c.safetensors").write_bytes(b"\x00garbage"[:7])
    (folder / "b.safetensors").write_text("<html>Please log in</html>")
    prompt["alone"] = node("CheckpointLoaderSimple", ckpt_name="c.safetensors")  # which nothing needs
    code, out, told = cascade("validate", prompt, "--json")
    assert code == 2
    assert told == [
        'node 41 "Load Checkpoint" (CheckpointLoaderSimple), input "ckpt_name": c.safetensors is damaged or its'
        " download is not complete (it has only 7 bytes): download it again",
        'node 42 "Load Checkpoint" (CheckpointLoaderSimple), input "ckpt_name": b.safetensors is a web page, not model'
        " weights (expected a .safetensors file, or a .pt, .ckpt or .bin of tensors): the download was refused or wants"
        " a login: open the model's page in a browser, sign in and download it there",
    ]
    answer = json.loads(out)
    assert (answer["valid"], answer["outputs"], len(answer["problems"])) == (False, [], 2)


def test_an_embedding_that_is_not_there_is_seen_before_a_run(cascade: Cascade, new_program: Path) -> None:
    prompt = small()
    prompt["7"]["inputs"]["text"] = "embedding:bad_hand, blurry"
    code, _, told = cascade("validate", prompt)
    assert code == 2 and 'input "text": The prompt asks for embedding:bad_hand, but there is none' in told[0]
    (new_program / "models" / "embeddings").mkdir()
    (new_program / "models" / "embeddings" / "bad_hands.safetensors").touch()
    assert "(did you mean bad_hands?)" in cascade("validate", prompt).told[0]
    assert "asks for embedding:bad_hand" in cascade("doctor", prompt).out
