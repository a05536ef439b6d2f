"""Workflows of other models than Stable Cascade, told by their nodes: one sentence says what one is, and what to do."""

from __future__ import annotations

import re

from . import graph

OURS = re.compile(r"(Stable)?Cascade")  # begins the classes that belong to this model
NAMED = re.compile(r"cascade|stage[_ -]?[abc]\b", re.IGNORECASE)  # in a file's name
SAMPLERS = re.compile(r"KSampler|SamplerCustom")
SAME_USE = (
    ("inpainting", r"Inpaint|SetLatentNoiseMask"),
    ("outpainting", r"PadForOutpaint"),
    ("canny", r"ControlNet"),
    ("image_variation", r"unCLIP|CLIPVision|IPAdapter|StyleModel"),
    ("super_resolution", r"UpscaleModel|UltimateSDUpscale"),
    ("lora", r"Lora"),
    ("image_to_image", r"VAEEncode"),
)  # a workflow of ours, and the classes that speak of its use; else it is text_to_image


def complaint(prompt: graph.Prompt) -> str | None:
    """Why a prompt is of another model; None where it is of this one, or samples nothing."""
    nodes = [node for node in prompt.values() if graph.is_object(node)]
    classes = [str(node.get("class_type")) for node in nodes]
    inputs = [node["inputs"] if graph.is_object(node.get("inputs")) else {} for node in nodes]
    pairs = zip(classes, inputs, strict=True)
    samples = any(SAMPLERS.match(name) and graph.link_of(values.get("model")) for name, values in pairs)
    if not samples or any(OURS.match(name) for name in classes):
        return None
    texts = [value for values in inputs for value in values.values() if isinstance(value, str)]
    files = [text for text in texts if text.endswith((".safetensors", ".ckpt", ".pt", ".gguf", ".sft"))]
    if any(NAMED.search(file) for file in files):
        return None
    use = next((name for name, words in SAME_USE if any(re.search(words, one) for one in classes)), "text_to_image")
    model = f" (it names {graph.show(files[0])})" if files else ""
    return (
        f"this workflow makes pictures with another model than Stable Cascade{model}: have a ComfyUI run it, by"
        f" `cascade run --server URL`, or do the same with ours, `{use}`"
    )
