"""Signatures of the parts on disk: one row per kind and layout, told by names and by one dimension.

A row describes tensors behind a prefix: the same network lies in its own file, or in an all-in-one file of ComfyUI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Probe = tuple[str, int]  # (tensor, axis): the length of one dimension tells things apart


@dataclass(frozen=True)
class Signature:
    """A part's tensor names in one layout; names that end in a star stand for all that begin so."""

    kind: str
    layout: str
    keys: tuple[str, ...]  # each of them is there
    probe: Probe
    presets: Mapping[int, str]  # length of the probed axis -> preset
    mark: str = ""  # some name contains it
    prefixes: tuple[str, ...] = ("",)
    ignored: tuple[str, ...] = ()  # names that the layout may carry and the module does not
    mode: Probe = ("", 0)
    modes: Mapping[int, str] | None = None  # length of the mode's axis -> mode


STAGE_C = {2048: "3.6B", 1536: "1B"}
STAGE_B = {640: "1.5B", 576: "700M"}
STAGE_A = {192: "published"}
DIFFUSION = ("", "model.diffusion_model.")  # prefixes of a diffusion model in its own file and in files of ComfyUI
STAGE_C_KEYS = ("clip_txt_mapper.weight", "clip_txt_pooled_mapper.weight", "clip_img_mapper.weight", "clf.1.weight")
STAGE_C_PROBE = ("clip_txt_mapper.weight", 0)
STAGE_B_KEYS = ("effnet_mapper.0.weight", "pixels_mapper.0.weight", "embedding.1.weight", "clf.1.weight")
STAGE_B_PROBE = ("down_blocks.1.0.channelwise.0.weight", 1)
STAGE_A_KEYS = ("in_block.1.weight", "up_blocks.0.0.weight", "out_block.0.weight")
STAGE_A_PROBE = ("in_block.1.weight", 0)
ATTENTION = {
    "official": ".attention.attn.in_proj_weight",
    "comfyui": ".attention.attn.to_q.weight",
    "diffusers": ".attention.to_q.weight",
}  # layout -> a name that only it has
POOLED = {"official": "clip_mapper", "comfyui": "clip_mapper", "diffusers": "clip_txt_pooled_mapper"}


def _controlnet(keys: tuple[str, str], modes: Mapping[int, str]) -> Signature:
    """A ControlNet: the first key's input channels tell its mode, the last projection the width of its Stage C."""
    keys_of_all = (*keys, "projections.0.0.weight")
    width = ("projections.0.2.weight", 0)
    return Signature("controlnet", "official", keys_of_all, width, STAGE_C, mode=(keys[0], 1), modes=modes)


SIGNATURES = (
    *(
        Signature("stage_c", layout, STAGE_C_KEYS, STAGE_C_PROBE, STAGE_C, mark, DIFFUSION)
        for layout, mark in ATTENTION.items()
    ),
    *(
        Signature(
            "stage_b", layout, (*STAGE_B_KEYS, f"{POOLED[layout]}.weight"), STAGE_B_PROBE, STAGE_B, mark, DIFFUSION
        )
        for layout, mark in ATTENTION.items()
    ),
    *(
        Signature(
            "stage_a",
            layout,
            (*STAGE_A_KEYS, f"vquantizer.{book}.weight"),
            STAGE_A_PROBE,
            STAGE_A,
            prefixes=("", "vae."),
        )
        for layout, book in (("official", "codebook"), ("diffusers", "embedding"))
    ),
    Signature(
        "effnet",
        "official",
        ("backbone.0.0.weight", "backbone.1.0.block.0.1.running_mean", "mapper.0.weight"),
        ("mapper.0.weight", 1),
        {1280: "published"},
        prefixes=("", "vae.encoder.", "encoder."),
        ignored=("mean", "std"),  # ComfyUI's copies of ImageNet's
    ),
    Signature(
        "previewer",
        "official",
        ("blocks.0.weight", "blocks.2.running_mean", "blocks.6.weight"),
        ("blocks.0.weight", 0),
        {512: "published"},
        prefixes=("", "vae.previewer.", "previewer."),
    ),
    Signature(
        "text_encoder",
        "official",
        ("text_model.embeddings.token_embedding.weight", "text_projection.weight"),
        ("text_model.embeddings.token_embedding.weight", 1),
        {1280: "published"},
        ignored=("text_model.embeddings.position_ids", "logit_scale", "vision_model.*", "visual_projection.*"),
    ),
    Signature(
        "text_encoder",
        "comfyui",
        ("transformer.text_model.embeddings.token_embedding.weight",),
        ("transformer.text_model.embeddings.token_embedding.weight", 1),
        {1280: "published"},
        prefixes=("text_encoder.clip_g.", "clip_g.", ""),
        ignored=("transformer.text_model.embeddings.position_ids", "logit_scale"),
    ),
    Signature(
        "text_encoder",
        "openclip",
        ("token_embedding.weight", "positional_embedding", "transformer.resblocks.0.attn.in_proj_weight"),
        ("token_embedding.weight", 1),
        {1280: "published"},
        ignored=("attn_mask", "logit_scale", "visual.*"),
    ),
    Signature(
        "image_encoder",
        "official",
        ("vision_model.embeddings.patch_embedding.weight", "visual_projection.weight"),
        ("vision_model.embeddings.patch_embedding.weight", 0),
        {1024: "published"},
        prefixes=("", "clip_l_vision."),
        ignored=("vision_model.embeddings.position_ids", "logit_scale", "text_model.*", "text_projection.*"),
    ),
    Signature(
        "image_encoder",
        "openclip",
        ("conv1.weight", "class_embedding", "transformer.resblocks.0.attn.in_proj_weight"),
        ("conv1.weight", 0),
        {1024: "published"},
        prefixes=("visual.",),
    ),
    _controlnet(("backbone.0.0.weight", "backbone.1.0.block.0.1.running_mean"), {1: "canny", 4: "inpainting"}),
    _controlnet(("backbone.0.weight", "backbone.10.blocks.0.weight"), {16: "super_resolution"}),
    _controlnet(("backbone.0.weight", "backbone.2.weight"), {512: "identity"}),
)


@dataclass(frozen=True)
class Dialect:
    """The origin of a LoRA file's names; the first dialect with such a name is the file's."""

    name: str
    pattern: str  # a regular expression that some name in the file matches


_BLOCK = r"(down|up)_blocks[._]\d+[._]\d+[._](attention|channelwise|depthwise|kv_mapper|mapper)"  # ours alone
_UNET = rf"({_BLOCK}|clip_(txt|img)_|embedding[._]1|clf[._]1|(down_downscalers|up_upscalers)[._])"
_ENDS = (  # after the module's name: the kinds of change
    r"(lora_(up|down|mid|A|B)\b|hada_|lokr_|oft_|ia3_l|(dora_scale|alpha|diff|diff_b|w_norm|b_norm|on_input)$)"
)
_TEXT = r"text_model_encoder_layers_(2[4-9]|3[01])_"  # bigG has 32 layers; other models' encoders have 24 at most

LORA_WIDTHS = {2048: "3.6B", 1536: "1B"}  # a side of some tensor of a LoRA for Stage C -> the Stage C
DIALECTS = (
    Dialect("official", r"weights\.\d+\.lora_(down|up)$"),
    Dialect("OneTrainer, old names", r"lora_prior_unet_.*attention_to_(q|k|v|out)"),
    Dialect("OneTrainer", r"lora_prior_(unet|te)_"),
    Dialect("OneTrainer, OMI names", rf"unet\.{_BLOCK}\..*in_proj\.[012]\.{_ENDS}"),
    Dialect("kohya, Stage B", rf"lora_decoder_unet_{_BLOCK}"),
    Dialect("kohya", rf"lora_(unet_{_UNET}|te_{_TEXT})"),
    Dialect("ComfyUI", rf"diffusion_model\.{_UNET}.*\.{_ENDS}"),
    Dialect("LyCORIS", rf"lycoris_{_UNET}"),
    Dialect("PEFT", rf"(.*\.)?{_BLOCK}.*\.{_ENDS}"),
    Dialect("official", r"embeddings\.indices$"),  # words alone; our other dialects write them the same way
)
