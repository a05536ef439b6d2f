"""A narrow Stable Cascade in the files that ComfyUI's own workflows name, and what has this process read it.

Random weights, with the published structure, at widths of which both a native loader (native/narrow_cascade.py) and
ours are told; otherwise they would be gigabytes. What comes out is of the size that a trained model's is.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stable_cascade_nodes.benchmarks.peers import alive
from stable_cascade_nodes.cascade_core.files import signatures
from stable_cascade_nodes.cascade_core.models.clip_config import PUBLISHED_TEXT, PUBLISHED_VISION, TextConfig
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageAConfig
from stable_cascade_nodes.cascade_core.models.controlnet import ControlNet
from stable_cascade_nodes.cascade_core.models.effnet import Effnet
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import PublishedTokenizer
from stable_cascade_nodes.cascade_core.models.vision import ImageEncoder

from ..shared_graphs import STAGE_B, STAGE_C
from .random_models import NARROW_B, NARROW_C

WIDTH = 64
LITTLE = 0.15
C = replace(NARROW_C, blocks=((2, 4), (4, 3)), c_clip_text=WIDTH, c_clip_text_pooled=WIDTH)  # 13 blocks: 4 get maps
B = replace(NARROW_B, c_hidden=(WIDTH,) * 4, c_clip=WIDTH)
A = StageAConfig(c_hidden=2 * WIDTH, bottleneck_blocks=3)
_CLIP = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "heads": 2}
TEXT = replace(PUBLISHED_TEXT, **_CLIP, projection_dim=WIDTH)
VISION = replace(PUBLISHED_VISION, **_CLIP)  # their numbers of layers tell ComfyUI what they are
FOLDERS = ("models/checkpoints", "models/diffusion_models", "models/text_encoders", "models/vae", "models/controlnet")
LOOSE_C, LOOSE_B, LOOSE_TEXT, LOOSE_A = (f"{name}.safetensors" for name in ("stage_c", "stage_b", "text", "stage_a"))
PACK = Path(__file__).parent / "native" / "narrow_cascade.py"


def write(base: Path, tokenizer: Path) -> None:
    """Models for a base directory of ComfyUI, and the pack that has it read them."""
    for folder in ("custom_nodes", "input", "output", *FOLDERS):
        (base / folder).mkdir(parents=True)
    shutil.copy(PACK, base / "custom_nodes")
    (base / "narrow.json").write_text(json.dumps(_sizes()))
    checkpoints, diffusion, texts, vaes, controlnets = (base / folder for folder in FOLDERS)
    for folder in (checkpoints, texts):
        shutil.copytree(tokenizer, folder / "tokenizer")

    def encode(config: TextConfig) -> TextEncoder:
        return TextEncoder(config, PublishedTokenizer(tokenizer))

    # CLIP is kept in float16 by ComfyUI; both compute in float32.
    text = dict(alive(encode, TEXT).half().state_dict())
    save_file(text, texts / LOOSE_TEXT)
    text = {f"transformer.{name}": tensor for name, tensor in text.items()}
    text["text_projection"] = text.pop("transformer.text_projection.weight").T.contiguous()
    text = _behind("text_encoder.clip_g.", text)
    c, b, a = _calm(alive(StageC, C), 0.8), _calm(alive(StageB, B), 1.2), _calm_stage_a(alive(StageA, A))
    for path, net in ((diffusion / LOOSE_C, c), (diffusion / LOOSE_B, b), (vaes / LOOSE_A, a)):
        save_file(dict(net.state_dict()), path)
    effnet, previewer = (
        alive(network, PRESETS[kind]["published"]) for kind, network in (("effnet", Effnet), ("previewer", Previewer))
    )
    stage_c = {
        **_behind("model.diffusion_model.", c.state_dict()),
        **text,
        **_behind("vae.encoder.", effnet.state_dict()),
        **_behind("vae.previewer.", previewer.state_dict()),
        **_behind("clip_l_vision.", alive(ImageEncoder, VISION).half().state_dict()),
    }
    stage_b = {
        **_behind("model.diffusion_model.", b.state_dict()),
        **text,
        **_behind("vae.", a.state_dict()),
    }
    save_file(stage_c, checkpoints / STAGE_C)
    save_file(stage_b, checkpoints / STAGE_B)
    for mode in ("canny", "inpainting"):
        net = alive(ControlNet, replace(PRESETS["controlnet"][mode], c_proj=WIDTH))
        save_file(dict(net.state_dict()), controlnets / f"stable_cascade_{mode}.safetensors")


def read_here(patch: pytest.MonkeyPatch) -> None:
    """The widths among those that our loaders know."""
    known: dict[str, Any] = {"stage_c": C, "stage_b": B, "stage_a": A, "text_encoder": TEXT, "image_encoder": VISION}
    for kind, config in known.items():
        patch.setitem(PRESETS[kind], "narrow", config)
    for row in signatures.SIGNATURES:
        if row.kind in known or row.kind == "controlnet":
            patch.setitem(row.presets, WIDTH, "narrow")


def _sizes() -> dict[str, Any]:
    """By the names that ComfyUI has for them."""
    mine = {"channels", "dropout", "scale"}
    stages = {"stage_c": C, "stage_b": B, "stage_a": A}
    sizes: dict[str, Any] = {
        kind: {name: value for name, value in asdict(config).items() if name not in mine}
        for kind, config in stages.items()
    }
    for kind, config in (("text_encoder", TEXT), ("image_encoder", VISION)):
        layers = {"num_hidden_layers": config.layers, "num_attention_heads": config.heads}
        sizes[kind] = {name: getattr(config, name) for name in ("hidden_size", "intermediate_size")} | layers
    return sizes


def _behind(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _calm(stage: Any, gain: float) -> nn.Module:
    """What a trained network does roughly: of noise alone it sees the noise, and the blocks add a little.

    The first block of the highest level on the way up hears of the way down by a skip. Of its hidden channels two
    parts carry that through: gelu(x) - gelu(-x) = x. The last layer is the inverse of the first. Stage B's conditions
    go into other channels.
    """
    eye = torch.eye(WIDTH)
    for name, tensor in stage.state_dict().items():
        if re.search(r"\.mapper|channelwise\.4|out_proj", name):  # .mapper: of a timestep block
            tensor.mul_(LITTLE)
        elif "repeat_mappers" in name and tensor.ndim > 1:
            tensor.copy_(eye[..., None, None])
        elif re.search(r"(effnet|pixels)_mapper\.2", name):
            tensor[: WIDTH // 2] = 0.0
    block: Any = stage.up_blocks[-1][0]
    first, norm, last = block.channelwise[0], block.channelwise[2], block.channelwise[4]
    first.weight[: 2 * WIDTH] = 0.0
    first.weight[: 2 * WIDTH, WIDTH:] = torch.cat([eye, -eye])
    first.bias[: 2 * WIDTH] = 0.0
    last.weight[:, : 2 * WIDTH] = 8.0 * torch.cat([eye, -eye], dim=1)
    for tensor in (norm.gamma, norm.beta):
        tensor[..., : 2 * WIDTH] = 0.0
    inner: Any = stage.embedding[1]
    outer: Any = stage.clf[1]
    inner.weight[WIDTH // 2 :] = 0.0
    outer.weight.copy_(gain * torch.linalg.pinv(inner.weight.flatten(1))[..., None, None])
    inner.bias.zero_()
    outer.bias.zero_()
    return stage


def _calm_stage_a(stage_a: StageA) -> StageA:
    """Pictures between black and white, of the latents that are made here."""
    first: Any = stage_a.up_blocks[0][0]
    first.weight *= 0.05
    last: Any = stage_a.out_block[0]
    last.weight *= 0.25
    last.bias.fill_(0.5)
    return stage_a
