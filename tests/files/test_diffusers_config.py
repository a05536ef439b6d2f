"""config.json against the classes of diffusers and transformers that write and read it."""

import dataclasses
import inspect
import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files import diffusers_config
from stable_cascade_nodes.cascade_core.files.diffusers_config import read_config, write_config
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageAConfig, StageCConfig

WRITABLE = [
    (kind, preset)
    for kind in ("stage_c", "stage_b", "stage_a", "text_encoder", "image_encoder")
    for preset in PRESETS[kind]
    if (kind, preset) != ("stage_a", "tiny")
]
UNET = json.loads(json.dumps(write_config("stage_c", PRESETS["stage_c"]["1B"])))
DECODER = json.loads(json.dumps(write_config("stage_b", PRESETS["stage_b"]["700M"])))


def of_diffusers(values: dict[str, Any]) -> dict[str, Any]:
    """What diffusers writes for the network that it builds of `values`."""
    import diffusers
    from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel

    cls: Any = {"PaellaVQModel": PaellaVQModel}.get(values["_class_name"]) or getattr(diffusers, values["_class_name"])
    with torch.device("meta"):
        return json.loads(cls.from_config(values).to_json_string())


def of_transformers(values: dict[str, Any]) -> dict[str, Any]:
    import transformers

    cls: Any = {"clip_text_model": transformers.CLIPTextConfig, "clip_vision_model": transformers.CLIPVisionConfig}
    config = cls[values["model_type"]].from_dict(values)
    config.architectures = values["architectures"]
    return json.loads(config.to_json_string(use_diff=False))


@pytest.mark.parametrize(("kind", "preset"), WRITABLE)
def test_ours_are_theirs_and_come_back(kind: str, preset: str) -> None:
    config = PRESETS[kind][preset]
    written = json.loads(json.dumps(write_config(kind, config)))
    theirs = of_diffusers(written) if "_class_name" in written else of_transformers(written)
    assert {name: theirs[name] for name in written} == written
    assert read_config(written, "file") == read_config(theirs, "file") == (kind, config)


def test_what_is_left_out_is_what_their_classes_say() -> None:
    from diffusers import StableCascadeUNet
    from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
    from transformers import CLIPTextConfig, CLIPVisionConfig

    for ours, theirs in (
        (diffusers_config.StableCascadeUNet, StableCascadeUNet),
        (diffusers_config.PaellaVQModel, PaellaVQModel),
    ):
        parameters = inspect.signature(theirs.__init__).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items() if name != "self"}
        expected = defaults | ({"self_attn": (True, True)} if "self_attn" in defaults else {})
        assert dataclasses.asdict(ours()) == expected
    for ours, theirs in (
        (diffusers_config.CLIPTextModelWithProjection, CLIPTextConfig),
        (diffusers_config.CLIPVisionModelWithProjection, CLIPVisionConfig),
    ):
        for name, value in dataclasses.asdict(ours()).items():
            assert getattr(theirs(), name) == value


def test_sizes_of_ones_own_come_back() -> None:
    config = replace(PRESETS["stage_b"]["tiny"], block_repeat=((1, 2, 1), (3, 1, 2)), t_conds=("sca", "crp"))
    assert read_config(json.loads(json.dumps(write_config("stage_b", config))), "file") == ("stage_b", config)
    switched = StageCConfig(switch_level=(True,), kernel_size=5, patch_size=2)
    assert read_config(json.loads(json.dumps(write_config("stage_c", switched))), "file") == ("stage_c", switched)


@pytest.mark.parametrize("heads", [[0, 9, 18, 18], [-1, -1, 18, 18], [0, 0, 18, 18]])
def test_heads_of_levels_without_attention_say_nothing(heads: list[int]) -> None:
    assert read_config(DECODER | {"num_attention_heads": heads}, "file") == ("stage_b", PRESETS["stage_b"]["700M"])


def test_stage_a_scale_is_read_but_for_the_default_of_another_model() -> None:
    written = write_config("stage_a", StageAConfig())
    assert written["scale_factor"] == 0.43
    scales = {given: read_config(written | {"scale_factor": given}, "file") for given in (0.3764, 0.43, 0.5)}
    assert [found[1].scale for found in scales.values() if found] == [0.43, 0.43, 0.5]
    del written["scale_factor"]
    assert read_config(written, "file") == ("stage_a", StageAConfig())


def test_where_the_pooled_vector_is_read_is_taken_over() -> None:
    written = write_config("text_encoder", PRESETS["text_encoder"]["published"])
    found = read_config(written | {"eos_token_id": 49407}, "file")
    assert found == ("text_encoder", replace(PRESETS["text_encoder"]["published"], eos_token_id=49407))


def test_one_value_for_all_levels() -> None:
    found = read_config(DECODER | {"dropout": 0.25, "self_attn": True}, "file")
    assert found == ("stage_b", replace(PRESETS["stage_b"]["700M"], dropout=(0.25,) * 4))


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (UNET, {"c_hidden": [1]}, "c_hidden is no field of StableCascadeUNet"),
        (UNET, {"out_channels": 32}, "out_channels: expected 16, found 32"),
        (UNET, {"self_attn": [True, False]}, "self_attn: expected True, found False"),
        (UNET, {"self_attn": False}, "self_attn: expected True, found False"),
        (UNET, {"block_types_per_layer": [["SDCascadeResBlock", "Mamba"]] * 2}, "found Mamba"),
        (UNET, {"timestep_conditioning_type": ["sca", "moon"]}, "timestep_conditioning_type: .* found moon"),
        (UNET, {"switch_level": None}, "switch_level: expected 1 values for a Stage C, found None"),
        (UNET, {"switch_level": [False, True]}, "switch_level: expected 1 values"),
        (UNET, {"patch_size": "1"}, "patch_size: expected int, found '1'"),
        (UNET, {"num_attention_heads": [24]}, "num_attention_heads: expected one value for each of 2 levels"),
        (UNET, {"dropout": [0.1] * 3}, "dropout: expected one value for each of 2 levels"),
        (UNET, {"block_out_channels": 7}, "block_out_channels: expected tuple.*, found 7"),
        (UNET, {"down_blocks_repeat_mappers": None}, "down_blocks_repeat_mappers: expected"),
        (UNET, {"clip_text_in_channels": None}, r"expected clip_text_in_channels and .*found None, 768, None and None"),
        (UNET, {"effnet_in_channels": 16}, "expected clip_text_in_channels"),
        (DECODER, {"switch_level": [True] * 3}, "switch_level: expected null for a Stage B"),
        (write_config("stage_a", StageAConfig()), {"up_down_scale_factor": 4}, "up_down_scale_factor: expected 2"),
        (write_config("stage_a", StageAConfig()), {"in_channels": 4}, "in_channels: expected 3"),
        (
            write_config("text_encoder", PRESETS["text_encoder"]["tiny"]),
            {"hidden_act": "silu"},
            "hidden_act: expected gelu or quick_gelu, found silu",
        ),
        (
            write_config("text_encoder", PRESETS["text_encoder"]["tiny"]),
            {"eos_token_id": [2, 3]},
            "eos_token_id: expected int",
        ),
        (
            write_config("image_encoder", PRESETS["image_encoder"]["tiny"]),
            {"layer_norm_eps": 1e-6},
            "layer_norm_eps: expected 1e-05, found 1e-06",
        ),
        (write_config("image_encoder", PRESETS["image_encoder"]["tiny"]), {"num_channels": 1}, "num_channels"),
    ],
)
def test_what_our_networks_cannot_be_is_named(base: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(CascadeError, match=f"^prior: its config.json describes a .* that cannot be used: .*{message}"):
        read_config(json.loads(json.dumps(base | change)), "prior")


def test_other_classes_are_none_of_ours() -> None:
    assert read_config({"_class_name": "UNet2DConditionModel"}, "unet") is None
    assert read_config({"architectures": ["T5EncoderModel"]}, "text_encoder") is None
    assert read_config({}, "file") is None


def test_what_diffusers_has_not_is_not_written() -> None:
    with pytest.raises(CascadeError, match="Neither diffusers nor transformers has the effnet"):
        write_config("effnet", PRESETS["effnet"]["published"])
    with pytest.raises(CascadeError, match="no codebook"):
        write_config("stage_a", PRESETS["stage_a"]["tiny"])
    with pytest.raises(CascadeError, match="no blocks for the letter F"):
        write_config("stage_c", StageCConfig(level_config=("CTA", "CTF")))
