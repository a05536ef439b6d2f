"""The examples of docs/python.md and the lines of docs/training.md, as they stand. Run: pytest tests/test_docs.py"""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.builtin.draw import draw
from stable_cascade_nodes.cascade_core.builtin.world import one_shape
from stable_cascade_nodes.cascade_core.sampling.sizes import stage_c_size
from stable_cascade_nodes.cascade_core.training.kinds import TRAININGS
from stable_cascade_nodes.cascade_core.training.setting import Setting
from stable_cascade_nodes.cli.main import parse
from stable_cascade_nodes.recipes.tiny.reader import is_right
from stable_cascade_nodes.recipes.tiny.zig import counted_zigs
from stable_cascade_nodes.recipes.tiny.zig_reader import shows_zigs

DOCS = Path(stable_cascade_nodes.__file__).parent / "docs"
PAGE = (DOCS / "python.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## (.*?)\n.*?^```python\n(.*?)^```", PAGE, re.M | re.S))
TRAINING = (DOCS / "training.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```\n(.*?)^```", TRAINING, re.M | re.S)
COMMANDS = [shlex.split(line) for block in FENCED for line in block.replace("\\\n", "").splitlines()]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(title: str) -> None:
    """The example, in the current folder."""
    Path("example.py").write_text(EXAMPLES[title], encoding="utf-8")
    runpy.run_path("example.py")


def test_a_picture(place: Path) -> None:
    run("A picture")
    scene = one_shape("red", "circle", "large", "top left", "white")
    assert is_right(np.asarray(Image.open(place / "circle.png")), scene)


def test_a_lora(place: Path) -> None:
    run("A LoRA")
    assert shows_zigs(np.asarray(Image.open(place / "zigs.png")), counted_zigs("three", "white"))


def test_a_folder_of_pictures(place: Path) -> None:
    (place / "pictures").mkdir()
    sizes = {"square.png": (256, 256), "wide.png": (384, 256)}
    for name, size in sizes.items():
        draw(one_shape("red", "circle", "large", "center", "white"), 256).resize(size).save(place / "pictures" / name)
    run("A folder of pictures as latents")
    latents = load_file(place / "latents.safetensors")
    assert {name: tuple(latent.shape) for name, latent in latents.items()} == {
        name: (16, *stage_c_size(*size)) for name, size in sizes.items()
    }
    assert all(latent.std() > 0.1 for latent in latents.values())


def test_every_line_of_the_page_about_training_can_be_pasted() -> None:
    commands = [command for command in COMMANDS if command[0] != "echo"]
    assert len(commands) > 12
    for command in commands:
        assert command[0] == "cascade" and "..." not in command
        parse(command[1:])  # a SystemExit for an argument that is none


def test_the_line_for_lora_training_has_all_that_the_workflow_sets() -> None:
    options = parse(next(command for command in COMMANDS if "--keep" in command)[1:])
    workflow = json.loads((DOCS.parent / "workflows" / "lora_training.json").read_text(encoding="utf-8"))
    node = next(node for node in workflow["nodes"] if node["type"] == "CascadeLoRATrain")
    name, *values = (value for value in node["widgets_values"] if value != "fixed")  # of the seed's own widget
    about = TRAININGS["lora"]
    inputs = about.required() | about.optional()
    settings = [entry for entry in inputs.values() if isinstance(entry, Setting)]
    assert options.name == name
    for setting, value in zip(settings, values, strict=False):  # what was added later has its default
        typed = getattr(options, setting.name)
        assert ("\n".join(typed) if setting.several_lines else typed) == value, setting.name


def test_what_may_change_when_a_training_goes_on() -> None:
    settings = [each for about in TRAININGS.values() for each in about.inputs().values() if isinstance(each, Setting)]
    told = TRAINING.partition("What may change:")[2].partition("Nothing else may")[0]
    expected = {f"--{each.name.replace('_', '-')}" for each in settings if each.may_change}
    assert set(re.findall(r"--[\w-]+", told)) == expected | {"--device"}
