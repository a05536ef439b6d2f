"""`config.json` of a component, as diffusers and transformers write it, to our configurations and back.

The dataclasses below are the files' fields with their types and what each is where a file leaves it out. What is
unknown, or what our networks cannot be told to do, is refused by the field's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from ..errors import CascadeError
from ..kinds import KINDS
from ..models.config import PRESETS, StageAConfig, StageBConfig, StageCConfig
from .fields import fit

LETTERS = {"SDCascadeResBlock": "C", "SDCascadeTimestepBlock": "T", "SDCascadeAttnBlock": "A"}
BLOCKS = {letter: block for block, letter in LETTERS.items()}
PER_LEVEL = (
    "num_attention_heads", "down_num_layers_per_block", "up_num_layers_per_block", "down_blocks_repeat_mappers",
    "up_blocks_repeat_mappers", "block_types_per_layer", "dropout", "self_attn",
)  # fmt: skip
T_CONDS = ("sca", "crp")
WUERSTCHEN_SCALE = 0.3764  # PaellaVQModel's default, for the model before Stable Cascade, whose Stage A has 0.43
ACTIVATIONS = ("gelu", "quick_gelu")


@dataclass(frozen=True)
class StableCascadeUNet:
    in_channels: int = 16
    out_channels: int = 16
    timestep_ratio_embedding_dim: int = 64
    patch_size: int = 1
    conditioning_dim: int = 2048
    block_out_channels: tuple[int, ...] = (2048, 2048)
    num_attention_heads: tuple[int, ...] = (32, 32)
    down_num_layers_per_block: tuple[int, ...] = (8, 24)
    up_num_layers_per_block: tuple[int, ...] = (24, 8)
    down_blocks_repeat_mappers: tuple[int, ...] = (1, 1)
    up_blocks_repeat_mappers: tuple[int, ...] = (1, 1)
    block_types_per_layer: tuple[tuple[str, ...], ...] = (tuple(LETTERS), tuple(LETTERS))
    clip_text_in_channels: int | None = None
    clip_text_pooled_in_channels: int = 1280
    clip_image_in_channels: int | None = None
    clip_seq: int = 4
    effnet_in_channels: int | None = None
    pixel_mapper_in_channels: int | None = None
    kernel_size: int = 3
    dropout: tuple[float, ...] = (0.1, 0.1)
    self_attn: tuple[bool, ...] = (True, True)
    timestep_conditioning_type: tuple[str, ...] = T_CONDS
    switch_level: tuple[bool, ...] | None = None


@dataclass(frozen=True)
class PaellaVQModel:
    in_channels: int = 3
    out_channels: int = 3
    up_down_scale_factor: int = 2
    levels: int = 2
    bottleneck_blocks: int = 12
    embed_dim: int = 384
    latent_channels: int = 4
    num_vq_embeddings: int = 8192
    scale_factor: float = WUERSTCHEN_SCALE


@dataclass(frozen=True)
class CLIPTextModelWithProjection:
    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 49407


@dataclass(frozen=True)
class CLIPVisionModelWithProjection:
    hidden_size: int = 768
    intermediate_size: int = 3072
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


TRANSFORMERS: Mapping[type[Any], str] = {
    CLIPTextModelWithProjection: "clip_text_model",
    CLIPVisionModelWithProjection: "clip_vision_model",
}  # class -> model_type
CLASS_OF: Mapping[str, type[Any]] = {
    "stage_c": StableCascadeUNet,
    "stage_b": StableCascadeUNet,
    "stage_a": PaellaVQModel,
    "text_encoder": CLIPTextModelWithProjection,
    "image_encoder": CLIPVisionModelWithProjection,
}  # by our kinds
CLASSES: Mapping[str, type[Any]] = {cls.__name__: cls for cls in CLASS_OF.values()}

_UNET = {
    "channels": "in_channels",
    "patch_size": "patch_size",
    "c_hidden": "block_out_channels",
    "nhead": "num_attention_heads",
    "c_cond": "conditioning_dim",
    "c_clip_seq": "clip_seq",
    "c_r": "timestep_ratio_embedding_dim",
    "t_conds": "timestep_conditioning_type",
    "kernel_size": "kernel_size",
    "dropout": "dropout",
}
_CLIP = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "projection_dim": "projection_dim",
    "hidden_act": "hidden_act",
}
FIELDS: Mapping[str, Mapping[str, str]] = {
    "stage_c": _UNET
    | {
        "c_clip_text": "clip_text_in_channels",
        "c_clip_text_pooled": "clip_text_pooled_in_channels",
        "c_clip_img": "clip_image_in_channels",
    },
    "stage_b": _UNET
    | {
        "c_clip": "clip_text_pooled_in_channels",
        "c_effnet": "effnet_in_channels",
        "c_pixels": "pixel_mapper_in_channels",
    },
    "stage_a": {
        "levels": "levels",
        "c_hidden": "embed_dim",
        "c_latent": "latent_channels",
        "bottleneck_blocks": "bottleneck_blocks",
        "codebook_size": "num_vq_embeddings",
        "scale": "scale_factor",
    },
    "text_encoder": _CLIP
    | {"vocab_size": "vocab_size", "max_positions": "max_position_embeddings", "eos_token_id": "eos_token_id"},
    "image_encoder": _CLIP | {"image_size": "image_size", "patch_size": "patch_size"},
}  # kind -> our fields by theirs, as far as the values are the same


def read_config(values: Mapping[str, Any], file: str) -> tuple[str, Any] | None:
    """A config.json -> (kind, the kind's dataclass of models/config.py); None where it is of another class.

    Raises CascadeError, with the field's name, for what our networks cannot be.
    """
    cls = CLASSES.get(_class_name(values))
    if cls is None:
        return None
    try:
        own = {name: value for name, value in values.items() if not name.startswith("_")}
        # transformers writes much that is no part of the network
        given = fit(cls, _spread(own) if cls is StableCascadeUNet else own, strict=cls not in TRANSFORMERS)
        if isinstance(given, StableCascadeUNet):
            return _read_unet(given)
        kind = next(kind for kind, known in CLASS_OF.items() if known is cls)
        return kind, _read_fixed(kind, given)
    except ValueError as error:
        raise CascadeError(
            f"{file}: its config.json describes a {cls.__name__} that cannot be used: {error}"
        ) from error


def write_config(kind: str, config: Any) -> dict[str, Any]:
    """Our configuration as a config.json; raises CascadeError where diffusers and transformers have no such network."""
    if kind not in CLASS_OF:
        raise CascadeError(f"Neither diffusers nor transformers has the {KINDS[kind].name}: keep the layout official")
    if kind == "stage_a" and not config.codebook_size:
        raise CascadeError("This Stage A has no codebook, and diffusers' PaellaVQModel wants one: keep its layout")
    cls = CLASS_OF[kind]
    same = {theirs: getattr(config, ours) for ours, theirs in FIELDS[kind].items()}
    written = asdict(cls(**same, **(_write_blocks(config) if cls is StableCascadeUNet else {})))
    if cls in TRANSFORMERS:
        return {"architectures": [cls.__name__], "model_type": TRANSFORMERS[cls], **written}
    return {"_class_name": cls.__name__, **written}


def _write_blocks(config: StageBConfig | StageCConfig) -> dict[str, Any]:
    """The fields of a stage's config.json that have no one field of ours."""
    letters = sorted(set("".join(config.level_config)) - set(BLOCKS))
    if letters:
        raise CascadeError(f"diffusers has no blocks for the letter {', '.join(letters)}: keep the layout official")
    return {
        "out_channels": config.channels,
        "down_num_layers_per_block": config.blocks[0],
        "up_num_layers_per_block": config.blocks[1],
        "down_blocks_repeat_mappers": config.block_repeat[0],
        "up_blocks_repeat_mappers": config.block_repeat[1],
        "block_types_per_layer": tuple(tuple(BLOCKS[letter] for letter in level) for level in config.level_config),
        "self_attn": (True,) * len(config.c_hidden),
        "switch_level": config.switch_level if isinstance(config, StageCConfig) else None,
    }


def _class_name(values: Mapping[str, Any]) -> str:
    architectures = values.get("architectures")
    first = cast(list[Any], architectures)[:1] if isinstance(architectures, list) else []
    return str(first[0] if first else values.get("_class_name"))


def _spread(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with a list, one value a level, where one value may stand for all levels."""
    channels = values.get("block_out_channels", StableCascadeUNet.block_out_channels)
    levels = len(cast(Sequence[Any], channels)) if isinstance(channels, list | tuple) else 0
    one = {"self_attn": True} | {name: values[name] for name in ("self_attn", "dropout") if name in values}
    return dict(values) | {name: value if isinstance(value, list) else [value] * levels for name, value in one.items()}


def _must(name: str, found: object, *expected: object) -> None:
    if found not in expected:
        raise ValueError(f"{name}: expected {' or '.join(map(str, expected))}, found {found}")


def _read_unet(given: StableCascadeUNet) -> tuple[str, StageBConfig | StageCConfig]:
    levels = len(given.block_out_channels)
    for name in PER_LEVEL:
        if len(getattr(given, name)) != levels:
            raise ValueError(f"{name}: expected one value for each of {levels} levels, found {getattr(given, name)}")
    _must("out_channels", given.out_channels, given.in_channels)
    for name in given.timestep_conditioning_type:
        _must("timestep_conditioning_type", name, *T_CONDS)
    for block in (block for level in given.block_types_per_layer for block in level):
        _must("block_types_per_layer", block, *LETTERS)
    level_config = tuple("".join(LETTERS[block] for block in level) for level in given.block_types_per_layer)
    for letters, attends in zip(level_config, given.self_attn, strict=True):
        if "A" in letters:
            _must("self_attn", attends, True)

    text, image = given.clip_text_in_channels is not None, given.clip_image_in_channels is not None
    effnet, pixels = given.effnet_in_channels is not None, given.pixel_mapper_in_channels is not None
    if (text, image) == (effnet, pixels) or text != image or effnet != pixels:
        raise ValueError(
            "expected clip_text_in_channels and clip_image_in_channels (Stage C), or effnet_in_channels and"
            f" pixel_mapper_in_channels (Stage B), found {given.clip_text_in_channels},"
            f" {given.clip_image_in_channels}, {given.effnet_in_channels} and {given.pixel_mapper_in_channels}"
        )
    kind = "stage_c" if text else "stage_b"
    values: dict[str, Any] = {ours: getattr(given, theirs) for ours, theirs in FIELDS[kind].items()}
    values |= {
        "blocks": (given.down_num_layers_per_block, given.up_num_layers_per_block),
        "block_repeat": (given.down_blocks_repeat_mappers, given.up_blocks_repeat_mappers),
        "level_config": level_config,
    }
    if kind == "stage_b":
        if given.switch_level and levels > 1:
            raise ValueError(f"switch_level: expected null for a Stage B, found {given.switch_level}")
        return kind, _known(kind, StageBConfig(**values))
    switch = given.switch_level or ()
    if len(switch) != levels - 1:
        raise ValueError(f"switch_level: expected {levels - 1} values for a Stage C, found {given.switch_level}")
    return kind, _known(kind, StageCConfig(**values, switch_level=switch))


def _known(kind: str, config: StageBConfig | StageCConfig) -> Any:
    """The preset that this is but for the heads of levels without attention, which diffusers calls 0; else itself."""

    def compared(one: StageBConfig | StageCConfig) -> StageBConfig | StageCConfig:
        heads = zip(one.nhead, one.level_config, strict=True)
        return replace(one, nhead=tuple(n if "A" in letters else -1 for n, letters in heads))

    return next((preset for preset in PRESETS[kind].values() if compared(preset) == compared(config)), config)


def _read_fixed(kind: str, given: Any) -> Any:
    """A network without levels of blocks: what no field of ours is read from must be as the class has it by default."""
    values = {ours: getattr(given, theirs) for ours, theirs in FIELDS[kind].items()}
    if "hidden_act" in values:
        _must("hidden_act", values["hidden_act"], *ACTIVATIONS)
    for name, value in asdict(type(given)()).items():
        if name not in FIELDS[kind].values():
            _must(name, getattr(given, name), value)
    if values.get("scale") == WUERSTCHEN_SCALE:
        values["scale"] = StageAConfig.scale
    return type(next(iter(PRESETS[kind].values())))(**values)
