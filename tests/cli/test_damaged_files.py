"""A damaged model file in a run: one message, exit code 1, and nothing written."""

import json
from pathlib import Path

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.builtin import weights_path
from stable_cascade_nodes.cascade_core.files import load
from stable_cascade_nodes.cli.main import main
from stable_cascade_nodes.runtime import host

from .. import model_files

WORKFLOW = Path(stable_cascade_nodes.__file__).parent / "workflows" / "text_to_image.json"
CASES = model_files.damaged(bytes(8))


def loader_of(class_type: str) -> str:
    nodes = json.loads(WORKFLOW.read_text(encoding="utf-8"))["nodes"]
    (found,) = [node["id"] for node in nodes if node["type"] == class_type]
    return str(found)


@pytest.mark.parametrize("case", [*CASES, "swapped"])
def test_a_run_with_a_damaged_file(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "_current", None)
    sound = tmp_path / "sound.safetensors"
    load.save(sound, model_files.small_stages()["stage_a"], "stage_a")
    swapped = (weights_path("previewer").read_bytes(), "is a previewer file (tiny): choose it in the previewer loader")
    data, says = (model_files.damaged(sound.read_bytes()) | {"swapped": swapped})[case]
    bad = tmp_path / "models" / "vae" / "bad.safetensors"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(data)
    code = main(["run", str(WORKFLOW), "--set", f"{loader_of('CascadeStageALoader')}.model_name=bad.safetensors"])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("cascade: ") and "bad.safetensors" in line and says in line
    assert "Traceback" not in err
    assert not (tmp_path / "output").exists()
    assert list(bad.parent.iterdir()) == [bad]
