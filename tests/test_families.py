"""One part of another family in the shipped workflow: told before anything is computed.

Run: pytest tests/test_families.py
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import stable_cascade_nodes
from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.files.load import load, save
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.runtime import host

WORKFLOW = Path(stable_cascade_nodes.__file__).parent / "workflows" / "text_to_image.json"
LOADERS = {
    node["type"]: str(node["id"])
    for node in json.loads(WORKFLOW.read_text())["nodes"]
    if node["type"].endswith("Loader")
}
COMPUTES = [
    (TextEncoder, "encode"),
    (StageC, "prepare"),
    (StageC, "evaluate"),
    (StageB, "prepare"),
    (StageB, "evaluate"),
    (StageA, "decode"),
    (Previewer, "forward"),
]
OTHER = "other.safetensors"
TINY = "comes from tiny (built-in): choose a model of the family other in its loader, or the tiny (built-in)"

# The loader that has the other family -> who refuses it, in which words.
REFUSALS = {
    "CascadeTextEncoderLoader": (
        'node 9 "Stage C" (CascadeStageCSampler)',
        "Stage C is tiny (built-in), but `positive` comes from a model of the family other:"
        " choose tiny (built-in) in its loader, or a Stage C of the family other",
    ),
    "CascadeStageCLoader": (
        'node 9 "Stage C" (CascadeStageCSampler)',
        f"Stage C is {OTHER}, but `positive` {TINY} Stage C",
    ),
    "CascadePreviewerLoader": (
        'node 9 "Stage C" (CascadeStageCSampler)',
        f"Previewer is {OTHER}, but `stage_c` {TINY} previewer",
    ),
    "CascadeStageBLoader": (
        'node 10 "Stage B" (CascadeStageBSampler)',
        f"Stage B is {OTHER}, but `stage_c` {TINY} Stage B",
    ),
    "CascadeStageALoader": (
        'node 11 "Stable Cascade: Stage A Decode" (CascadeStageADecode)',
        f"Stage A is {OTHER}, but `latent` {TINY} Stage A",
    ),
}


class Answer(NamedTuple):
    code: int
    out: str
    complaints: list[str]  # what the command says of itself on stderr


Run = Callable[..., Answer]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in part of every loader as a file of another family, where people would put it."""
    folder = tmp_path_factory.mktemp("base") / "models"
    for name in LOADERS:
        loader: Any = NODE_CLASS_MAPPINGS[name]
        (path,) = built_in(loader.KIND).values()
        handle = load(loader.KIND, path)
        place = folder / loader.FOLDERS[0] / loader.KIND / OTHER
        place.parent.mkdir(parents=True)
        words = getattr(handle.module, "known_words", None)
        save(place, handle.module, loader.KIND, family="other", target=handle.target, vocabulary=words)
    return folder


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a network was asked to compute; the first one to be asked ends the run."""
    seen: list[str] = []

    def watch(cls: type[Any], method: str) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            seen.append(f"{cls.__name__}.{method}")
            raise AssertionError("a network was evaluated")

        monkeypatch.setattr(cls, method, refuse)

    for cls, method in COMPUTES:
        watch(cls, method)
    return seen


@pytest.fixture
def run(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """The command, in an empty folder, with `{loader: file}` in place of the built-in models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "_current", None)

    def call(chosen: dict[str, str], folder: Path = models) -> Answer:
        assignments = [
            part for name, file in chosen.items() for part in ("--set", f"{LOADERS[name]}.model_name={file}")
        ]
        code = main(["run", str(WORKFLOW), "--models", str(folder), "--device", "cpu", *assignments])
        out, err = capsys.readouterr()
        return Answer(code, out, [line for line in err.splitlines() if line.startswith("cascade: ")])

    return call


def other(name: str) -> str:
    loader: Any = NODE_CLASS_MAPPINGS[name]
    return f"{loader.KIND}/{OTHER}"


def test_every_loader_of_the_workflow_is_tried() -> None:
    assert REFUSALS.keys() == LOADERS.keys()


@pytest.mark.parametrize("name", LOADERS)
def test_another_family_in_one_loader(name: str, run: Run, evaluated: list[str], tmp_path: Path) -> None:
    answer = run({name: other(name)})
    place, message = REFUSALS[name]
    assert answer.complaints == [f"cascade: {place}: {message.replace(OTHER, other(name))}"]
    assert (answer.code, answer.out) == (2, "")
    assert not evaluated
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("all_other", [False, True])
def test_one_family_is_not_refused(all_other: bool, run: Run, evaluated: list[str]) -> None:
    """And the watch over the networks notices what it has to notice."""
    answer = run({name: other(name) for name in LOADERS} if all_other else {})
    assert answer.code == 1
    assert evaluated == ["TextEncoder.encode"]


def test_a_damaged_file_is_told_before_anything_is_computed(
    run: Run, evaluated: list[str], models: Path, tmp_path: Path
) -> None:
    name = "CascadeStageALoader"
    whole = (models / "vae" / other(name)).read_bytes()
    folder = tmp_path / "models"
    (folder / "vae").mkdir(parents=True)
    (folder / "vae" / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    answer = run({name: "cut.safetensors"}, folder)
    assert (answer.code, answer.out) == (1, "")
    (complaint,) = answer.complaints
    title = 'node 5 "Stable Cascade: Load Stage A" (CascadeStageALoader)'
    assert complaint.startswith(f"cascade: {title} failed: cut.safetensors")
    assert not evaluated
