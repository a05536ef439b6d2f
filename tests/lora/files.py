"""LoRA files as other programs write them, made without the code under test: one low-rank change, many dialects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

RANK = 4
ALPHA = 2.0

Factors = dict[str, tuple[Tensor, Tensor]]  # path of an attention -> lora_down and lora_up of fused q, k, v and of out


def attention_paths(names: list[str]) -> list[str]:
    """The attentions of a network, in its order, by the names of its weights."""
    return [name.removesuffix(".in_proj_weight") for name in names if name.endswith(".in_proj_weight")]


def factors(paths: list[str], width: int, seed: int = 0) -> dict[str, dict[str, tuple[Tensor, Tensor]]]:
    """Path -> "in_proj" and "out_proj" -> down (RANK, width) and up (rows, RANK)."""
    random = torch.Generator().manual_seed(seed)

    def one(rows: int) -> tuple[Tensor, Tensor]:
        down, up = (torch.randn(shape, generator=random) / 10 for shape in ((RANK, width), (rows, RANK)))
        return down, up

    return {path: {"in_proj": one(3 * width), "out_proj": one(width)} for path in paths}


def wanted(base: dict[str, Tensor], changes: dict[str, dict[str, tuple[Tensor, Tensor]]]) -> dict[str, Tensor]:
    """W + alpha / rank up down, in float64 (Hu et al. 2021, eq. 3)."""
    weights = {name: tensor.double() for name, tensor in base.items()}
    for path, parts in changes.items():
        for part, name in (("in_proj", f"{path}.in_proj_weight"), ("out_proj", f"{path}.out_proj.weight")):
            down, up = parts[part]
            weights[name] = weights[name] + ALPHA / RANK * up.double() @ down.double()
    return weights


def official(changes: dict[str, dict[str, tuple[Tensor, Tensor]]]) -> dict[str, Tensor]:
    """Attention k has the numbers 2k, its output, and 2k + 1, its fused rows; alpha is 1, so ALPHA goes into up."""
    tensors: dict[str, Tensor] = {}
    for k, parts in enumerate(changes.values()):
        for number, part in ((2 * k, "out_proj"), (2 * k + 1, "in_proj")):
            down, up = parts[part]
            tensors[f"weights.{number}.lora_down"], tensors[f"weights.{number}.lora_up"] = down, up * ALPHA
    return tensors


def split(
    changes: dict[str, dict[str, tuple[Tensor, Tensor]]],
    form: Callable[[str, str], str],
    ends: tuple[str, str] = (".lora_down.weight", ".lora_up.weight"),
    alpha: bool = True,
) -> dict[str, Tensor]:
    """q, k and v apart; form(path, one of "q", "k", "v", "out") is the module's name."""
    tensors: dict[str, Tensor] = {}
    for path, parts in changes.items():
        down, up = parts["in_proj"]
        modules = {letter: (down, third) for letter, third in zip("qkv", up.chunk(3), strict=True)}
        for letter, (low, high) in (modules | {"out": parts["out_proj"]}).items():
            name = form(path, letter)
            factor = 1.0 if alpha else ALPHA / RANK
            tensors[name + ends[0]], tensors[name + ends[1]] = low.contiguous(), (high * factor).contiguous()
            if alpha:
                tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    return tensors


def _attn(path: str, letter: str) -> str:
    return f"{path}.out_proj" if letter == "out" else f"{path}.to_{letter}"


def _diffusers(path: str, letter: str) -> str:
    outer = path.removesuffix(".attn")
    return f"{outer}.to_out.0" if letter == "out" else f"{outer}.to_{letter}"


def _omi(path: str, letter: str) -> str:
    return f"{path}.out_proj" if letter == "out" else f"{path}.in_proj.{'qkv'.index(letter)}"


def _flat(name: str) -> str:
    return name.replace(".", "_")


PEFT = (".lora_A.weight", ".lora_B.weight")
DIALECTS: dict[str, Callable[[dict[str, dict[str, tuple[Tensor, Tensor]]]], dict[str, Tensor]]] = {
    "official": official,
    "kohya": lambda c: split(c, lambda p, x: "lora_unet_" + _flat(_attn(p, x))),
    "OneTrainer": lambda c: split(c, lambda p, x: "lora_prior_unet_" + _flat(_attn(p, x))),
    "OneTrainer, old names": lambda c: split(c, lambda p, x: "lora_prior_unet_" + _flat(_diffusers(p, x))),
    "OneTrainer, OMI names": lambda c: split(c, lambda p, x: "unet." + _omi(p, x)),
    "ComfyUI": lambda c: split(c, lambda p, x: "diffusion_model." + _attn(p, x)),
    "diffusers, PEFT": lambda c: split(c, lambda p, x: "prior." + _diffusers(p, x), PEFT, alpha=False),
    "PEFT": lambda c: split(c, lambda p, x: "base_model.model." + _diffusers(p, x), PEFT, alpha=False),
    "PEFT, with an adapter's name": lambda c: split(
        c,
        lambda p, x: "base_model.model." + _diffusers(p, x),
        (".lora_A.default.weight", ".lora_B.default.weight"),
        False,
    ),
    "no prefix": lambda c: split(c, _attn),
}


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path
