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
        (["essential", "--models", "nowhere"], "--models"),
    ],
)
def test_bad_words(
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
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
        command = published.command_for(file.name, file.kind)
        assert command is not None
        asked.clear()
        assert main(command.split()[1:]) == 2  # for nobody said --yes
        assert file in asked
    assert published.command_for("model.safetensors") == "cascade download float32 --text-encoder"
    assert published.command_for("flux.safetensors") is None
    assert len({(file.folder, file.name) for file in FILES}) == len(FILES)


def test_workflows_and_readme_name_these_files() -> None:
    addresses = {f"https://huggingface.co/{file.repository}/resolve/main/{file.path}": file for file in FILES}
    for path in shipped.files():
        for node in json.loads(path.read_text())["nodes"]:
            for model in node.get("properties", {}).get("models", []):
                file = addresses[model["url"]]
                assert (model["name"], model["directory"]) == (file.name, file.folder)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = [file for file in FILES if file.kind not in ("tokenizer", "controlnet")]
    assert [file.path for file in table if f"`{file.path}`" not in readme] == []


@pytest.mark.parametrize("file", [f for f in FILES if f.kind != published.TOKENIZER], ids=lambda file: file.label)
def test_headers_are_told_apart(tmp_path: Path, file: Published) -> None:
    path = content_of(file).write(tmp_path / file.name)
    fitting = [row for row in FILES if row.kind != published.TOKENIZER and download._misfit(row, path) is None]  # pyright: ignore
    assert {(row.kind, row.preset) for row in fitting} == {(file.kind, file.preset)}
