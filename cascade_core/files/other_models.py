"""Sound files of other models that people mistake for Stable Cascade's: named, with what to take instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import CascadeError
from .tensor_info import TensorInfo

FETCH = "`cascade download` fetches Stable Cascade's files"
ELSEWHERE = f"use it in ComfyUI's own nodes; {FETCH}"
NO_VAE = "Stable Cascade decodes with Stage A (stage_a.safetensors)"
NO_TEXT = (
    "Stable Cascade's text encoder is CLIP ViT-bigG-14 (text_encoder/model.safetensors of stabilityai/stable-cascade)"
)
NO_IMAGE = "Stable Cascade's image encoder is CLIP ViT-L/14 (image_encoder of stabilityai/stable-cascade-prior)"
NO_PREVIEW = "Stable Cascade's previewer is previewer.safetensors"
NO_LORA = "choose a LoRA that was trained for Stable Cascade"
NO_CONTROL = "Stable Cascade's are canny, inpainting and super_resolution of stabilityai/stable-cascade"
NO_ADAPTER = f"Stable Cascade takes pictures through its image encoder; {FETCH}"
NO_EMBEDDING = "put it into the model folder embeddings, for the prompts of ComfyUI's own nodes"
NO_OUTPUT = "it acts behind a text encoder, in OneTrainer alone: train the embedding anew without `output embedding`"
NO_ULTRAPIXEL = "use UltraPixel's own program; here a larger picture is made from a larger Size"


class OtherModel(CascadeError):
    """A whole file or folder of another model."""


@dataclass(frozen=True)
class Row:
    """A tensor's name (a regular expression) that no other model has, and what the file is then called.

    widths: an axis of that tensor, and what its length means; without one of these lengths the row does not hold.
    """

    pattern: str
    what: str
    instead: str = ELSEWHERE
    axis: int = 0
    widths: Mapping[int, str] | None = None


UNETS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "the SDXL refiner"}
TEXTS = {768: "CLIP ViT-L (SD 1.x, SDXL, Flux)", 1024: "CLIP ViT-H (SD 2.x)", 512: "CLIP ViT-B"}
IMAGES = {1280: "CLIP ViT-H", 1664: "CLIP ViT-bigG", 768: "CLIP ViT-B", 1152: "SigLIP"}
_NET = r"(model\.diffusion_model\.|model\.)?"
_VAE = r"(first_stage_model\.|vae\.)?decoder\."
_TOKENS, _PATCHES = r"token_embedding\.weight", r"patch_embedding\.weight"
FLUX = "a Flux model, or one built like it"
_DOWN = r"lora_down\.weight|lora_A\.(default\.)?weight|lora\.down\.weight|hada_w1_b"
_LORA = r"(lora_(up|down|A|B)|lora\.(up|down))\b|hada_w1|lokr_w[12]|oft_blocks|(diff|diff_b|on_input|ia3_l)$"
_ATTENTION = r"transformer_blocks\.0\.attn2\.to_k\.weight"

# In this order: a checkpoint holds a UNet and a VAE, too.
ROWS = (
    Row(r"conditioner\.embedders\.1\.", "an SDXL checkpoint"),
    Row(r"conditioner\.embedders\.0\.model\.", "an SDXL refiner checkpoint"),
    Row(r"cond_stage_model\.transformer\.", "an SD 1.x checkpoint"),
    Row(r"cond_stage_model\.model\.", "an SD 2.x checkpoint"),
    Row(
        r"(control_model|controlnet_(cond_embedding|blocks)|zero_convs)\.", "a ControlNet of another model", NO_CONTROL
    ),
    Row(r"lora_controlnet$", "a Control-LoRA of another model", NO_CONTROL),
    Row(r"adapter\.body\.|body\.0\.resnets\.", "a T2I adapter of another model", NO_CONTROL),
    Row(r"(ip_adapter|image_proj)\.", "an IP-Adapter", NO_ADAPTER),
    Row(rf".*attn2[_.]to_k\.({_DOWN})", "a LoRA of {}", NO_LORA, 1, UNETS),
    Row(rf".*(double_blocks|single_transformer_blocks)[_.]\d+[_.].*\.({_LORA})", f"a LoRA of {FLUX}", NO_LORA),
    Row(rf".*joint_blocks[_.]\d+[_.].*\.({_LORA})", "a LoRA of SD3", NO_LORA),
    Row(rf".*\.({_LORA})", "a LoRA of another model", NO_LORA),
    Row(rf"{_NET}input_blocks\.\d+\.1\.{_ATTENTION}", "the UNet of {}", axis=1, widths=UNETS),
    Row(rf"down_blocks\.\d\.attentions\.0\.{_ATTENTION}", "the UNet of {} (diffusers)", axis=1, widths=UNETS),
    Row(rf"{_NET}(input_blocks|middle_block)\.", "a UNet or checkpoint of another model"),
    Row(rf"{_NET}joint_blocks\.0\.", "an SD3 model"),
    Row(rf"{_NET}double_blocks\.0\.", FLUX),
    Row(r"(single_)?transformer_blocks\.0\.", "the transformer of another model, such as Flux or SD3 (diffusers)"),
    Row(r"effnet_mappers\.\d+\.weight", "the decoder of Würstchen 2, which came before Stable Cascade"),
    Row(r"cond_mapper\.0\.weight", "the prior of Würstchen 2, which came before Stable Cascade"),
    Row(rf"{_VAE}conv_in\.weight", "the VAE of {}", NO_VAE, 1, {4: "SD or SDXL", 16: "Flux or SD3"}),
    Row(rf"{_VAE}(conv_in|up|up_blocks|middle|mid_block)\.", "the VAE of another model", NO_VAE),
    Row(r"(taesd_decoder\.|decoder\.)?(layers\.)?\d+\.conv\.0\.weight", "a preview decoder (TAESD)", NO_PREVIEW),
    Row(r".*block\.0\.layer\.0\.SelfAttention\.q\.weight", "a T5 text encoder", NO_TEXT),
    Row(r"(language_model\.)?(model\.)?layers\.0\.self_attn\.q_proj\.weight", "a language model", NO_TEXT),
    Row(rf"(.*text_model\.embeddings\.)?{_TOKENS}", "the text encoder {}", NO_TEXT, 1, TEXTS),
    Row(rf"vision_model\.embeddings\.{_PATCHES}|visual\.conv1\.weight", "the image encoder {}", NO_IMAGE, 0, IMAGES),
    Row(r"(params(_ema)?\.)?(conv_first|body\.0\.rdb1|model\.1\.sub\.0)\.", "an upscaler (ESRGAN)"),
    Row(r"string_to_param\.|emb_params$|clip_[lg]$", "a textual inversion embedding", NO_EMBEDDING),
    Row(r"clip_[lg]_out$", "an output embedding of OneTrainer", NO_OUTPUT),
    Row(r".*(wtoken_postfc\.|wtokens$)", "the network that UltraPixel adds to Stage C", NO_ULTRAPIXEL),
    Row(r"state\.\d+\.(exp_avg|momentum_buffer|step)", "the state of an optimiser", "take the weights beside it"),
)


def name_other_model(tensors: Mapping[str, TensorInfo]) -> tuple[str, str] | None:
    """The name of a file with these tensors, and what to do instead; None for a model that is not known here."""
    for row in ROWS:
        pattern = re.compile(row.pattern)
        for name, info in tensors.items():
            if not pattern.match(name):
                continue
            if row.widths is None:
                return row.what, row.instead
            width = info.shape[row.axis] if row.axis < len(info.shape) else 0
            if width in row.widths:
                return row.what.format(row.widths[width]), row.instead
    return None
