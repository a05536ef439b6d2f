"""Good files that the harnesses change, made anew; found cases lie in corpus/, a folder for each harness."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image, PngImagePlugin

import stable_cascade_nodes
from stable_cascade_nodes.cascade_core.models.config import PRESETS

from ..files.damage import BYTES, sound

CORPUS = Path(__file__).parent / "corpus"
WORKFLOWS = Path(stable_cascade_nodes.__file__).parent / "workflows"


def safetensors(tensors: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str] | None = None) -> bytes:
    """A file of zeros."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = BYTES[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(end)


@cache
def headers() -> list[bytes]:
    """Small networks of several kinds, with and without metadata, a LoRA, a quantised layer, latents."""
    found: list[bytes] = []
    for kind, config in (
        ("stage_c", replace(PRESETS["stage_c"]["tiny"], c_hidden=(4,), nhead=(1,), c_cond=4)),
        ("previewer", replace(PRESETS["previewer"]["tiny"], widths=(2, 2))),
        ("stage_a", replace(PRESETS["stage_a"]["tiny"], c_hidden=4, bottleneck_blocks=1)),
        ("text_encoder", PRESETS["text_encoder"]["tiny"]),
    ):
        told = {"cascade": json.dumps({"kind": kind, "family": "tiny", "config": asdict(config)})}
        names = {f"blocks.{i}.weight": ("F32", (2, 2)) for i in range(16)}
        found.append(safetensors(names, told))
    small = {
        name: ("U8" if False else "F8_E4M3", (1,) * len(shape)) for name, shape in sound("previewer").shapes.items()
    }
    found.append(safetensors(small))
    lora = {f"lora_unet_down_blocks_0_1_channelwise_0.lora_{end}.weight": ("F32", (1, 1)) for end in ("up", "down")}
    found.append(safetensors(lora))
    quantised = {"down_blocks.0.0.weight": ("F8_E4M3", (4, 4)), "down_blocks.0.0.weight_scale": ("F32", ())}
    found.append(safetensors(quantised, {"_quantization_metadata": '{"format_version": "1.0", "layers": {}}'}))
    return found


@cache
def pickles() -> list[bytes]:
    """Files of tensors in both of torch's forms, and pickles that would run code, in several protocols."""
    found: list[bytes] = []
    for value in (
        {"a.weight": torch.zeros(2, 2)},
        {"state_dict": {f"blocks.{i}.weight": torch.ones(2) for i in range(9)}},
    ):
        for new in (True, False):
            file = io.BytesIO()
            torch.save(value, file, _use_new_zipfile_serialization=new)
            found.append(file.getvalue())
    found += [pickle.dumps({"a": [1, (2, 3)], "b": payload}, protocol) for protocol in range(6) for payload in (print,)]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", found[-1])
    return [*found, file.getvalue()]


@cache
def workflows() -> list[bytes]:
    """The shipped ones in both forms, small and large."""
    from stable_cascade_nodes.headless import graph, node_classes

    nodes = node_classes.load()
    definitions = graph.definitions(nodes.classes)
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(WORKFLOWS.glob("*.json"))[::4]]
    prompts = [
        graph.convert(document, definitions, nodes.names).prompt for document in documents if "nodes" in document
    ]
    return [json.dumps(document).encode() for document in [*documents, *prompts]]


PROMPT_ID = "12345678-1234-1234-1234-123456789012"
AT_A_SERVER = {
    "1": {"class_type": "Text", "inputs": {"text": "a star"}},
    "2": {"class_type": "Save", "inputs": {"text": ["1", 0]}},
}


@cache
def answers() -> list[bytes]:
    """All that a server says of a workflow, by the first part of the path: one that does it, one that does not."""
    info = {
        "Text": {
            "input": {"required": {"text": ["STRING", {"default": "x"}]}, "optional": {"n": ["INT", {"min": 0}]}},
            "output": ["STRING"], "output_node": False, "display_name": "A text", "input_order": {"required": ["text"]},
        },
        "Save": {"input": {"required": {"text": ["STRING", {}]}}, "output": [], "output_node": True},
    }  # fmt: skip
    events = [
        {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 1}}}},
        {"type": "execution_cached", "data": {"nodes": ["1"], "prompt_id": PROMPT_ID}},
        {"type": "executing", "data": {"node": "2", "display_node": "2", "prompt_id": PROMPT_ID}},
        {"type": "progress", "data": {"node": "2", "value": 1, "max": 4, "prompt_id": PROMPT_ID}},
        {"type": "execution_success", "data": {"prompt_id": PROMPT_ID}},
    ]
    shown = [{"filename": "a.png", "subfolder": "x", "type": "output"}, {"filename": "b.png", "type": "temp"}]
    status = {"status_str": "success", "completed": True, "messages": [["execution_start", {"prompt_id": "x"}]]}
    said = {
        "object_info": info, "prompt": {"prompt_id": PROMPT_ID, "number": 1, "node_errors": {}}, "view": {},
        "queue": {"queue_running": [[1, PROMPT_ID, {}, {}, ["2"]]], "queue_pending": [[2, "x"]]}, "ws": events,
        "history": {PROMPT_ID: {"outputs": {"2": {"images": shown, "text": ["y"]}}, "status": status}},
    }  # fmt: skip
    fault = {"type": "value_smaller_than_min", "message": "m", "details": "d", "extra_info": {"input_name": "text"}}
    fault["extra_info"] |= {"received_value": 5, "received_type": "INT", "linked_node": ["1", 0]}
    refused = {"error": {"type": "x", "message": "y"}, "node_errors": {"2": {"errors": [fault], "class_type": "Save"}}}
    failure = ["execution_error", {"node_id": "2", "exception_type": "x.OSError", "exception_message": "full"}]
    failed = {PROMPT_ID: {"outputs": {}, "status": {"status_str": "error", "messages": [failure]}}}
    return [json.dumps(one).encode() for one in (said, said | {"prompt": refused}, said | {"history": failed})]


@cache
def pictures() -> list[bytes]:
    """Small pictures of every format that is read, animated too, some with a workflow."""
    prompt = json.dumps({"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8}}})
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", prompt)
    texts.add_itxt("workflow", '{"nodes": []}', zip=True)
    found: list[bytes] = []
    frames = [Image.effect_mandelbrot((12, 9), (-2, -1, 1, 1), 20 + i).convert("RGB") for i in range(2)]
    exif = frames[0].getexif()
    exif[0x0110] = f"prompt:{prompt}"
    exif[0x0112] = 6
    several: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
    options: list[dict[str, Any]] = [
        {"format": "PNG", "pnginfo": texts}, {"format": "PNG", **several}, {"format": "JPEG", "exif": exif},
        {"format": "WEBP", "exif": exif}, {"format": "WEBP", **several}, {"format": "GIF", **several},
        {"format": "TIFF", "compression": "tiff_lzw"}, {"format": "TIFF", **several}, {"format": "BMP"},
        {"format": "AVIF", "exif": exif},
    ]  # fmt: skip
    for option in options:
        file = io.BytesIO()
        frames[0].save(file, **option)
        found.append(file.getvalue())
    for mode in ("P", "1", "LA", "I;16"):
        file = io.BytesIO()
        (Image.new(mode, (5, 4)) if mode == "I;16" else frames[0].convert(mode)).save(file, format="PNG")
        found.append(file.getvalue())
    return [*found, b"GIF89a" + struct.pack("<HH", 65535, 65535) + found[5][10:]]


def kept(name: str) -> list[bytes]:
    """What earlier runs found, as it was when it was found."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
