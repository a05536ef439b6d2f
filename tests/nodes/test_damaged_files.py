"""Files that cannot be loaded: a loader says what each is, in one message, and the next file loads all the same."""

from pathlib import Path

import pytest

from stable_cascade_nodes import NODE_CLASS_MAPPINGS
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.runtime import host

from .. import model_files


@pytest.mark.parametrize("case", model_files.damage_cases())
def test_a_loader_names_what_it_cannot_load(case: str, models: Path, tmp_path: Path) -> None:
    whole = (models / "vae" / "stage_a.safetensors").read_bytes()
    data, expected = model_files.damaged(whole)[case]
    (tmp_path / "vae").mkdir()
    file = tmp_path / "vae" / f"{case}.safetensors"
    file.write_bytes(data)
    host.configure(models=tmp_path)
    node = NODE_CLASS_MAPPINGS["CascadeStageALoader"]
    assert node.VALIDATE_INPUTS(model_name=file.name) is True  # which opens no file
    with pytest.raises(CascadeError) as raised:
        node().load(model_name=file.name)
    message = str(raised.value)
    assert file.name in message and expected in message
    assert "\n" not in message and len(message) < 700
    with pytest.raises(OSError, match=file.stem) as refused:  # a failure of the run, not of the workflow
        node().rehearse(model_name=file.name)
    assert str(refused.value) == message
    file.write_bytes(whole)
    (handle,) = node().load(model_name=file.name)
    assert handle.kind == "stage_a"


@pytest.mark.parametrize(("node", "kind"), [("CascadeStageBLoader", "stage_c"), ("CascadeStageCLoader", "stage_b")])
def test_swapped_stages(models: Path, node: str, kind: str) -> None:
    host.configure(models=models)
    with pytest.raises(CascadeError, match=rf"{kind}\.safetensors is a Stage [BC] file \(tiny\): choose it in"):
        NODE_CLASS_MAPPINGS[node]().load(model_name=f"{kind}.safetensors")
