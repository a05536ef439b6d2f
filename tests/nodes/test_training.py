"""The training nodes: what they write where, cancel and resume, and what a rehearsal refuses.

Run: pytest tests/nodes
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.nodes.conditioning import CascadeControlNetApply, CascadeTextEncode
from stable_cascade_nodes.nodes.dataset import CascadeDataset
from stable_cascade_nodes.nodes.hints import CascadePictureHint
from stable_cascade_nodes.nodes.lora import CascadeLoRAApply
from stable_cascade_nodes.nodes.training import CascadeControlNetTrain, CascadeLoRATrain
from stable_cascade_nodes.runtime import host

Part = Callable[[str], Handle]
SETTINGS: dict[str, Any] = {
    "size": 64,
    "steps": 3,
    "batch_size": 1,
    "learning_rate": 0.01,
    "sample_every": 3,
    "seed": 0,
}
LORA = {**SETTINGS, "prompts": "a [zig]\na circle", "rank": 2, "alpha": 2.0, "tokens": "[zig]=^circle$"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """In the input folder, with control pictures."""
    folder = tmp_path / "input" / "stars"
    (folder / "control").mkdir(parents=True)
    for number in range(2):
        levels = np.random.default_rng(number).integers(255, size=(64, 64, 3), dtype=np.uint8)
        for place in (folder, folder / "control"):
            Image.fromarray(levels).save(place / f"{number}.png")
        (folder / f"{number}.txt").write_text("a red [zig]")
    return folder


def models(part: Part, *more: str) -> dict[str, Any]:
    return {kind: part(kind) for kind in ("stage_c", "text_encoder", "effnet", *more)}


def train(node: Any, **inputs: Any) -> tuple[dict[str, Any], tuple[Any, ...]]:
    with torch.inference_mode():  # as the host calls nodes
        answer = node.train(**inputs)
    return answer["ui"], answer["result"]


def test_a_data_set_lies_in_the_input_folder_or_anywhere(pictures: Path, tmp_path: Path) -> None:
    node = CascadeDataset()
    (inside,) = node.read("stars")
    (anywhere,) = node.read(str(pictures), "one caption")
    assert [example.caption for example in inside.examples] == ["a red [zig]"] * 2
    assert [example.caption for example in anywhere.examples] == ["one caption"] * 2
    (built_in,) = node.read("tiny zig (built-in)")
    assert len(built_in.examples) == 12
    before = CascadeDataset.IS_CHANGED("stars")
    assert before == CascadeDataset.IS_CHANGED("stars")
    (pictures / "0.txt").write_text("another caption")
    assert before != CascadeDataset.IS_CHANGED("stars")
    with pytest.raises(CascadeError, match="folder: expected the folder in which the pictures are"):
        node.read("  ")
    for ask in (node.read, node.rehearse, CascadeDataset.IS_CHANGED):
        with pytest.raises(CascadeError, match=r"^/ is a whole file system: name a folder in it$"):
            ask("/")


def test_a_lora_is_trained_and_applied(part: Part, pictures: Path, tmp_path: Path) -> None:
    (dataset,) = CascadeDataset().read("stars")
    inputs = {**models(part, "previewer"), **LORA, "dataset": dataset, "name": "my zig"}
    ui, (lora, path, samples) = train(CascadeLoRATrain(), **inputs)
    assert Path(path) == tmp_path / "models" / "loras" / "my zig.safetensors"
    assert read_lora(Path(path), "my zig").changes.keys() == lora.changes.keys() or len(lora.changes) > 0
    assert samples.shape == (2, 16, 16, 3) and samples.dtype == torch.float32
    names = [f"000003-{number}.png" for number in (0, 1)]
    assert ui["images"] == [
        {"filename": name, "subfolder": "training/my zig/samples", "type": "output"} for name in names
    ]
    assert all((tmp_path / "output" / image["subfolder"] / image["filename"]).is_file() for image in ui["images"])
    stage_c, text_encoder = CascadeLoRAApply().apply(
        part("stage_c"), "", 1.0, text_encoder=part("text_encoder"), lora=lora
    )
    assert stage_c.module is not part("stage_c").module
    assert text_encoder.module.unknown_words("a [zig]") == []


def test_a_rehearsal_gives_what_the_training_will(part: Part, pictures: Path) -> None:
    (dataset,) = CascadeDataset().read("stars")
    inputs = {**models(part, "previewer"), **LORA, "dataset": dataset, "name": "zig"}
    lora, path, samples = CascadeLoRATrain().rehearse(**inputs)
    _, (trained, written, made) = train(CascadeLoRATrain(), **inputs)
    assert (path, samples.shape) == (written, made.shape) and samples.is_meta
    assert lora.changes.keys() == trained.changes.keys()
    assert [token.text for token in lora.tokens] == ["[zig]"]


def test_without_prompts_the_curve_is_shown(part: Part, pictures: Path) -> None:
    (dataset,) = CascadeDataset().read("stars")
    inputs = {**models(part), **LORA, "prompts": "", "dataset": dataset, "name": "zig"}
    ui, (_, _, samples) = train(CascadeLoRATrain(), **inputs)
    assert samples.shape == (1, 420, 900, 3) == CascadeLoRATrain().rehearse(**inputs)[2].shape
    assert ui["images"] == [{"filename": "curve.png", "subfolder": "training/zig", "type": "output"}]


def test_prompts_without_what_shows_them_are_told(
    part: Part, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset,) = CascadeDataset().read("stars")
    train(CascadeLoRATrain(), **{**models(part), **LORA, "dataset": dataset, "name": "zig"})
    told = "prompts: no samples are made, since they need `previewer`, or `stage_b` and `stage_a`"
    assert told in capsys.readouterr().err
    train(CascadeLoRATrain(), **{**models(part, "previewer"), **LORA, "dataset": dataset, "name": "zag"})
    assert "no samples" not in capsys.readouterr().err


def test_cancel_keeps_the_state_and_the_same_name_resumes(
    part: Part, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dataset,) = CascadeDataset().read("stars")
    inputs = {**models(part), **LORA, "steps": 6, "prompts": "", "tokens": "", "dataset": dataset}
    _, (_, whole, _) = train(CascadeLoRATrain(), **inputs, name="whole")
    here, checked = host.configure(), 0
    check_cancel = here.check_cancel

    def cancel_later() -> None:
        nonlocal checked
        checked += 1
        if checked == 2 + 2 + 4:  # pictures, their caption and the empty one, steps
            here.request_cancel()
        check_cancel()

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(here, "check_cancel", cancel_later)
        train(CascadeLoRATrain(), **inputs, name="parts")
    assert (tmp_path / "output" / "training" / "parts" / "state.safetensors").is_file()
    assert not (tmp_path / "models" / "loras" / "parts.safetensors").exists()
    assert not any(parameter.requires_grad for parameter in part("stage_c").module.parameters())

    totals: list[int] = []
    original = here.progress
    with monkeypatch.context() as patch:
        patch.setattr(here, "progress", lambda label, total, *more: (totals.append(total), original(label, total))[1])
        _, (_, parts, _) = train(CascadeLoRATrain(), **inputs, name="parts")
    assert totals[-1] == 2  # four of six were taken before
    assert Path(whole).read_bytes() == Path(parts).read_bytes()


def test_names_that_are_no_names(part: Part, pictures: Path) -> None:
    (dataset,) = CascadeDataset().read("stars")
    for name in ("", "../out", "a/b", ".hidden"):
        with pytest.raises(CascadeError, match="name: expected letters"):
            CascadeLoRATrain().rehearse(**{**models(part), **LORA, "dataset": dataset, "name": name})
    for name in ("a" * 201, "\u00fc" * 101):
        with pytest.raises(CascadeError, match=r"name: expected at most 200 bytes, found 20[12]"):
            CascadeLoRATrain().rehearse(**{**models(part), **LORA, "dataset": dataset, "name": name})


def test_every_file_of_the_longest_name_can_be_written(part: Part, pictures: Path, tmp_path: Path) -> None:
    (dataset,) = CascadeDataset().read("stars")
    inputs = {**models(part), **LORA, "steps": 1, "sample_every": 0, "prompts": "", "dataset": dataset}
    _, (_, path, _) = train(CascadeLoRATrain(), **inputs, name="\u00fc" * 100)
    assert Path(path).is_file() and Path(path).stem == "\u00fc" * 100


def test_what_no_run_left_is_told_and_made_again(
    part: Part, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset,) = CascadeDataset().read("stars")
    inputs = {**models(part), **LORA, "sample_every": 0, "prompts": "", "dataset": dataset, "name": "odd"}
    _, (_, path, _) = train(CascadeLoRATrain(), **inputs)
    whole, folder = Path(path).read_bytes(), tmp_path / "output" / "training" / "odd"
    first, second, *_ = sorted((folder / "cache").iterdir())
    save_file({name: tensor * float("nan") for name, tensor in load_file(first).items()}, first)
    second.write_bytes(b"half")
    (folder / "curve.jsonl").write_text('[]\n{"step": "x"}\n{"step": 1e999, "rate": 1}\n{"step": 1, "rate')
    (folder / "state.safetensors").unlink()
    Path(path).unlink()
    capsys.readouterr()
    train(CascadeLoRATrain(), **inputs)
    told = capsys.readouterr().err
    assert f"2 damaged files in {folder / 'cache'} were made again" in told
    assert f"3 lines in {folder} that no run wrote were left out of its curve" in told
    assert Path(path).read_bytes() == whole
    assert len((folder / "curve.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("origin", ["", "[]", "{", '{"data": 3}', "[" * 500])
def test_a_state_of_another_version_is_refused(part: Part, pictures: Path, tmp_path: Path, origin: str) -> None:
    (dataset,) = CascadeDataset().read("stars")
    inputs = {**models(part), **LORA, "sample_every": 0, "prompts": "", "dataset": dataset, "name": "old"}
    state = tmp_path / "output" / "training" / "old" / "state.safetensors"
    state.parent.mkdir(parents=True)
    save_file({"weights.a": torch.zeros(1)}, state, {"step": "1", "numbers": "[]", "origin": origin})
    with pytest.raises(CascadeError, match=r"state\.safetensors is a state of another version"):
        train(CascadeLoRATrain(), **inputs)


def test_a_controlnet_is_trained_and_applied(part: Part, pictures: Path, tmp_path: Path) -> None:
    (dataset,) = CascadeDataset().read("stars")
    inputs = {**models(part, "previewer"), **SETTINGS, "prompts": "a circle", "dataset": dataset, "name": "stars"}
    rehearsed = CascadeControlNetTrain().rehearse(**inputs, hint="own")
    _, (net, path, samples) = train(CascadeControlNetTrain(), **inputs, hint="own")
    assert Path(path) == tmp_path / "models" / "controlnet" / "stars.safetensors"
    assert (net.config, net.family) == (rehearsed[0].config, rehearsed[0].family)
    assert samples.shape == rehearsed[2].shape
    assert net.module.projections[0][2].weight.abs().sum() > 0
    (prompt,) = CascadeTextEncode().encode(part("text_encoder"), "a circle")
    hint, _ = CascadePictureHint().make(torch.rand(1, 64, 64, 3))
    CascadeControlNetApply().apply(prompt, net, hint, 1.0, 0.0, 1.0)

    more = {**inputs, "name": "more", "controlnet": net, "prompts": ""}
    _, (again, _, _) = train(CascadeControlNetTrain(), **more, hint="own")
    assert again.config == net.config
    with pytest.raises(CascadeError, match="takes hints of 3 channels, but canny hints have 1"):
        CascadeControlNetTrain().rehearse(**more, hint="canny")


def test_what_a_rehearsal_refuses(part: Part, pictures: Path) -> None:
    (dataset,) = CascadeDataset().read("stars")
    inputs = {**models(part), **SETTINGS, "prompts": "", "dataset": dataset, "name": "stars"}
    with pytest.raises(CascadeError, match="effnet takes pixels, but identity hints"):
        CascadeControlNetTrain().rehearse(**inputs, hint="identity", bottleneck="effnet")
    (pictures / "control" / "1.png").unlink()
    (dataset,) = CascadeDataset().read("stars")
    with pytest.raises(CascadeError, match=r"1\.png has no control picture"):
        CascadeControlNetTrain().rehearse(**{**inputs, "dataset": dataset}, hint="own")
    with pytest.raises(CascadeError, match="no weight of this Stage C"):
        CascadeLoRATrain().rehearse(**{**models(part), **LORA, "dataset": dataset, "name": "a", "filters": "zzz"})
