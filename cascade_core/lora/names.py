"""By which names LoRA files call a network's weights.

Names are never taken apart: of every weight all names are made, of all dialects, with dots as underscores, and a file's
name is looked up in them. Those of the fused q, k, v rows mean all of them or a third.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from ..models.adapters import adaptable
from ..models.linear import Weight
from .slots import BIAS

Place = tuple[str, tuple[int, int] | None]  # the weight, and which of its rows; None for all

PREFIXES = {
    "stage_c": (
        *("", "lora_unet_", "lora_prior_unet_", "diffusion_model_", "model_diffusion_model_", "unet_", "prior_"),
        *("lycoris_", "generator_", "base_model_model_", "base_model_model_unet_", "base_model_model_prior_"),
    ),
    "stage_b": (
        *("stage_b_", "lora_decoder_unet_", "lora_unet_", "diffusion_model_", "model_diffusion_model_", "unet_", ""),
        *("lycoris_", "decoder_", "generator_", "base_model_model_", "base_model_model_unet_"),
        "base_model_model_decoder_",
    ),
    "text_encoder": (
        *("lora_te_", "lora_te1_", "lora_prior_te_", "lora_te_clip_g_", "text_encoder_", "prior_te_", "te_", "clip_g_"),
        *("text_encoder_clip_g_transformer_", "text_encoders_clip_g_transformer_", "base_model_model_", ""),
    ),
}
"""Prefixes of a module's name, with underscores: kohya's, OneTrainer's, ComfyUI's, LyCORIS's, PEFT's and none."""


OF_STAGE_B = ("lora_decoder_unet_", "stage_b_", "decoder_")  # prefixes that no name of another network has
_ADDED = re.compile(r"(^|\.)(branches|groups)\.")  # parameters of adapters and of new tokens


def flat(name: str) -> str:
    """The name with underscores for dots, as kohya's files have it."""
    return name.replace(".", "_")


def changeable(module: nn.Module) -> dict[str, Weight]:
    """What a LoRA may change, by name: the weights that take branches, then biases, norms and other parameters."""
    own = {name: tensor for name, tensor in module.named_parameters() if not _ADDED.search(name)}
    return adaptable(module) | own


def places(kind: str, module: nn.Module) -> dict[str, Place]:
    """Every name (without what stands before it, flat) -> the place of a network of this kind that it means."""
    found: dict[str, Place] = {}
    for parameter, tensor in changeable(module).items():
        path, _, last = parameter.rpartition(".")
        end = BIAS if last.endswith("bias") else ""  # a bias goes by its module's names
        block = path.removesuffix(".attn")
        forms: dict[str, tuple[int, int] | None] = {parameter: None}
        if last in ("weight", "bias", "in_proj_weight", "in_proj_bias"):
            forms[path + end] = None
        if last.startswith("in_proj_"):
            width = tensor.shape[0] // 3
            forms[f"{path}.in_proj{end}"] = None
            for i, letter in enumerate("qkv"):
                rows = (i * width, (i + 1) * width)
                names = (f"{path}.to_{letter}", f"{block}.to_{letter}", f"{path}.in_proj.{i}")
                forms |= {name + end: rows for name in names}
        if path.endswith(".attn.out_proj"):
            outer = path.removesuffix(".attn.out_proj")
            forms |= dict.fromkeys((f"{outer}.to_out.0{end}", f"{outer}.to_out{end}"), None)
        if kind == "stage_b" and path == "clip_mapper":
            forms[f"clip_txt_pooled_mapper{end}"] = None  # diffusers' name
        found |= {flat(form): (parameter, rows) for form, rows in forms.items()}
    return found


def find(kind: str, known: dict[str, Place], name: str) -> Place | None:
    """The place that a file means by `name`."""
    asked = flat(name)
    for prefix in PREFIXES[kind]:
        if asked.startswith(prefix) and asked[len(prefix) :] in known:
            return known[asked[len(prefix) :]]
    return None


def meant_for(kind: str, names: Iterable[str]) -> list[str]:
    """The names of a file that may be of a network of this kind: where some say Stage B, the others are not its."""
    told = {name: flat(name).startswith(OF_STAGE_B) for name in names}
    if kind == "stage_b":
        return [name for name, of_stage_b in told.items() if of_stage_b] or list(told)
    return [name for name, of_stage_b in told.items() if not of_stage_b]


def is_of_text(name: str) -> bool:
    """Is the name one of a text encoder's, of whatever size?"""
    return "text_model_" in flat(name) or flat(name).endswith("text_projection")
