"""`cascade nodes`."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.headless import native, node_classes
from stable_cascade_nodes.headless.native import tooltips

Cascade = Callable[..., Any]


def test_lists_every_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes"]) == 0
    out = capsys.readouterr().out
    assert "SaveImage  Save Image\n    images, filename_prefix -> images\n    Saves the pictures" in out
    assert all(f"\n{name}  " in f"\n{out}" for name in node_classes.load().classes)


def test_describes_one(cascade: Cascade) -> None:
    answer = cascade("nodes", "Many")
    assert answer.code == 0
    assert "  ratio: FLOAT, default 0.5, min 0.0, max 1.0\n" in answer.out
    assert '  colour: COMBO, one of "red", "green"\n' in answer.out
    assert "Outputs:\n  STRING: STRING\n" in answer.out


def test_json(cascade: Cascade) -> None:
    found = json.loads(cascade("nodes", "SaveImage", "--json").out)["SaveImage"]
    assert found["display_name"] == "Save Image"
    assert found["inputs"][1] == {
        "name": "filename_prefix",
        "type": "STRING",
        "required": True,
        "default": "ComfyUI",
    } | {"tooltip": "The beginning of the file's name, perhaps with folders: `stars/red`."}
    assert found["is_output"] is True


def test_an_unknown_name(cascade: Cascade) -> None:
    answer = cascade("nodes", "SaveImages")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith('cascade: expected a node ("SaveImage"')


def test_a_stand_in_says_what_its_inputs_mean_and_what_runs_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes", "KSampler"]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("  sampler_name: ")]
    assert '"euler_ancestral"' in line and '"ddpm"' in line and "dpm_adaptive" not in line
    assert line.endswith("more run in ComfyUI only)")
    assert main(["nodes", "--json"]) == 0
    nodes = json.loads(capsys.readouterr().out)
    assert [
        f"{key}.{entry['name']}" for key in native.CLASSES for entry in nodes[key]["inputs"] if not entry["tooltip"]
    ] == []
    known = {entry["name"] for key in native.CLASSES for entry in nodes[key]["inputs"]}
    assert known == set(tooltips._SHARED)  # pyright: ignore[reportPrivateUsage]
    assert all(name.partition(".")[0] in native.CLASSES for name in tooltips._OF_CLASS)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cascadestagecsampler", ["CascadeStageCSampler"]),
        ("stable cascade: load stage c", ["CascadeStageCLoader"]),
        ("textual inversion", ["CascadeLoRAApply"]),
        ("empty latents", ["CascadeEmptyLatents"]),
        ("outpaint", ["CascadeOutpaintPad"]),
        ("load stage", ["CascadeStageALoader", "CascadeStageBLoader", "CascadeStageCLoader"]),
        ("paste back", ["CascadePasteBack"]),
    ],
)
def test_found_by_title_and_words(capsys: pytest.CaptureFixture[str], name: str, wanted: list[str]) -> None:
    assert main(["nodes", name, "--json"]) == 0
    found = list(json.loads(capsys.readouterr().out))
    assert set(wanted) <= set(found) and len(found) <= len(wanted) + 2  # aliases of few others have these words too
    assert len(wanted) > 1 or name not in ("cascadestagecsampler", "stable cascade: load stage c") or found == wanted
