"""LoRA files that we write, and DoRA, by ComfyUI's own code and by ours on the same Stage C. See bare_comfyui.py.

Writes for each the largest difference of a weight, relative to its largest value, how much the LoRA changes, and which
names of the file ComfyUI did not take.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bare_comfyui
import torch
from steer_stage_c import WIDTH, deviation, stage_pair
from torch import Tensor, nn

RANK = 4


def find(pack: Any) -> dict[str, Any]:
    from the_pack.cascade_core.models.config import StageCConfig

    torch.manual_seed(0)
    config = StageCConfig(
        c_hidden=(WIDTH, WIDTH), nhead=(2, 2), c_cond=WIDTH, c_clip_text=32, c_clip_text_pooled=24, c_clip_img=16
    )
    with torch.no_grad():
        theirs, ours = stage_pair(config)
        handle = handle_of(ours, config)
        found = {dialect: compare(theirs, handle, written(handle, dialect)) for dialect in ("kohya", "comfyui")}
        found["DoRA by columns"] = compare(theirs, handle, decomposed(handle))
        found |= {
            f"trained DoRA, {name}": compare(theirs, handle, trained(handle, name)) for name in ("kohya", "comfyui")
        }
        return found | {"text encoder": text_names()}


def handle_of(module: nn.Module, config: Any) -> Any:
    from the_pack.cascade_core.memory import StayPut
    from the_pack.cascade_core.models.handle import Handle

    return Handle(module, "stage_c", "narrow", "stable-cascade", config, "epsilon", None, torch.float32, StayPut())


def written(handle: Any, dialect: str) -> Path:
    """All that a LoRA may change: attentions, mappers, channel mixers, convolutions."""
    from the_pack.cascade_core.lora.lora import lora_of
    from the_pack.cascade_core.lora.write import save_lora
    from the_pack.cascade_core.models.adapters import LowRank, adaptable

    branches = {
        name: LowRank(torch.randn(RANK, *weight.shape[1:]) / 9, torch.randn(len(weight), RANK) / 3, 0.7)
        for name, weight in adaptable(handle.module).items()
        if "depthwise" not in name  # kohya's trainer leaves these out
    }
    path = Path(f"{dialect}.safetensors")
    save_lora(path, lora_of("l", {"stage_c": branches}), [handle], dialect=dialect)
    return path


def trained(handle: Any, dialect: str) -> Path:
    """As our trainer writes it: all weights that it may lie beside, q, k and v apart."""
    from the_pack.cascade_core.lora.lora import lora_of
    from the_pack.cascade_core.lora.write import save_lora
    from the_pack.cascade_core.training.branches import Branches
    from the_pack.cascade_core.training.lora_settings import LoraSettings

    branches = Branches(handle.module, LoraSettings(rank=RANK, dora=True, filters=("",)))
    for parameter in branches.parameters():
        parameter.add_(torch.randn(parameter.shape) / 9)
    path = Path(f"trained_{dialect}.safetensors")
    save_lora(path, lora_of("l", {"stage_c": branches.by_name()}), [handle], dialect=dialect)
    return path


def decomposed(handle: Any) -> Path:
    from safetensors.torch import save_file

    name = "up_blocks.0.0.channelwise.0"
    weight = handle.module.get_parameter(f"{name}.weight")
    rows, columns = weight.shape
    magnitude = torch.rand(1, columns) + 0.5
    key = f"lora_prior_unet_{name.replace('.', '_')}"
    path = Path("dora.safetensors")
    tensors = {"lora_down.weight": torch.randn(RANK, columns), "lora_up.weight": torch.randn(rows, RANK)}
    tensors |= {"alpha": torch.tensor(float(RANK)), "dora_scale": magnitude}
    save_file({f"{key}.{end}": tensor for end, tensor in tensors.items()}, path)
    return path


def compare(theirs: Any, handle: Any, path: Path) -> dict[str, Any]:
    import comfy.lora
    import comfy.utils
    from comfy import model_base
    from the_pack.cascade_core.lora.attach import attach_lora, fuse_lora
    from the_pack.cascade_core.lora.read import read_lora

    holder = model_base.StableCascade_C.__new__(model_base.StableCascade_C)
    nn.Module.__init__(holder)
    holder.diffusion_model, holder.model_config = theirs, SimpleNamespace(unet_config={})
    names = comfy.lora.model_lora_keys_unet(holder, {})
    tensors = comfy.utils.load_torch_file(str(path))
    patches = comfy.lora.load_lora(tensors, names)
    changed: dict[str, Tensor] = {}
    for key, patch in patches.items():
        weight = comfy.utils.get_attr(holder, key)
        changed[key] = comfy.lora.calculate_weight([(1.0, patch, 1.0, None, None)], weight.clone(), key)
    attached, report = attach_lora(handle, read_lora(path))
    ours = split(fuse_lora(attached).module.state_dict())
    base = split(handle.module.state_dict())
    return {
        "difference": max(
            deviation(ours[key.removeprefix("diffusion_model.")], value) for key, value in changed.items()
        ),
        "change": max(deviation(base[key.removeprefix("diffusion_model.")], value) for key, value in changed.items()),
        "modules": len(changed),
        "matched": len(report.matched),
        "taken": sum(not torch.equal(base[key], ours[key]) for key in base),
    }


def split(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With q, k and v apart, as ComfyUI has them."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if "in_proj" in name:
            stem, end = name.rsplit("in_proj_", 1)
            found |= {f"{stem}to_{x}.{end}": part for x, part in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            found[name] = tensor
    return found


def text_names() -> dict[str, Any]:
    """Whether the names that we give a text encoder's weights are known to ComfyUI's map for a Stable Cascade CLIP."""
    import comfy.lora
    import comfy.utils
    from the_pack.cascade_core.builtin import weights_path
    from the_pack.cascade_core.files.load import load
    from the_pack.cascade_core.lora.lora import lora_of
    from the_pack.cascade_core.lora.write import save_lora
    from the_pack.cascade_core.models.adapters import LowRank, adaptable

    encoder = load("text_encoder", weights_path("text_encoder"))
    weights = adaptable(encoder.module)
    branches = {n: LowRank(torch.ones(1, w.shape[1]), torch.ones(len(w), 1)) for n, w in weights.items()}
    clip = SimpleNamespace(state_dict=lambda: {f"clip_g.transformer.{name}": None for name in weights})
    known = comfy.lora.model_lora_keys_clip(clip, {})
    lost: dict[str, int] = {}
    for dialect in ("kohya", "comfyui"):
        path = Path(f"text_{dialect}.safetensors")
        save_lora(path, lora_of("l", {"text_encoder": branches}), [encoder], dialect=dialect)
        names = comfy.utils.load_torch_file(str(path))
        modules = {name.rsplit(".lora_", 1)[0].removesuffix(".alpha") for name in names}
        lost[dialect] = len(modules - known.keys())
    return lost


if __name__ == "__main__":
    bare_comfyui.run(find)
