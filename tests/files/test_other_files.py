"""What is named without being loaded: ControlNets and LoRAs, and the files of other models."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from stable_cascade_nodes.cascade_core.files.identify import OtherModel, find_parts, identify
from stable_cascade_nodes.cascade_core.models.config import PRESETS

from ..model_files import write_header
from .headers import header_of, refusal, shapes
from .networks import Shapes


@cache
def controlnet(backbone: str, c_in: int, width: int = 2048) -> Shapes:
    """The tensors of a ControlNet, as far as they tell what it is."""
    blocks = 64 if backbone == "simple" else 8
    projections = {
        f"projections.{i}.{j}.weight": (width if j else 1280, 1280, 1, 1) for i in range(blocks) for j in (0, 2)
    }
    if backbone == "effnet":
        body = {name: shape for name, shape in shapes("effnet").items() if name.startswith("backbone.")}
        return body | {"backbone.0.0.weight": (24, c_in, 3, 3)} | projections
    if backbone == "simple":
        convolutions = {"backbone.0.weight": (4 * c_in, c_in, 3, 3), "backbone.2.weight": (c_in, 4 * c_in, 3, 3)}
        return convolutions | projections
    large = {"backbone.0.weight": (16384, c_in, 1, 1), "backbone.2.weight": (1024, 16384, 1, 1)}
    inner = {f"backbone.{i}.blocks.{j}.weight": (1024,) for i in range(3, 11) for j in (0, 2, 3, 5)}
    return large | inner | {"backbone.11.weight": (1280, 1024, 1, 1)} | projections


@pytest.mark.parametrize(
    ("backbone", "c_in", "width", "mode", "preset"),
    [
        ("effnet", 1, 2048, "canny", "3.6B"),
        ("effnet", 4, 2048, "inpainting", "3.6B"),
        ("large", 16, 2048, "super_resolution", "3.6B"),
        ("simple", 512, 2048, "identity", "3.6B"),
        ("effnet", 3, 1536, "for a hint of 3 channels", "1B"),
    ],
)
def test_controlnets_and_their_modes(backbone: str, c_in: int, width: int, mode: str, preset: str) -> None:
    tensors = controlnet(backbone, c_in, width)
    (part,) = find_parts(header_of(tensors))
    config = replace(PRESETS["controlnet"][mode], c_proj=width) if mode in PRESETS["controlnet"] else None
    assert (part.kind, part.mode, part.preset, part.config) == ("controlnet", mode, preset, config)
    assert set(part.names) == set(tensors)


BLOCK = "down_blocks_0_2_attention_attn_to_q"
LORAS = {
    "official": ["weights.0.lora_down", "weights.0.lora_up", "embeddings.embeddings", "embeddings.indices"],
    "kohya": [f"lora_unet_{BLOCK}.lora_down.weight", f"lora_unet_{BLOCK}.alpha"],
    "kohya, Stage B": [f"lora_decoder_unet_{BLOCK}.lora_down.weight"],
    "OneTrainer": [
        f"lora_prior_unet_{BLOCK}.lora_up.weight",
        "lora_prior_te_text_projection.alpha",
        "bundle_emb.x.clip_g",
    ],
    "OneTrainer, old names": ["lora_prior_unet_down_blocks_0_2_attention_to_out_0.lora_down.weight"],
    "OneTrainer, OMI names": ["unet.down_blocks.0.2.attention.attn.in_proj.1.lora_down.weight"],
    "ComfyUI": ["diffusion_model.up_blocks.1.5.kv_mapper.1.lora_up.weight"],
    "PEFT": ["base_model.model.down_blocks.0.2.attention.to_q.lora_A.weight"],
}


@pytest.mark.parametrize("dialect", LORAS)
def test_loras_and_their_dialects(dialect: str) -> None:
    (part,) = find_parts(header_of(dict.fromkeys(LORAS[dialect], (4, 2048))))
    assert (part.kind, part.mode, part.preset, part.config) == ("lora", dialect, "3.6B", None)


def test_more_of_loras() -> None:
    """One for a text encoder alone, one of a kind that is not low rank, one for the small Stage C."""
    for name, shape in {
        "lora_te_text_model_encoder_layers_31_mlp_fc1.lora_down.weight": (4, 1280),
        "lora_unet_clip_img_mapper.hada_w1_a": (4, 1536),
        "prior.up_blocks.0.1.mapper.lora_A.weight": (4, 64),
        "lora_prior_te_text_model_encoder_layers_0_mlp_fc1.dora_scale": (1, 1280),
    }.items():
        (part,) = find_parts(header_of({name: shape}))
        assert (part.kind, part.preset) == ("lora", "1B" if 1536 in shape else "")


SDXL = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
OTHERS: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "an SDXL checkpoint": (
        {"conditioner.embedders.1.model.logit_scale": (), f"model.diffusion_model.{SDXL}": (640, 2048)},
        "Stable Cascade",
    ),
    "an SD 1.x checkpoint": (
        {"cond_stage_model.transformer.text_model.x": (1,), "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)},
        "cascade download",
    ),
    "an SD 2.x checkpoint": ({"cond_stage_model.model.ln_final.weight": (1024,)}, "cascade download"),
    "the UNet of SDXL": ({SDXL: (640, 2048)}, "cascade download"),
    "the UNet of SD 1.x (diffusers)": (
        {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 768)},
        "cascade download",
    ),
    "a UNet or checkpoint of another model": (
        {"model.diffusion_model.input_blocks.0.0.weight": (1,)},
        "cascade download",
    ),
    "an SD3 model": ({"model.diffusion_model.joint_blocks.0.x": (1,)}, "cascade download"),
    "a Flux model, or one built like it": ({"double_blocks.0.img_attn.proj.weight": (1,)}, "cascade download"),
    "the transformer of another model": ({"single_transformer_blocks.0.norm.linear.weight": (1,)}, "download"),
    "the VAE of SD or SDXL": ({"decoder.conv_in.weight": (512, 4, 3, 3)}, "Stage A (stage_a.safetensors)"),
    "the VAE of Flux or SD3": ({"decoder.conv_in.weight": (512, 16, 3, 3)}, "Stage A"),
    "a preview decoder (TAESD)": ({"3.conv.0.weight": (64, 64, 3, 3)}, "previewer.safetensors"),
    "a T5 text encoder": ({"encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}, "CLIP ViT-bigG-14"),
    "a language model": ({"model.layers.0.self_attn.q_proj.weight": (1,)}, "CLIP ViT-bigG-14"),
    "the text encoder CLIP ViT-L": ({"text_model.embeddings.token_embedding.weight": (49408, 768)}, "bigG"),
    "the text encoder CLIP ViT-H": ({"token_embedding.weight": (49408, 1024)}, "bigG"),
    "the image encoder CLIP ViT-H": (
        {"vision_model.embeddings.patch_embedding.weight": (1280, 3, 14, 14), "visual_projection.weight": (1024, 1280)},
        "CLIP ViT-L/14",
    ),
    "the decoder of Würstchen 2": ({"effnet_mappers.1.weight": (1,), "clf.1.weight": (1,)}, "came before"),
    "the prior of Würstchen 2": ({"cond_mapper.0.weight": (1280, 1024), "projection.weight": (1,)}, "came before"),
    "a ControlNet of another model": ({"control_model.zero_convs.0.0.weight": (1,)}, "inpainting"),
    "a T2I adapter of another model": ({"adapter.body.0.in_conv.weight": (1,)}, "inpainting"),
    "an IP-Adapter": ({"image_proj.proj.weight": (1,)}, "image encoder"),
    "a LoRA of another model": (
        {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 320)},
        "trained for Stable Cascade",
    ),
    "a LoRA of SDXL": (
        {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (16, 2048)},
        "trained for Stable Cascade",
    ),
    "a LoRA of SD 1.x": (
        {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (16, 768)},
        "trained for Stable Cascade",
    ),
    "a LoRA of a Flux model": ({"lora_unet_double_blocks_0_img_attn_qkv.hada_w1_a": (9, 4)}, "for Stable Cascade"),
    "a LoRA of SD3": ({"diffusion_model.joint_blocks.0.x.lokr_w1": (4, 4)}, "for Stable Cascade"),
    "an output embedding of OneTrainer": ({"clip_l_out": (2, 768), "clip_g_out": (2, 1280)}, "train the embedding"),
    "the network that UltraPixel adds to Stage C": (
        {"module.64.0.wtokens": (128, 1024), "module.64.0.input_layer.weight": (1024, 2048, 1, 1)},
        "UltraPixel's own program",
    ),
    "an upscaler (ESRGAN)": ({"params_ema.conv_first.weight": (64, 3, 3, 3)}, "ComfyUI's own nodes"),
    "a textual inversion embedding": ({"clip_g": (2, 1280)}, "embeddings"),
    "the state of an optimiser": ({"state.0.exp_avg": (1,)}, "the weights beside it"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_models_are_named(what: str, tmp_path: Path) -> None:
    tensors, advice = OTHERS[what]
    said = refusal(tensors, OtherModel)
    assert said.startswith(f"file is {what}") and ", not a part of Stable Cascade: " in said and advice in said
    write_header(tmp_path / "x.safetensors", {name: ("F16", shape) for name, shape in tensors.items()})
    with pytest.raises(OtherModel, match=r"x\.safetensors is "):
        identify(tmp_path / "x.safetensors")
