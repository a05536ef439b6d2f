"""`--built-in`: which values of a workflow change, and what is refused. Run: pytest tests/headless/test_built_in.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stable_cascade_nodes.headless import built_in, graph, node_classes
from stable_cascade_nodes.runtime import host

from ..shared_graphs import EXAMPLES, Graph, image_to_image, node, sampler, text_to_image

NODES = node_classes.load()
BIG = {"model_name": "published.safetensors"}


@pytest.fixture(autouse=True)
def folder(new_program: Path) -> Path:
    """The input folder, in a program that is new."""
    (new_program / "input").mkdir()
    host.configure(input=new_program / "input", models=new_program / "models")
    return new_program / "input"


def changed(prompt: Graph) -> tuple[graph.Prompt, list[str]]:
    definitions = graph.definitions(NODES.classes)
    workflow = graph.convert(prompt, definitions, NODES.names)
    lines = built_in.apply(workflow, definitions)
    return workflow.prompt, lines


def value(prompt: graph.Prompt, place: str) -> Any:
    node_id, _, name = place.partition(".")
    return prompt[node_id]["inputs"][name]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.__name__)
def test_the_examples_run_with_nothing_here(example: Any) -> None:
    prompt, lines = changed(example())
    assert graph.validate(prompt, NODES.classes).problems == ()
    assert value(prompt, "41.ckpt_name") == "tiny stage_c (built-in)"
    assert value(prompt, "42.ckpt_name") == "tiny stage_b (built-in)"
    if "47" in prompt:
        mode = example.__name__.partition("_")[0]
        assert value(prompt, "47.control_net_name") == f"tiny {mode}{'ing' * (mode == 'inpaint')} (built-in)"
    assert all(line.startswith("built-in ") for line in lines)
    again, none = changed(prompt)
    assert (again, none) == (prompt, [])  # what is built-in stays


def test_one_line_for_each_sort() -> None:
    _, lines = changed(image_to_image())
    assert lines == [
        "built-in models: stable_cascade_stage_c.safetensors is now tiny stage_c (built-in),"
        " stable_cascade_stage_b.safetensors is now tiny stage_b (built-in)",
        "built-in pictures: example.png is not here, in its place heart and star (built-in)",
        "built-in sizes: compression 32 is now 42",
    ]


def test_loose_files_are_told_apart_by_their_links() -> None:
    prompt = text_to_image()
    prompt |= {
        "41": node("UNETLoader", unet_name="a.safetensors", weight_dtype="default"),
        "42": node("UNETLoader", unet_name="b.safetensors", weight_dtype="default"),
        "clip": node("CLIPLoader", clip_name="c.safetensors", type="stable_cascade"),
        "vae": node("VAELoader", vae_name="d.safetensors"),
        "shift": node("ModelSamplingStableCascade", model=["42", 0], shift=1.0),
        "lora": node("LoraLoaderModelOnly", model=["41", 0], lora_name="e.safetensors", strength_model=0.8),
    }
    prompt["3"]["inputs"]["model"], prompt["33"]["inputs"]["model"] = ["lora", 0], ["shift", 0]
    prompt["6"]["inputs"]["clip"] = prompt["7"]["inputs"]["clip"] = ["clip", 0]
    prompt["8"]["inputs"]["vae"] = ["vae", 0]
    found, lines = changed(prompt)
    assert graph.validate(found, NODES.classes).problems == ()
    assert value(found, "41.unet_name") == "tiny stage_c (built-in)"
    assert value(found, "42.unet_name") == "tiny stage_b (built-in)"
    assert value(found, "clip.clip_name") == "tiny (built-in)"
    assert value(found, "vae.vae_name") == "tiny stage_a (built-in)"
    assert value(found, "lora.strength_model") == 0.0
    assert "built-in left out: the LoRA e.safetensors" in lines


@pytest.mark.parametrize(
    ("coder", "slot", "expected"), [("StageC_VAEEncode", 0, "effnet"), ("decode stage_c", 0, "effnet")]
)
def test_a_vae_of_stage_c(coder: str, slot: int, expected: str) -> None:
    prompt = image_to_image() | {"vae": node("VAELoader", vae_name="d.safetensors")}
    if coder == "StageC_VAEEncode":
        prompt["49"]["inputs"]["vae"] = ["vae", slot]
    else:
        prompt["rough"] = node("VAEDecode", samples=["3", 0], vae=["vae", slot])
    assert value(changed(prompt)[0], "vae.vae_name") == f"tiny {expected} (built-in)"


def test_what_stays_ambiguous_is_refused_with_the_choices() -> None:
    prompt = text_to_image() | {"vae": node("VAELoader", vae_name="d.safetensors")}
    prompt |= {"net": node("ControlNetLoader", control_net_name="own.safetensors")}
    with pytest.raises(graph.WorkflowError) as error:
        changed(prompt)
    first, second = error.value.messages
    assert 'node vae "Load VAE" (VAELoader), input "vae_name"' in first and "nothing tells" in first
    assert '"tiny stage_a (built-in)", "tiny effnet (built-in)"' in first and "--set vae.vae_name=NAME" in first
    assert '"tiny canny (built-in)"' in second
    both = text_to_image()
    both["33"]["inputs"]["model"] = ["41", 0]  # one checkpoint for both stages
    with pytest.raises(graph.WorkflowError, match="it is used as stage_b and as stage_c"):
        changed(both)


def test_a_name_tells_where_no_link_does() -> None:
    prompt = text_to_image() | {"vae": node("VAELoader", vae_name="stage_a_ft_hq.safetensors")}
    prompt |= {"alone": node("UNETLoader", unet_name="sub\\stage_c_lite_bf16.safetensors", weight_dtype="default")}
    found, _ = changed(prompt)
    assert value(found, "vae.vae_name") == "tiny stage_a (built-in)"
    assert value(found, "alone.unet_name") == "tiny stage_c (built-in)"


def test_our_own_loaders() -> None:
    prompt = {
        "1": node("CascadeStageCLoader", **BIG, dtype="auto"),
        "2": node("CascadeControlNetLoader", model_name="mine.safetensors"),
        "3": node("CascadePicture", image="mine.png"),
        "4": node("CascadeInpaintHint", image=["3", 0], mask=["3", 1], threshold=0.5),
        "5": node("CascadeTextEncode", text_encoder=["6", 0], text=""),
        "6": node("CascadeTextEncoderLoader", **BIG),
        "7": node("CascadeControlNetApply", conditioning=["5", 0], controlnet=["2", 0], hint=["4", 0], strength=1.0),
        "8": node("CascadeEmptyLatents", width=1536, height=1024, batch_size=1),
        "9": node("CascadeLoRAApply", stage_c=["1", 0], lora_name="x.safetensors", strength=1.0),
    }
    found, lines = changed(prompt)
    assert value(found, "1.model_name") == value(found, "6.model_name") == "tiny (built-in)"
    assert value(found, "2.model_name") == "tiny inpainting (built-in)"
    assert value(found, "3.image") == "heart and a hole (built-in)"
    assert (value(found, "8.width"), value(found, "8.height")) == (256, 168)
    assert (value(found, "9.strength"), value(found, "9.lora_name")) == (0.0, "tiny zig (built-in)")
    assert "built-in left out: the LoRA x.safetensors" in lines


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 1024), (256, 256)), ((1024, 1536), (256, 384)), ((512, 512), (512, 512)), ((2048, 256), (2048, 256))],
)
def test_sizes_keep_their_aspect_and_what_the_node_takes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    prompt = text_to_image()
    prompt["34"]["inputs"] |= {"width": size[0], "height": size[1]}
    found, _ = changed(prompt)
    assert (value(found, "34.width"), value(found, "34.height")) == expected


def test_pictures_that_are_here_stay_and_large_ones_become_small(folder: Path) -> None:
    Image.new("RGB", (300, 200), "red").save(folder / "example.png")
    found, lines = changed(image_to_image())
    assert value(found, "48.image") == "example.png" and not any("pictures" in line for line in lines)
    Image.new("RGBA", (1600, 800), "red").save(folder / "example.png")
    found, lines = changed(image_to_image())
    assert "built-in pictures: example.png is now 256 x 128" in lines
    with Image.open(host.current().picture_path(value(found, "48.image"))) as picture:
        assert (picture.size, picture.mode) == ((256, 128), "RGBA")


def test_lengths_shrink_with_the_sizes() -> None:
    prompt = image_to_image() | text_to_image()
    pad = {"left": 256, "top": 0, "right": 0, "bottom": 128, "feathering": 40}
    prompt["pad"] = node("ImagePadForOutpaint", image=["48", 0], **pad)
    found, _ = changed(prompt)
    assert found["pad"]["inputs"] | pad == found["pad"]["inputs"] | pad
    assert [value(found, f"pad.{name}") for name in pad] == [64, 0, 0, 32, 10]


def test_what_a_person_has_set_stays() -> None:
    prompt = text_to_image()
    workflow = graph.convert(prompt, graph.definitions(NODES.classes), NODES.names)
    typed = {("34", "width"), ("41", "ckpt_name")}
    lines = built_in.apply(workflow, graph.definitions(NODES.classes), typed)
    assert value(workflow.prompt, "34.width") == value(prompt, "34.width") > 512
    assert value(workflow.prompt, "41.ckpt_name") == value(prompt, "41.ckpt_name")
    assert not any(line.startswith("built-in sizes") for line in lines)


def test_both_forms_change() -> None:
    """The picture that is made carries the workflow that made it."""
    loader = {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["x_stage_b.safetensors"], "pos": [0, 0]}
    document = {"nodes": [loader], "links": [], "version": 0.4}
    definitions = graph.definitions(NODES.classes)
    workflow = graph.convert(document, definitions, NODES.names)
    built_in.apply(workflow, definitions)
    assert workflow.editor is not None
    assert workflow.editor["nodes"][0]["widgets_values"] == ["tiny stage_b (built-in)"]


def test_what_is_not_known_here_is_left_to_the_check() -> None:
    prompt = text_to_image() | {"x": {"class_type": "Strange", "inputs": {"a": ["41", 0]}}, "y": 5}
    found, _ = changed(prompt)
    assert value(found, "41.ckpt_name") == "tiny stage_c (built-in)"
    assert sampler("41", ["6", 0], ["7", 0], ["34", 0])["class_type"] == found["3"]["class_type"]
