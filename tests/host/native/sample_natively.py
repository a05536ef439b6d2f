"""ComfyUI's own samplers and our stand-ins for them, on narrow networks of the same weights. See bare_comfyui.py.

Writes for each run the largest difference of the latents, relative to the largest value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bare_comfyui
import torch
from step_noise import as_newer_comfyui
from torch import nn

SAMPLERS = (
    "euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpmpp_2s_ancestral", "dpmpp_sde",
    "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "ddpm", "ddim", "lcm", "uni_pc",
)  # fmt: skip
SCHEDULERS = ("simple", "normal", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta")
TEXT, POOLED = 16, 24
KSAMPLER = {"seed": 2**33 + 5, "steps": 5, "cfg": 3.0, "sampler_name": "euler_ancestral", "scheduler": "simple"}
ADVANCED = {"add_noise": "enable", "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable"}


def find(pack: Any) -> dict[str, float]:
    from the_pack.headless.native import sampling
    from the_pack.runtime import host

    as_newer_comfyui()
    host.configure(device="cpu")
    torch.manual_seed(0)
    with torch.inference_mode():
        return {name: compare(sampling, *run) for name, *run in runs()}


def compare(sampling: Any, node: str, models: tuple[Any, Any], inputs: dict[str, Any], shift: float | None) -> float:
    """The largest relative difference between ComfyUI's node and ours."""
    from comfy_extras.nodes_model_advanced import ModelSamplingStableCascade

    import nodes

    theirs, ours = models
    if shift is not None:
        (theirs,) = ModelSamplingStableCascade().patch(theirs, shift)
        (ours,) = sampling.ModelSamplingStableCascade().patch(ours, shift)
    (expected,) = getattr(nodes, node)().sample(model=theirs, **inputs)
    (found,) = getattr(sampling, node)().sample(model=ours, **inputs)
    a, b = found["samples"], expected["samples"]
    assert a.shape == b.shape and b.abs().max() > 0
    return float((a - b).abs().max() / b.abs().max())


def runs() -> Iterator[tuple[str, str, tuple[Any, Any], dict[str, Any], float | None]]:
    c, b = stage_c(), stage_b()
    of_c = {**KSAMPLER, "positive": conditioning(1), "negative": conditioning(2), "latent_image": latent(2, 16, 5, 6)}
    prior = torch.randn(2, 16, 3, 3)
    of_b = {
        **KSAMPLER,
        "positive": conditioning(1, stable_cascade_prior=prior),
        "negative": conditioning(2),
        "latent_image": latent(2, 4, 16, 24),
    }
    drawn = latent(2, 16, 5, 6, values=True)
    masked = {**drawn, "noise_mask": (torch.rand(1, 40, 48) > 0.5).float()}
    for sampler in SAMPLERS:
        for scheduler in SCHEDULERS:
            chosen = {"sampler_name": sampler, "scheduler": scheduler}
            yield f"{sampler}, {scheduler}", "KSampler", c, of_c | chosen, None
        chosen = {"sampler_name": sampler, "denoise": 0.6}
        yield f"{sampler}, denoise", "KSampler", c, of_c | chosen | {"latent_image": drawn}, None
        yield f"{sampler}, mask", "KSampler", c, of_c | chosen | {"latent_image": masked}, None
        yield f"{sampler}, Stage B", "KSampler", b, of_b | {"sampler_name": sampler}, None
    seeded = {**of_c, "noise_seed": of_c["seed"], **ADVANCED}
    del seeded["seed"]
    noisy = latent(2, 16, 5, 6, values=True)
    for name, more in {
        "first half": {"end_at_step": 3, "return_with_leftover_noise": "enable"},
        "first half without leftover": {"end_at_step": 3},
        "second half": {"start_at_step": 2, "add_noise": "disable", "latent_image": noisy},
        "second half with noise": {"start_at_step": 2, "latent_image": noisy},
        "no step": {"start_at_step": 9, "latent_image": noisy},
    }.items():
        for sampler in ("euler_ancestral", "dpmpp_2m", "heun", "uni_pc", "dpmpp_2m_sde"):
            yield f"{sampler}, {name}", "KSamplerAdvanced", c, {**seeded, "sampler_name": sampler, **more}, None
    picked = {**latent(2, 16, 5, 6), "batch_index": [3, 1]}
    image = {"unclip_conditioning": [embeddings(1.0), embeddings(0.4)]}
    late = [*conditioning(3, start_percent=0.4), *conditioning(4, end_percent=0.4)]
    others: dict[str, tuple[dict[str, Any], float | None]] = {
        "batch_index": ({"latent_image": picked}, None),
        "empty latent of other channels": ({"latent_image": latent(2, 4, 5, 6)}, None),
        "a latent at denoise 1": ({"latent_image": noisy}, None),
        "cfg 1": ({"cfg": 1.0}, None),
        "shift 0.7": ({}, 0.7),
        "karras, shift 3": ({"scheduler": "karras"}, 3.0),
        "image embeddings": ({"positive": conditioning(1, **image)}, None),
        "spans": ({"positive": late}, None),
        "several": ({"positive": [*conditioning(3, strength=0.5), *conditioning(4)]}, None),
    }
    for name, (more, shift) in others.items():
        yield f"euler_ancestral, {name}", "KSampler", c, {**of_c, **more}, shift
    b_filled = {"latent_image": latent(2, 4, 16, 24, values=True), "denoise": 0.5}
    yield "euler_ancestral, Stage B, denoise", "KSampler", b, {**of_b, **b_filled}, None
    yield "euler_ancestral, Stage B, shift 2", "KSampler", b, of_b, 2.0


def latent(batch: int, channels: int, h: int, w: int, values: bool = False) -> dict[str, Any]:
    return {"samples": torch.randn(batch, channels, h, w) if values else torch.zeros(batch, channels, h, w)}


def conditioning(seed: int, **options: Any) -> list[list[Any]]:
    generator = torch.Generator().manual_seed(seed)
    sequence, pooled = torch.randn(1, 7, TEXT, generator=generator), torch.randn(1, POOLED, generator=generator)
    return [[sequence, {"pooled_output": pooled, **options}]]


def embeddings(strength: float) -> dict[str, Any]:
    class Output:
        image_embeds = torch.randn(1, 768)

    return {"clip_vision_output": Output(), "strength": strength, "noise_augmentation": 0.0}


def stage_c() -> tuple[Any, Any]:
    from comfy import model_base, supported_models
    from the_pack.cascade_core.models.config import StageCConfig
    from the_pack.cascade_core.models.stage_c import StageC

    sizes = {"c_hidden": (64, 64), "nhead": (2, 2), "blocks": ((1, 1), (1, 1)), "c_cond": 32}
    widths = {"c_clip_text": TEXT, "c_clip_text_pooled": POOLED, "c_clip_img": 768}
    ours = StageC(StageCConfig(**sizes, **widths))
    return pair(ours, "stage_c", supported_models.Stable_Cascade_C, model_base.StableCascade_C, sizes | widths)


def stage_b() -> tuple[Any, Any]:
    from comfy import model_base, supported_models
    from the_pack.cascade_core.models.config import StageBConfig
    from the_pack.cascade_core.models.stage_b import StageB

    sizes = {
        "c_hidden": (16, 32, 64, 64),
        "nhead": (-1, -1, 2, 2),
        "blocks": ((1, 1, 1, 1), (1, 1, 1, 1)),
        "block_repeat": ((1, 1, 1, 1), (1, 1, 2, 2)),
        "c_cond": 32,
        "c_clip": POOLED,
    }
    ours = StageB(StageBConfig(**sizes))
    return pair(ours, "stage_b", supported_models.Stable_Cascade_B, model_base.StableCascade_B, sizes)


def pair(ours: nn.Module, kind: str, config: Any, model: Any, sizes: dict[str, Any]) -> tuple[Any, Any]:
    """ComfyUI's patcher of a network and our handle of the same weights."""
    from comfy.model_patcher import ModelPatcher
    from the_pack.cascade_core.memory import StayPut
    from the_pack.cascade_core.models.handle import Handle

    ours = ours.eval().requires_grad_(False)
    randomize(ours)
    made = config({"stable_cascade_stage": kind[-1], **{key: as_lists(value) for key, value in sizes.items()}})
    made.set_inference_dtype(torch.float32, None)
    theirs = model(made, device="cpu")
    names: Any = config.process_unet_state_dict
    theirs.diffusion_model.load_state_dict(names(None, dict(ours.state_dict())), strict=True)
    handle = Handle(ours, kind, "narrow", "stable-cascade", ours.config, "epsilon", None, torch.float32, StayPut())
    cpu = torch.device("cpu")
    return ModelPatcher(theirs, load_device=cpu, offload_device=cpu), handle


def as_lists(value: Any) -> Any:
    return [as_lists(one) for one in value] if isinstance(value, tuple) else value


def randomize(module: nn.Module) -> None:
    """Every weight counts, also those that training starts at 0."""
    for name, tensor in module.state_dict().items():
        if name.endswith(("bias", "gamma", "beta")):
            tensor.normal_(0, 0.1)
        else:
            tensor.normal_(0, tensor[0].numel() ** -0.5)


if __name__ == "__main__":
    bare_comfyui.run(find)
