"""What `cascade download` is asked for and where it goes, without a hub: its words, its table, its folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.files import published
from stable_cascade_nodes.cascade_core.files.published import CASCADE, FILES, PRIOR, Published
from stable_cascade_nodes.cli import download, hub
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import shipped

from .published_contents import STAGE_A, content_of

ROOT = Path(stable_cascade_nodes.__file__).parent


@pytest.fixture
def models(new_program: Path) -> Path:
    (new_program / "models").mkdir()
    return new_program / "models"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "expected what to get"),
        (["float32"], "expected what to get"),
        (["big-bg"], "'big-bg'"),
        (["big-big", "small-small"], "found big-big and small-small"),
        (["essential", "bfloat16", "float32"], "found bfloat16 and float32"),
        (["--controlnet", "canny,identity"], "found 'identity'"),
        (["essential", "--models", "a_file"], "--models"),
    ],
)
def test_bad_words(
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    (models.parent / "a_file").touch()
    monkeypatch.setattr(hub, "ask", lambda file: pytest.fail("the hub was asked"))
    assert main(["download", *arguments]) == 2
    assert reason in capsys.readouterr().err


def test_a_full_disk_is_seen_before(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub, "ask", lambda file: hub.Remote("", 10**18, ""))
    assert main(["download", "essential", "--yes"]) == 1
    assert "3000000000.0 GB are needed" in capsys.readouterr().err


def test_folders_of_extra_model_paths(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = models.parent / "other"
    lines = ["x:", f"  base_path: {other}", "  is_default: true", "  vae: vaes", "  controlnet: nets"]
    (models.parent / "extra_model_paths.yaml").write_text("\n".join(lines))
    monkeypatch.setattr(hub, "ask", lambda file: hub.Remote("", 1, ""))
    paths = {file.label: download._look_up(file, models).path for file in FILES}  # pyright: ignore
    assert paths[STAGE_A.label] == other / "vaes" / "stage_a.safetensors"
    assert paths["controlnet/stable_cascade_canny.safetensors"].parent == other / "nets"
    assert paths["diffusion_models/stage_c.safetensors"].parent == models / "diffusion_models"
    assert paths["text_encoders/tokenizer/vocab.json"].parent == models / "text_encoders" / "tokenizer"


OFFICIAL = {
    ("big-big", "bfloat16"): {"stage_b_bf16", "stage_c_bf16"},
    ("big-big", "float32"): {"stage_b", "stage_c"},
    ("big-small", "bfloat16"): {"stage_b_bf16", "stage_c_lite_bf16"},
    ("big-small", "float32"): {"stage_b", "stage_c_lite"},
    ("small-big", "bfloat16"): {"stage_b_lite_bf16", "stage_c_bf16"},
    ("small-big", "float32"): {"stage_b_lite", "stage_c"},
    ("small-small", "bfloat16"): {"stage_b_lite_bf16", "stage_c_lite_bf16"},
    ("small-small", "float32"): {"stage_b_lite", "stage_c_lite"},
}  # what the official download script fetches for these words


def test_words_mean_what_they_mean_officially() -> None:
    for (variant, precision), names in OFFICIAL.items():
        chosen = published.choose([variant], precision)
        assert {(file.repository, file.path) for file in chosen} == {(CASCADE, f"{name}.safetensors") for name in names}
    essentials = {file.path for file in published.choose(["essential"], "bfloat16")}
    assert essentials == {"effnet_encoder.safetensors", "stage_a.safetensors", "previewer.safetensors"}
    vision = published.choose(["--image-encoder"], "float32")
    assert [(file.repository, file.path) for file in vision] == [(PRIOR, "image_encoder/model.safetensors")]


def test_each_command_brings_its_file(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Published] = []

    def note(file: Published) -> hub.Remote:
        asked.append(file)
        return hub.Remote("", 1, "")

    monkeypatch.setattr(hub, "ask", note)
    for file in FILES:
        (command,) = published.commands_for([file])
        asked.clear()
        assert main(command.split()[1:]) == 2  # for nobody said --yes
        assert file in asked
    assert published.find("flux.safetensors") is None
    assert len({(file.folder, file.name) for file in FILES}) == len(FILES)


def test_workflows_and_docs_name_these_files() -> None:
    addresses = {f"https://huggingface.co/{file.repository}/resolve/main/{file.path}": file for file in FILES}
    for path in shipped.files():
        for node in json.loads(path.read_text())["nodes"]:
            for model in node.get("properties", {}).get("models", []):
                file = addresses[model["url"]]
                assert (model["name"], model["directory"]) == (file.name, file.folder)
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    table = [file for file in FILES if file.kind not in ("tokenizer", "controlnet")]
    assert [file.path for file in table if f"`{file.path}`" not in page] == []


@pytest.mark.parametrize("file", [f for f in FILES if f.kind != published.TOKENIZER], ids=lambda file: file.label)
def test_headers_are_told_apart(tmp_path: Path, file: Published) -> None:
    path = content_of(file).write(tmp_path / file.name)
    fitting = [row for row in FILES if row.kind != published.TOKENIZER and download._misfit(row, path) is None]  # pyright: ignore
    assert {(row.kind, row.preset) for row in fitting} == {(file.kind, file.preset)}


def test_sizes_are_those_of_the_networks() -> None:
    """Of the tensors, headers aside; all-in-one files repeat what others have."""
    for file in FILES:
        if file.kind in (published.TOKENIZER, "controlnet") or file.folder == published.CHECKPOINTS:
            continue
        content = content_of(file)
        assert abs(content.size - file.size) < 1e-3 * file.size + 200_000, file.label
    parts = [file for file in FILES if file.precision == "bfloat16" and file.preset in ("3.6B", "published")]
    all_in_one = published.find("stable_cascade_stage_c.safetensors")
    assert all_in_one is not None and abs(all_in_one.size - sum(file.size for file in parts)) < 60_000_000


@pytest.mark.parametrize(
    ("names", "commands"),
    [
        (["stage_c_bf16.safetensors", "stage_b_lite_bf16.safetensors"], ["cascade download small-big"]),
        (
            ["stage_c.safetensors", "model.safetensors", "previewer.safetensors", "stable_cascade_canny.safetensors"],
            ["cascade download essential big-big float32 --controlnet canny --text-encoder"],
        ),
        (
            ["stage_c.safetensors", "model.bf16.safetensors"],
            ["cascade download big-big float32", "cascade download --text-encoder"],
        ),
        (
            ["stage_c_bf16.safetensors", "stage_c_lite_bf16.safetensors"],
            ["cascade download big-big", "cascade download small-small"],
        ),
    ],
)
def test_the_fewest_commands(
    models: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], commands: list[str]
) -> None:
    files = [file for name in names if (file := published.find(name)) is not None]
    assert len(files) == len(names)
    assert published.commands_for(files) == commands
    asked: list[Published] = []
    monkeypatch.setattr(hub, "ask", lambda file: (asked.append(file), hub.Remote("", 1, ""))[1])
    for command in commands:
        assert main(command.split()[1:]) == 2  # for nobody said --yes
    assert set(files) <= set(asked)


def test_the_folder_of_models_comes_into_being(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub, "ask", lambda file: hub.Remote("", 1, ""))
    assert main(["download", "essential", "--models", "new/place"]) == 2
    told = capsys.readouterr().err
    assert "new/place" in told and "add --yes" in told  # and not that there is no such folder
