"""What the nodes learn of their surroundings inside ComfyUI: its own modules answer, in a process without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .bare import find_facts
from .lanes import Lane

FLOAT, BRAIN, HALF = "float32", "bfloat16", "float16"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as a person has them; what `disk` has lies outside the models folder."""
    base = tmp_path_factory.mktemp("base")
    for name in (
        "models/unet/same.safetensors",
        "models/diffusion_models/sub/deep.safetensors",
        "models/checkpoints/same.safetensors",
        "models/checkpoints/all.ckpt",
        "models/diffusers/flat.safetensors",
        "models/diffusers/repository/unet/model.safetensors",
        "disk/same.safetensors",
        "disk/extra.safetensors",
        "input/b.png",
        "input/a.jpg",
        "input/notes.txt",
        "output/made.png",
        "outside.png",
    ):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).touch()
    (base / "input" / "link.png").symlink_to(base / "outside.png")
    return base


@pytest.fixture(scope="module")
def facts(lane: Lane, base: Path) -> dict[str, Any]:
    return find_facts(lane, "ask_surroundings.py", base, "--base-directory", str(base))


def test_models_are_those_of_comfyuis_folders_and_the_first_key_wins(facts: dict[str, Any]) -> None:
    assert list(facts["files"].items()) == [
        ("extra.safetensors", "disk/extra.safetensors"),
        ("same.safetensors", "models/unet/same.safetensors"),
        (str(Path("sub/deep.safetensors")), "models/diffusion_models/sub/deep.safetensors"),
        ("all.ckpt", "models/checkpoints/all.ckpt"),
        ("flat.safetensors", "models/diffusers/flat.safetensors"),
    ]


def test_pictures_stay_inside_comfyuis_folders(facts: dict[str, Any], base: Path) -> None:
    assert facts["folders"] == [str(base / name) for name in ("output", "input", "temp")]
    assert facts["pictures"] == ["a.jpg", "b.png", "link.png"]
    assert facts["annotated"] == str(base / "output" / "made.png")
    up, link = facts["escapes"]
    assert "'../x.png' leads out of" in up
    assert "'link.png' is a link that leads out of" in link


def test_a_key_that_comfyui_does_not_know_is_a_folder_of_its_models(facts: dict[str, Any]) -> None:
    assert facts["of insightface"] == ["models/insightface"]


def test_device_and_vocabulary_are_comfyuis(facts: dict[str, Any]) -> None:
    assert facts["device"] == "cpu"
    assert facts["tokenizers"] == [[False, False], [False, False], [True, True]]  # none was fetched beside an encoder


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("a CPU", [FLOAT, FLOAT, FLOAT, FLOAT, FLOAT]),
        ("bf16 everywhere", [BRAIN, BRAIN, BRAIN, BRAIN, BRAIN]),
        ("an old GPU", [HALF, HALF, FLOAT, FLOAT, FLOAT]),
        ("a GPU", [BRAIN, BRAIN, FLOAT, FLOAT, FLOAT]),
        ("--fp16-unet", [HALF, HALF, FLOAT, FLOAT, FLOAT]),
        ("--force-fp16", [HALF, HALF, FLOAT, FLOAT, FLOAT]),
        ("--fp32-unet --fp16-vae --fp16-text-enc", [FLOAT, FLOAT, HALF, HALF, HALF]),
        ("fp8", [BRAIN, BRAIN, FLOAT, FLOAT, FLOAT]),  # which plain layers cannot compute in
    ],
)
def test_the_precision_that_auto_means(facts: dict[str, Any], where: str, expected: list[str]) -> None:
    assert facts["precision"][where] == expected


def test_previews_follow_comfyuis_setting(facts: dict[str, Any]) -> None:
    assert facts["previews"]["off"] == [False, True]
    assert facts["previews"]["stage_c"] == [20, 24]  # width and height of the first image
    assert facts["previews"]["stage_b"] == [48, 64]


def test_a_picture_that_cannot_be_made_ends_the_previews_not_the_run(facts: dict[str, Any]) -> None:
    assert facts["progress"] == [[1, 3, ["JPEG", "picture", 512]], [2, 3, None], [3, 3, None]]
    assert facts["notes"] == ["Stage C Sampler: there are no more previews of this run: no room"]


def test_cancel_is_comfyuis(facts: dict[str, Any]) -> None:
    assert facts["cancelled"]


def test_a_program_that_configures_us_is_headless(facts: dict[str, Any]) -> None:
    assert facts["a program's own choice"] == [False, "elsewhere"]
