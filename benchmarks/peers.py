"""Twins of our networks in diffusers: the same configuration, the same weights under diffusers' names."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..cascade_core.models.config import StageAConfig, StageBConfig, StageCConfig
from ..cascade_core.models.stage_a import StageA
from ..cascade_core.models.stage_b import StageB
from ..cascade_core.models.stage_c import StageC

Network = TypeVar("Network", bound=nn.Module)
LETTERS = {"C": "SDCascadeResBlock", "T": "SDCascadeTimestepBlock", "A": "SDCascadeAttnBlock"}


def alive(network: Callable[[Any], Network], config: Any, device: torch.device | str = "cpu") -> Network:
    """The network for inference, random everywhere, also where training starts from zero: every branch matters."""
    with torch.device(device):
        module = network(config).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator, device=tensor.device)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise.sigmoid())
            elif name.endswith(("bias", "gammas", "gamma", "beta", "running_mean")):
                tensor.copy_(0.3 * noise)
            elif tensor.ndim == 1:  # BatchNorm's scale
                tensor.copy_(1 + 0.3 * noise)
            else:
                tensor.copy_(noise * tensor[0].numel() ** -0.5)
    return module


def deviation(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


def translate(state: Mapping[str, Tensor], network: type[nn.Module]) -> dict[str, Tensor]:
    """Our names (the official checkpoints') to diffusers': q, k and v split, and three names of their own."""
    translated: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".attn.in_proj_" in name:
            stem, kind = name.split("attn.in_proj_")
            for letter, rows in zip("qkv", tensor.chunk(3), strict=True):
                translated[f"{stem}to_{letter}.{kind}"] = rows
        elif network is StageB and name.startswith("clip_mapper."):
            translated[f"clip_txt_pooled_mapper.{name.rpartition('.')[2]}"] = tensor
        else:
            theirs = name.replace(".attn.out_proj.", ".to_out.0.").replace(".codebook.", ".embedding.")
            translated[theirs] = tensor
    return translated


def unet(config: StageBConfig | StageCConfig) -> Any:
    """diffusers' StableCascadeUNet of our configuration; sizes only, weights as initialised there."""
    from diffusers import StableCascadeUNet  # pyright: ignore

    if isinstance(config, StageCConfig):
        own: dict[str, Any] = {
            "clip_text_in_channels": config.c_clip_text,
            "clip_text_pooled_in_channels": config.c_clip_text_pooled,
            "clip_image_in_channels": config.c_clip_img,
            "switch_level": config.switch_level,
        }
    else:
        own = {
            "clip_text_pooled_in_channels": config.c_clip,
            "effnet_in_channels": config.c_effnet,
            "pixel_mapper_in_channels": config.c_pixels,
        }
    return StableCascadeUNet(
        in_channels=config.channels,
        out_channels=config.channels,
        timestep_ratio_embedding_dim=config.c_r,
        patch_size=config.patch_size,
        conditioning_dim=config.c_cond,
        block_out_channels=config.c_hidden,
        num_attention_heads=config.nhead,
        down_num_layers_per_block=config.blocks[0],
        up_num_layers_per_block=config.blocks[1],
        down_blocks_repeat_mappers=config.block_repeat[0],
        up_blocks_repeat_mappers=config.block_repeat[1],
        block_types_per_layer=tuple(tuple(LETTERS[letter] for letter in level) for level in config.level_config),
        clip_seq=config.c_clip_seq,
        kernel_size=config.kernel_size,
        dropout=config.dropout,
        timestep_conditioning_type=config.t_conds,
        **own,
    )


def paella(config: StageAConfig) -> Any:
    """diffusers' PaellaVQModel of our configuration, which knows nothing of the 0.43."""
    from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel

    other: Any = PaellaVQModel(
        levels=config.levels,
        bottleneck_blocks=config.bottleneck_blocks,
        embed_dim=config.c_hidden,
        latent_channels=config.c_latent,
        num_vq_embeddings=config.codebook_size or 1,
        scale_factor=config.scale,
    )
    if not config.codebook_size:
        other.vquantizer = nn.Identity()  # theirs cannot be made without, and decodes without
    return other


def twin(module: StageA | StageB | StageC) -> Any:
    """diffusers' network with the weights of `module`; the tensors are shared, not copied."""
    with torch.device("meta"):
        other = paella(module.config) if isinstance(module, StageA) else unet(module.config)
    other.load_state_dict(translate(module.state_dict(), type(module)), strict=True, assign=True)
    return other.eval().requires_grad_(False)
