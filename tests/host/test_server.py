"""What ComfyUI's server makes of the pack: its import, its descriptions, its files, and its runs."""

from __future__ import annotations

import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

import stable_cascade_nodes
from stable_cascade_nodes.headless import graph
from stable_cascade_nodes.recipes.tiny.reader import is_right

from ..recipes.tiny.caption_parser import scene_of
from .conftest import Start
from .lanes import Lane
from .server import PACK, ComfyUI, Refused, Run

ROOT = Path(stable_cascade_nodes.__file__).parent
OURS = sorted(stable_cascade_nodes.NODE_CLASS_MAPPINGS)
PROMPT = "a large yellow circle at the bottom right on a sky background"
SAMPLERS = ["CascadeStageCSampler", "CascadeStageBSampler"]
LOADERS = {name for name in OURS if name.endswith("Loader")}

Prompt = dict[str, Any]


@pytest.fixture(scope="module")
def info(comfyui: ComfyUI) -> dict[str, Any]:
    return comfyui.object_info()


@pytest.fixture(scope="module")
def bare(start_comfyui: Start) -> ComfyUI:
    """The same server without the pack."""
    return start_comfyui(pack=None)


@pytest.fixture
def workflow() -> dict[str, Any]:
    return json.loads((ROOT / "workflows" / "text_to_image.json").read_text())


@pytest.fixture
def prompt(workflow: dict[str, Any], info: dict[str, Any]) -> Prompt:
    """text_to_image.json as the server takes it, with a prompt of ours."""
    found = graph.convert(workflow, *graph.read_object_info(info)).prompt
    (positive,) = [node for node in found.values() if node["_meta"]["title"] == "Prompt"]
    positive["inputs"]["text"] = PROMPT
    return found


def id_of(prompt: Prompt, class_type: str) -> str:
    (found,) = [identity for identity, node in prompt.items() if node["class_type"] == class_type]
    return found


def change(prompt: Prompt, class_type: str, **values: Any) -> None:
    prompt[id_of(prompt, class_type)]["inputs"] |= values


def picture(comfyui: ComfyUI, run: Run, prompt: Prompt) -> np.ndarray:
    """The one saved picture of a run: uint8 (H, W, 3)."""
    (image,) = run.images(id_of(prompt, "SaveImage"))
    return np.asarray(Image.open(io.BytesIO(comfyui.view(**image))).convert("RGB"))


def start_up_lines(server: ComfyUI) -> set[str]:
    """What the log says before the server answers, without what differs from start to start."""
    text = server.log().partition("Starting server")[0].replace(str(server.folder), "BASE")
    text = re.sub(r"\x1b\[\d*m(\[INFO\]\x1b\[\d*m )?", "", text)  # newer ones colour what is worth it
    return {line for line in text.splitlines() if line.strip()}


# ---- import and description ----


def test_the_import_adds_nothing_to_the_log_but_its_time(comfyui: ComfyUI, bare: ComfyUI) -> None:
    added = start_up_lines(comfyui) - start_up_lines(bare)
    (time_of_import,) = [line for line in added if line != "Import times for custom nodes:"]
    assert re.fullmatch(rf" *\d\.\d seconds: BASE/custom_nodes/{PACK}", time_of_import)


def test_ids_and_names_are_ours_alone(info: dict[str, Any], bare: ComfyUI) -> None:
    native = bare.object_info()
    assert not native.keys() & set(OURS)
    assert sorted(info.keys() - native.keys()) == OURS
    assert {name: info[name]["display_name"] for name in native} == {n: native[n]["display_name"] for n in native}
    assert {info[name]["python_module"] for name in OURS} == {f"custom_nodes.{PACK}"}


def test_object_info_is_strict_json(comfyui: ComfyUI) -> None:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON, and no browser reads it")

    json.loads(comfyui.fetch("/object_info"), parse_constant=refuse)


@pytest.mark.parametrize("name", OURS)
def test_every_node_is_described(info: dict[str, Any], name: str) -> None:
    node = info[name]
    assert node["display_name"].startswith("Stable Cascade: ")
    assert node["category"].split("/")[0] == "Stable Cascade"
    assert node["description"].strip()
    inputs = node["input"].get("required", {}) | node["input"].get("optional", {})
    assert all(options[0].get("tooltip", "").strip() for _, *options in inputs.values())
    assert len(node["output_tooltips"]) == len(node["output"]) == len(set(node["output_name"]))
    assert all(tooltip.strip() for tooltip in node["output_tooltips"])


@pytest.mark.parametrize("name", OURS)
def test_every_node_has_a_help_page(comfyui: ComfyUI, name: str) -> None:
    page = comfyui.fetch(f"/extensions/{PACK}/docs/{name}.md")
    assert page.strip() and page == (ROOT / "web" / "docs" / f"{name}.md").read_bytes()


def test_templates_and_their_thumbnails(comfyui: ComfyUI) -> None:
    listed = comfyui.get("/workflow_templates")[PACK]
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    for name in listed:
        assert "nodes" in comfyui.get(f"/api/workflow_templates/{PACK}/{name}.json")
        thumbnail = comfyui.fetch(f"/api/workflow_templates/{PACK}/{name}.jpg")
        assert Image.open(io.BytesIO(thumbnail)).format == "JPEG"


# ---- runs ----


def test_the_picture_shows_the_prompt(comfyui: ComfyUI, workflow: dict[str, Any], prompt: Prompt) -> None:
    change(prompt, "SaveImage", filename_prefix="shows_the_prompt")
    run = comfyui.run(prompt, workflow)
    assert run.error is None
    assert is_right(picture(comfyui, run, prompt), scene_of(PROMPT))
    (saved,) = comfyui.output.glob("shows_the_prompt_*.png")
    with Image.open(saved) as file:
        assert json.loads(file.text["workflow"]) == workflow  # type: ignore[attr-defined]
        assert PROMPT in file.text["prompt"]  # type: ignore[attr-defined]


def test_progress_and_previews_arrive_and_change(comfyui: ComfyUI, prompt: Prompt, lane: Lane) -> None:
    """Newer servers leave out steps that follow too closely, but never the last."""
    change(prompt, "CascadeStageCSampler", seed=2)
    run = comfyui.run(prompt)
    for sampler in SAMPLERS:
        identity = id_of(prompt, sampler)
        steps = prompt[identity]["inputs"]["steps"]
        told = [(event["value"], event["max"]) for event in run.of("progress") if event["node"] == identity]
        told, wanted = [pair for pair in told if pair[0]], [(step + 1, steps) for step in range(steps)]
        assert told == wanted or (lane.is_newer and told == sorted(set(told) & set(wanted)))
        assert told[-1] == wanted[-1]

    previews = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float) for data in run.of("preview")]
    assert len(previews) >= prompt[id_of(prompt, "CascadeStageCSampler")]["inputs"]["steps"] // 2
    assert len(set(run.of("preview"))) == len(previews)
    height, width, _ = previews[-1].shape
    final = Image.fromarray(picture(comfyui, run, prompt)).resize((width, height), Image.Resampling.BOX)
    first, last = (np.abs(preview - np.asarray(final, float)).mean() for preview in (previews[0], previews[-1]))
    print(f"{len(previews)} previews of {width} x {height}; difference from the picture {first:.1f} -> {last:.1f}")
    assert last < first and last < 12


@pytest.mark.parametrize("method", ["none", "auto"])
def test_without_a_previewer_the_server_s_setting_decides(
    method: str, comfyui: ComfyUI, start_comfyui: Start, prompt: Prompt
) -> None:
    server = comfyui if method == "none" else start_comfyui("--preview-method", method)
    del prompt[id_of(prompt, "CascadeStageCSampler")]["inputs"]["previewer"]
    change(prompt, "CascadeStageCSampler", seed=3, steps=6)
    change(prompt, "CascadeStageBSampler", steps=1)
    previews = server.run(prompt).of("preview")
    assert len(set(previews)) == (0 if method == "none" else len(previews))
    assert bool(previews) == (method != "none")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_cancel_stops_within_one_step(comfyui: ComfyUI, prompt: Prompt, sampler: str) -> None:
    long, later = json.loads(json.dumps(prompt)), 0
    change(long, "CascadeEmptyLatents", width=512, height=512)
    change(long, sampler, steps=1000, seed=4)
    types: list[str] = []
    for event in comfyui.events(long):
        types.append(event.type)
        later += event.type == "progress" and "interrupt" in types
        far = event.type == "progress" and event.data["max"] == 1000 and event.data["value"] >= 3
        if far and "interrupt" not in types:
            comfyui.interrupt()
            types.append("interrupt")
    assert "execution_interrupted" in types and "execution_success" not in types
    assert later <= 1

    change(prompt, "CascadeStageCSampler", seed=SAMPLERS.index(sampler) + 5)
    run = comfyui.run(prompt)
    assert run.error is None
    assert is_right(picture(comfyui, run, prompt), scene_of(PROMPT))


def test_a_bad_setting_is_refused_by_name(comfyui: ComfyUI, prompt: Prompt) -> None:
    change(prompt, "CascadeStageCSampler", seed=7, sampler="unheard-of")
    with pytest.raises(Refused, match="unheard-of") as refused:
        comfyui.submit(prompt)
    assert refused.value.status == 400


# ---- memory ----


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def large_stage_c(request: pytest.FixtureRequest, comfyui: ComfyUI) -> tuple[str, int]:
    """A Stage C of the built-in family, but large: its file's name, and its bytes in memory, where it is float32.

    A float32 file is mapped into memory as it is; another is read and cast. Random, as nobody looks at its picture.
    """
    import torch

    from stable_cascade_nodes.cascade_core.builtin import built_in
    from stable_cascade_nodes.cascade_core.files.load import load
    from stable_cascade_nodes.cascade_core.files.save import save
    from stable_cascade_nodes.cascade_core.models.stage_c import StageC

    ((name, path),) = built_in("stage_c").items()
    tiny = load("stage_c", path, name=name)
    config = replace(tiny.config, c_hidden=(1024,), nhead=(16,), blocks=((6,), (6,)))
    with torch.device("meta"):
        network = StageC(config)
    network = network.to_empty(device="cpu").eval()
    size = 0
    for tensor in network.state_dict().values():
        tensor.normal_(std=0.02)
        size += tensor.numel() * 4
    file = comfyui.models / "diffusion_models" / f"large_{request.param}.safetensors"
    file.parent.mkdir(exist_ok=True)
    save(file, network, "stage_c", family=tiny.family, target=tiny.target, dtype=request.param)
    return file.name, size


def test_memory_and_time(comfyui: ComfyUI, prompt: Prompt, large_stage_c: tuple[str, int]) -> None:
    """Another seed loads nothing again, and what a model took is given back when the server asks for it."""
    name, size = large_stage_c
    assert size >= 500e6
    change(prompt, "CascadeStageCSampler", seed=8, steps=1)
    change(prompt, "CascadeStageBSampler", steps=1)
    assert comfyui.run(prompt).error is None  # what every run needs is loaded before anything is measured
    before = freed(comfyui)

    change(prompt, "CascadeStageCLoader", model_name=name)
    change(prompt, "CascadeStageCSampler", seed=9)
    first = comfyui.run(prompt)
    assert first.error is None
    held = comfyui.rss()
    change(prompt, "CascadeStageCSampler", seed=10)
    second = comfyui.run(prompt)
    assert second.error is None
    loaders = {identity for identity, node in prompt.items() if node["class_type"] in LOADERS}
    assert loaders <= set(second.of("execution_cached")[0]["nodes"])
    assert not loaders & {event["node"] for event in second.of("executing")}

    after = freed(comfyui)
    returned = (held - after) / size
    megabytes = [round(value / 1e6) for value in (size, before, held, after)]
    print(
        "{}: weights {} MB; resident before {}, loaded {}, freed {} MB".format(name, *megabytes)
        + f" ({returned:.0%} of the weights given back); runs {first.seconds:.2f} s, then {second.seconds:.2f} s"
    )
    assert held - before >= 0.9 * size  # the weights were there to be given back
    assert returned >= 0.9
    assert second.seconds < first.seconds


def freed(comfyui: ComfyUI) -> int:
    """Resident bytes after /free, when they have stopped falling."""
    comfyui.free()
    resident = comfyui.rss()
    for _ in range(20):
        time.sleep(0.25)
        resident = min(resident, comfyui.rss())
    return resident
