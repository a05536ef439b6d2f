"""ComfyUI's networks over the tensors of ours, of the ComfyUI that COMFYUI_PATH names."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from torch import Tensor, nn

from ..cascade_core.errors import CascadeError
from ..cascade_core.models.config import PRESETS
from ..cascade_core.models.stage_b import StageB
from ..cascade_core.models.stage_c import StageC
from .clock import Run
from .networks import META, Inputs

SAME = ("c_r", "patch_size", "c_cond", "c_clip_seq", "kernel_size")  # arguments that are called as ours
LISTS = ("c_hidden", "nhead", "blocks", "block_repeat", "level_config", "t_conds")  # which they want as lists


def modules(device: torch.device) -> tuple[Any, ...]:
    """ComfyUI's ops and Stage A, B and C, for computing on the device; CascadeError where it cannot be imported."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        raise CascadeError("COMFYUI_PATH is not set: let it name ComfyUI's folder, or choose other --peers")
    if path not in sys.path:
        sys.path.insert(0, path)
    try:
        from comfy.cli_args import args  # pyright: ignore[reportMissingImports]

        args.cpu = device.type == "cpu"  # before its memory manager looks for a GPU
        from comfy import ops  # pyright: ignore[reportMissingImports]
        from comfy.ldm.cascade import stage_a, stage_b, stage_c  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        where = f"COMFYUI_PATH={path}: ComfyUI cannot be imported by this Python ({error})"
        raise CascadeError(f"{where}: run this by ComfyUI's own Python, or choose other --peers") from error
    return ops, stage_a, stage_b, stage_c


def twin(module: Any) -> Any:
    """Their network with the weights of `module`; CascadeError where ComfyUI cannot be imported."""
    config, weight = module.config, next(module.parameters())
    ops, stage_a, stage_b, stage_c = modules(weight.device)
    said = {"device": META, "operations": ops.disable_weight_init, "dtype": weight.dtype}
    said |= {name: getattr(config, name) for name in SAME if hasattr(config, name)}
    said |= {name: _listed(getattr(config, name)) for name in LISTS if hasattr(config, name)}
    if isinstance(module, StageC):
        said |= {"c_clip_text": config.c_clip_text, "c_clip_text_pooled": config.c_clip_text_pooled}
        said |= {"c_clip_img": config.c_clip_img, "switch_level": _listed(config.switch_level)}
        other = stage_c.StageC(**said)
    elif isinstance(module, StageB):
        other = stage_b.StageB(**said, c_clip=config.c_clip, c_effnet=config.c_effnet, c_pixels=config.c_pixels)
    else:
        with META:
            sizes = config.levels, config.bottleneck_blocks, config.c_hidden, config.c_latent, config.codebook_size or 1
            other = stage_a.StageA(*sizes)
            if not config.codebook_size:
                other.vquantizer = nn.Identity()  # as in diffusers
    other.load_state_dict(_translated(module.state_dict()), assign=True)
    return other.eval().requires_grad_(False)


def evaluation(other: Any, kind: str, given: Inputs) -> Run:
    """One evaluation by their network."""
    if kind == "stage_a":
        scale = PRESETS["stage_a"]["published"].scale
        return lambda: other.decode(given.x * scale)
    if kind == "stage_b":
        return lambda: other(given.x, given.r, given.effnet, given.pooled)
    return lambda: other(given.x, given.r, given.text, given.pooled, given.images)


def _translated(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values are three layers there."""
    translated: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem, found, kind = name.partition("attn.in_proj_")
        pieces = zip("qkv", tensor.chunk(3), strict=True) if found else ()
        translated |= {f"{stem}attn.to_{letter}.{kind}": rows for letter, rows in pieces} if found else {name: tensor}
    return translated


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple) else value
