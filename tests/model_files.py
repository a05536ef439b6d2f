"""Small model files in every layout that people have, and headers of large ones without their values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stable_cascade_nodes.benchmarks.peers import alive, twin
from stable_cascade_nodes.cascade_core.models.clip_config import TextConfig
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

BYTES = {"I64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1}
SMALL_TEXT = TextConfig(49_408, 64, 128, 2, 2, 77, 64, "gelu", 49_407)
SMALL_C = replace(
    PRESETS["stage_c"]["1B"],
    c_hidden=(64, 64),
    nhead=(2, 2),
    blocks=((1, 2), (2, 1)),
    dropout=(0.0, 0.0),
    c_cond=64,
    c_clip_text=64,
    c_clip_text_pooled=64,
)
SMALL_B = replace(
    PRESETS["stage_b"]["700M"],
    c_hidden=(32, 64, 64, 64),
    nhead=(-1, 2, 2, 2),
    blocks=((1, 1, 1, 1), (1, 1, 1, 1)),
    c_cond=64,
    c_clip=64,
)
SMALL_A = replace(PRESETS["stage_a"]["published"], c_hidden=48, bottleneck_blocks=2, codebook_size=64)
PIPELINE = {"_class_name": "StableCascadeCombinedPipeline", "_diffusers_version": "0.30.0", "scheduler": [None, None]}
FOLDERS = {"stage_c": "prior", "stage_b": "decoder", "stage_a": "vqgan", "text_encoder": "text_encoder"}


def write_header(path: Path, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """A safetensors file of zeros that takes no room: name -> (type, shape)."""
    entries: dict[str, Any] = {}
    end = 0
    for name, (dtype, shape) in shapes.items():
        start, end = end, end + math.prod(shape) * BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)


def shapes_of(network: type[nn.Module], config: Any, dtype: str, prefix: str = "") -> dict[str, Any]:
    """A network's tensors as `write_header` takes them; nothing is computed."""
    with torch.device("meta"):
        state = network(config).state_dict()
    types = {name: dtype if tensor.is_floating_point() else "I64" for name, tensor in state.items()}
    return {f"{prefix}{name}": (types[name], tuple(tensor.shape)) for name, tensor in state.items()}


def write_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Put values into a file that `write_header` made."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(length))
        for name, tensor in tensors.items():
            file.seek(8 + length + entries[name]["data_offsets"][0])
            file.write(tensor.contiguous().numpy().tobytes())


def write_component(folder: Path, module: Any, shard: str = "10GB") -> None:
    """As diffusers writes it."""
    twin(module).save_pretrained(folder, max_shard_size=shard)


def write_text_encoder(folder: Path, config: TextConfig, shard: str = "10GB") -> None:
    """As transformers writes it, with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    torch.manual_seed(0)
    theirs = CLIPTextConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        projection_dim=config.projection_dim,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.max_positions,
        hidden_act=config.hidden_act,
        eos_token_id=config.eos_token_id,
    )
    CLIPTextModelWithProjection(theirs).save_pretrained(folder, max_shard_size=shard)


def small_stages() -> dict[str, Any]:
    """Networks by kind, all of one text width, random everywhere."""
    return {"stage_c": alive(StageC, SMALL_C), "stage_b": alive(StageB, SMALL_B), "stage_a": alive(StageA, SMALL_A)}


def write_pipeline(folder: Path, modules: Mapping[str, Any], text: TextConfig | None = None) -> None:
    """A pipeline's folder: the components of `modules` by kind, and a text encoder."""
    index = dict(PIPELINE)
    for kind, module in modules.items():
        write_component(folder / FOLDERS[kind], module)
        index[FOLDERS[kind]] = ["diffusers", type(twin(module)).__name__]
    if text is not None:
        write_text_encoder(folder / "text_encoder", text)
        index["text_encoder"] = ["transformers", "CLIPTextModelWithProjection"]
    (folder / "model_index.json").write_text(json.dumps(index))


def write_shards(folder: Path, stem: str, tensors: Mapping[str, Tensor], count: int, metadata: dict[str, str]) -> None:
    """A set of `count` files and their index."""
    names = list(tensors)
    places: dict[str, str] = {}
    for number in range(count):
        file = f"{stem}-{number + 1:05}-of-{count:05}.safetensors"
        part = {name: tensors[name] for name in names[number::count]}
        save_file(part, folder / file, metadata)
        places |= dict.fromkeys(part, file)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def write_decoder_all_in_one(path: Path) -> nn.Module:
    """ComfyUI's all-in-one of Stage B 700M and Stage A, of which only Stage A has values; that Stage A."""
    stage_b = shapes_of(StageB, PRESETS["stage_b"]["700M"], "BF16", "model.diffusion_model.")
    config = PRESETS["stage_a"]["published"]
    stage_a = alive(StageA, config)
    write_header(path, stage_b | shapes_of(StageA, config, "F32", "vae."))
    write_values(path, {f"vae.{name}": tensor for name, tensor in stage_a.state_dict().items()})
    return stage_a


def damage_cases() -> list[Any]:
    """The names of `damaged` as parameters; tests/files tries each where files are read, so three do elsewhere."""
    fast = ("page", "cut_late", "renamed")  # no model file, half of one, and a sound one that does not fit
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in damaged(bytes(8))]


def damaged(whole: bytes) -> dict[str, tuple[bytes, str]]:
    """What becomes of a sound file on its way: name -> (bytes, what a message about it says)."""
    length = int.from_bytes(whole[:8], "little")
    header, data = whole[8 : 8 + length], whole[8 + length :]

    def with_header(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text + data

    return {
        "empty": (b"", "is empty"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "is a Git LFS pointer"),
        "page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
        "zip": (b"PK\x03\x04" + bytes(60), "it is a torch or zip file without an end"),
        "pickle": (b"\x80\x04\x95\x10" + bytes(60), "torch cannot read it"),
        "gguf": (b"GGUF" + bytes(60), "is a GGUF file"),
        "zeros": (bytes(4096), "is filled with zeros"),
        "cut_early": (whole[: length // 2], "is damaged or its download is not complete"),
        "cut_late": (whole[:-1000], "is damaged or its download is not complete"),
        "too_long": (whole + bytes(8), "is damaged"),
        "no_json": (with_header(b"{" + b"x" * (length - 1)), "is damaged"),
        "other_type": (with_header(header.replace(b'"F32"', b'"F33"')), "F33"),
        "renamed": (with_header(header.replace(b"depthwise", b"deepwise!")), "deepwise!"),
    }
