"""Training in a real ComfyUI: progress, samples as previews, cancel keeps the state, the same name resumes it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.training.state import read_head
from stable_cascade_nodes.headless import graph

from .server import ComfyUI

ROOT = Path(stable_cascade_nodes.__file__).parent
FILE = ROOT / "workflows" / "lora_training.json"
STEPS = 12
Prompt = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def prompt(comfyui: ComfyUI) -> Prompt:
    """The shipped workflow, with a training of a few steps."""
    workflow = json.loads(FILE.read_text())
    prompt = graph.convert(workflow, *graph.read_object_info(comfyui.object_info())).prompt
    prompt[trainer(prompt)]["inputs"] |= {"steps": STEPS, "sample_every": 4, "save_every": 5, "keep_count": 3}
    return prompt


def trainer(prompt: Prompt) -> str:
    (found,) = [identity for identity, node in prompt.items() if node["class_type"] == "CascadeLoRATrain"]
    return found


def named(prompt: Prompt, name: str, **changes: Any) -> Prompt:
    changed = copy.deepcopy(prompt)
    changed[trainer(changed)]["inputs"] |= {"name": name, **changes}
    return changed


def test_progress_samples_and_files(comfyui: ComfyUI, prompt: Prompt) -> None:
    whole = named(prompt, "whole")
    run = comfyui.run(whole)
    assert run.error is None
    told = [event["value"] for event in run.of("progress") if event["node"] == trainer(whole) and event["max"] == STEPS]
    assert [value for value in told if value] == list(range(1, STEPS + 1))
    kinds = [event.type for event in run.events]
    before_sampling = kinds[: kinds.index("preview") + 1]
    assert "executing" in before_sampling and len(run.of("preview")) >= STEPS // 4  # samples, then Stage C's own
    images = run.images(trainer(whole))
    assert images and all(comfyui.view(**image).startswith(b"\x89PNG") for image in images)
    folder = comfyui.output / "training" / "whole"
    assert read_head(folder / "state.safetensors").step == STEPS
    assert (folder / "curve.png").is_file() and len((folder / "curve.jsonl").read_text().splitlines()) == STEPS
    assert (comfyui.models / "loras" / "whole.safetensors").is_file()
    offered = comfyui.object_info()["CascadeLoRAApply"]["input"]["required"]["lora_name"][0]
    assert "whole.safetensors" in offered


def test_cancel_keeps_the_state_and_the_same_name_goes_on(comfyui: ComfyUI, prompt: Prompt) -> None:
    """The finished file is the one of a training that was never stopped."""
    stopped = named(prompt, "stopped")
    asked_at = 0
    types: list[str] = []
    for event in comfyui.events(stopped):
        types.append(event.type)
        training = event.type == "progress" and event.data["node"] == trainer(stopped) and event.data["max"] == STEPS
        if training and event.data["value"] == 7 and not asked_at:
            asked_at = len(types)
            comfyui.interrupt()
    assert asked_at and "execution_interrupted" in types and "execution_success" not in types
    state = comfyui.output / "training" / "stopped" / "state.safetensors"
    kept = read_head(state).step
    assert 7 <= kept <= 9
    assert not (comfyui.models / "loras" / "stopped.safetensors").exists()

    run = comfyui.run(stopped)
    assert run.error is None
    left = STEPS - kept
    told = [
        event["value"] for event in run.of("progress") if event["node"] == trainer(stopped) and event["max"] == left
    ]
    assert [value for value in told if value] == list(range(1, left + 1))
    whole, resumed = (comfyui.models / "loras" / f"{name}.safetensors" for name in ("whole", "stopped"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_another_setting_under_the_same_name_is_refused(comfyui: ComfyUI, prompt: Prompt) -> None:
    run = comfyui.run(named(prompt, "whole", rank=8))
    assert run.error is not None and "CascadeLoRATrain" in run.error
    assert "rank was 16, is 8" in run.error and "Choose another name, or delete that folder" in run.error
