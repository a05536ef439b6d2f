"""What saved workflows rely on, frozen here, and what a person reads in the editor. Run: pytest tests/nodes"""

import json
import subprocess
import sys
from typing import Any

import pytest

from stable_cascade_nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from stable_cascade_nodes.cascade_core.sampling.samplers import SAMPLERS
from stable_cascade_nodes.headless import graph

LOADER = {"model_name": "COMBO"}
STAGE_LOADER = {"model_name": "COMBO", "dtype": "COMBO"}
SAMPLING = {"seed": "INT", "steps": "INT", "cfg": "FLOAT", "sampler": "COMBO", "shift": "FLOAT"}
GUIDANCE = {
    "cfg_rescale": "FLOAT",
    "rescale_over": "COMBO",
    "cfg_start_percent": "FLOAT",
    "cfg_end_percent": "FLOAT",
}
HINT = ("CASCADE_HINT", "IMAGE")
TRAINING = {
    "dataset": "CASCADE_DATASET",
    "stage_c": "CASCADE_STAGE_C",
    "text_encoder": "CASCADE_TEXT_ENCODER",
    "effnet": "CASCADE_EFFNET",
    "name": "STRING",
    "size": "INT",
    "steps": "INT",
    "batch_size": "INT",
    "learning_rate": "FLOAT",
    "prompts": "STRING",
    "sample_every": "INT",
    "seed": "INT",
}
TRAINING_OPTIONS = {
    "previewer": "CASCADE_PREVIEWER",
    "stage_b": "CASCADE_STAGE_B",
    "stage_a": "CASCADE_STAGE_A",
    "image_encoder": "CASCADE_IMAGE_ENCODER",
    "accumulate": "INT",
    "schedule": "COMBO",
    "warmup": "INT",
    "optimizer": "COMBO",
    "loss_weight": "COMBO",
    "noisy_share": "FLOAT",
    "caption_dropout": "FLOAT",
    "image_dropout": "FLOAT",
    "checkpointing": "BOOLEAN",
    "save_every": "INT",
    "sample_cfg": "FLOAT",
}
LATER_TRAINING_OPTIONS = {
    "held_out": "FLOAT",
    "unmasked_weight": "FLOAT",
}

# Ids, input names and their order, output types and their order are a file format: only ever add, and only at the end
# of `optional`. id: (required, optional, outputs)
FROZEN: dict[str, tuple[dict[str, str], dict[str, str], tuple[str, ...]]] = {
    "CascadeStageCLoader": (STAGE_LOADER, {"compile": "COMBO"}, ("CASCADE_STAGE_C",)),
    "CascadeStageBLoader": (STAGE_LOADER, {"compile": "COMBO"}, ("CASCADE_STAGE_B",)),
    "CascadeStageALoader": (STAGE_LOADER, {}, ("CASCADE_STAGE_A",)),
    "CascadeTextEncoderLoader": (LOADER, {"dtype": "COMBO"}, ("CASCADE_TEXT_ENCODER",)),
    "CascadeImageEncoderLoader": (LOADER, {}, ("CASCADE_IMAGE_ENCODER",)),
    "CascadeEffnetLoader": (LOADER, {}, ("CASCADE_EFFNET",)),
    "CascadePreviewerLoader": (LOADER, {}, ("CASCADE_PREVIEWER",)),
    "CascadeControlNetLoader": (LOADER, {}, ("CASCADE_CONTROLNET",)),
    "CascadeTextEncode": ({"text_encoder": "CASCADE_TEXT_ENCODER", "text": "STRING"}, {}, ("CONDITIONING",)),
    "CascadeImageEncode": (
        {
            "conditioning": "CONDITIONING",
            "image_encoder": "CASCADE_IMAGE_ENCODER",
            "image": "IMAGE",
            "strength": "FLOAT",
        },
        {"mix": "COMBO"},
        ("CONDITIONING",),
    ),
    "CascadeControlNetApply": (
        {
            "conditioning": "CONDITIONING",
            "controlnet": "CASCADE_CONTROLNET",
            "hint": "CASCADE_HINT",
            "strength": "FLOAT",
            "start_percent": "FLOAT",
            "end_percent": "FLOAT",
        },
        {},
        ("CONDITIONING",),
    ),
    "CascadePictureHint": ({"image": "IMAGE"}, {}, HINT),
    "CascadeCannyHint": ({"image": "IMAGE", "low": "INT", "high": "INT"}, {}, HINT),
    "CascadeInpaintHint": ({"image": "IMAGE", "mask": "MASK", "threshold": "FLOAT"}, {}, HINT),
    "CascadeSuperResolutionHint": ({"effnet": "CASCADE_EFFNET", "image": "IMAGE"}, {}, HINT),
    "CascadeFaceIdentityHint": ({"image": "IMAGE", "detector": "COMBO", "max_faces": "INT"}, {}, HINT),
    "CascadeLoRAApply": (
        {"stage_c": "CASCADE_STAGE_C", "lora_name": "COMBO", "strength": "FLOAT"},
        {
            "text_encoder": "CASCADE_TEXT_ENCODER",
            "text_strength": "FLOAT",
            "lora": "CASCADE_LORA",
            "tokens": "STRING",
            "fuse": "BOOLEAN",
            "filters": "STRING",
        },
        ("CASCADE_STAGE_C", "CASCADE_TEXT_ENCODER"),
    ),
    "CascadeLoRAApplyStageB": (
        {"stage_b": "CASCADE_STAGE_B", "lora_name": "COMBO", "strength": "FLOAT"},
        {"lora": "CASCADE_LORA", "fuse": "BOOLEAN"},
        ("CASCADE_STAGE_B",),
    ),
    "CascadeEmptyLatents": ({"width": "INT", "height": "INT", "batch_size": "INT"}, {}, ("LATENT", "LATENT")),
    "CascadeEncodeImage": ({"effnet": "CASCADE_EFFNET", "image": "IMAGE"}, {"resize": "COMBO"}, ("LATENT", "LATENT")),
    "CascadePicture": ({"image": "COMBO"}, {"mask": "COMBO"}, ("IMAGE", "MASK")),
    "CascadeFitPicture": (
        {"image": "IMAGE", "width": "INT", "height": "INT", "budget": "INT", "method": "COMBO"},
        {"multiple": "INT", "enlarge": "BOOLEAN", "mask": "MASK"},
        ("IMAGE", "MASK", "INT", "INT"),
    ),
    "CascadeOutpaintPad": (
        {"image": "IMAGE", "left": "INT", "top": "INT", "right": "INT", "bottom": "INT", "feather": "INT"},
        {},
        ("IMAGE", "MASK"),
    ),
    "CascadePasteBack": (
        {"image": "IMAGE", "original": "IMAGE", "mask": "MASK", "feather": "INT"},
        {},
        ("IMAGE",),
    ),
    "CascadeCompare": ({"image": "IMAGE", "original": "IMAGE"}, {"latent": "LATENT"}, ("IMAGE", "STRING")),
    "CascadeStageCSampler": (
        {
            "stage_c": "CASCADE_STAGE_C",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent": "LATENT",
            **SAMPLING,
            "denoise": "FLOAT",
        },
        {"previewer": "CASCADE_PREVIEWER", **GUIDANCE, "noise_shift": "COMBO", "schedule": "COMBO"},
        ("LATENT",),
    ),
    "CascadeStageBSampler": (
        {
            "stage_b": "CASCADE_STAGE_B",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "stage_c": "LATENT",
            "latent": "LATENT",
            **SAMPLING,
        },
        {**GUIDANCE, "schedule": "COMBO", "reuse_from": "INT"},
        ("LATENT",),
    ),
    "CascadePickLatents": (
        {"latent": "LATENT", "picks": "STRING"},
        {"previewer": "CASCADE_PREVIEWER"},
        ("LATENT", "LATENT"),
    ),
    "CascadeStageADecode": ({"stage_a": "CASCADE_STAGE_A", "latent": "LATENT"}, {}, ("IMAGE",)),
    "CascadePreviewDecode": ({"previewer": "CASCADE_PREVIEWER", "latent": "LATENT"}, {}, ("IMAGE",)),
    "CascadeDataset": ({"folder": "STRING"}, {"caption": "STRING"}, ("CASCADE_DATASET",)),
    "CascadeLoRATrain": (
        {**TRAINING, "rank": "INT", "alpha": "FLOAT", "tokens": "STRING"},
        {
            **TRAINING_OPTIONS,
            "filters": "STRING",
            "init": "COMBO",
            "token_rate": "FLOAT",
            "keep": "STRING",
            "keep_weight": "FLOAT",
            "keep_count": "INT",
            "keep_batch": "INT",
            "dialect": "COMBO",
            **LATER_TRAINING_OPTIONS,
        },
        ("CASCADE_LORA", "STRING", "IMAGE"),
    ),
    "CascadeControlNetTrain": (
        {**TRAINING, "hint": "COMBO"},
        {
            **TRAINING_OPTIONS,
            "controlnet": "CASCADE_CONTROLNET",
            "bottleneck": "COMBO",
            "detector": "COMBO",
            "offset_noise": "FLOAT",
            **LATER_TRAINING_OPTIONS,
        },
        ("CASCADE_CONTROLNET", "STRING", "IMAGE"),
    ),
}
DEFAULTS = {
    "CascadeStageCSampler": {
        "steps": 20,
        "cfg": 4.0,
        "sampler": "ddpm",
        "shift": 2.0,
        "denoise": 1.0,
        "schedule": "cosine",
    },
    "CascadeStageBSampler": {"steps": 10, "cfg": 1.1, "sampler": "ddpm", "shift": 1.0, "schedule": "cosine"},
    "CascadeEmptyLatents": {"width": 1024, "height": 1024, "batch_size": 1},
    "CascadeFitPicture": {"width": 0, "height": 0, "budget": 1024, "multiple": 8, "enlarge": False},
    "CascadeCannyHint": {"low": 100, "high": 200},
    "CascadeInpaintHint": {"threshold": 0.5},
    "CascadeFaceIdentityHint": {"max_faces": 4},
    "CascadeControlNetApply": {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0},
    "CascadeLoRATrain": {
        "size": 768,
        "learning_rate": 1e-4,
        "rank": 4,
        "alpha": 1.0,
        "filters": ".attn",
        "init": "official",
        "schedule": "constant",
        "warmup": 1,
        "optimizer": "adamw",
        "noisy_share": 0.0,
        "caption_dropout": 0.05,
        "image_dropout": 0.9,
    },
    "CascadeControlNetTrain": {"size": 768, "learning_rate": 1e-4, "offset_noise": 0.0},
}
each_node = pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS.values(), ids=NODE_CLASS_MAPPINGS)


def inputs_of(node: Any) -> dict[str, graph.Input]:
    return dict(graph.define(node).inputs)


def test_ids_inputs_and_outputs_are_as_promised() -> None:
    found = {}
    for name, node in NODE_CLASS_MAPPINGS.items():
        inputs = inputs_of(node)
        required = {key: entry.type for key, entry in inputs.items() if entry.required}
        optional = {key: entry.type for key, entry in inputs.items() if not entry.required}
        found[name] = (required, optional, node.RETURN_TYPES)
    assert found == FROZEN
    for name, (required, optional, _) in FROZEN.items():  # == does not look at the order
        assert list(inputs_of(NODE_CLASS_MAPPINGS[name])) == [*required, *optional]


def test_combos_keep_their_spelling() -> None:
    sampler = inputs_of(NODE_CLASS_MAPPINGS["CascadeStageCSampler"])
    assert sampler["sampler"].choices == list(SAMPLERS)
    assert list(SAMPLERS)[:4] == ["ddpm", "ddim", "euler", "lcm"]  # others follow
    assert list(SAMPLERS)[4:] == [
        "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m",
        "dpmpp_2m_sde", "dpmpp_3m_sde", "uni_pc",
    ]  # fmt: skip
    assert sampler["schedule"].choices == [
        "cosine", "simple", "normal", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta"
    ]  # fmt: skip
    assert sampler["rescale_over"].choices == ["image", "batch"]
    assert sampler["noise_shift"].choices == ["same", "official"]
    loader = inputs_of(NODE_CLASS_MAPPINGS["CascadeStageCLoader"])
    assert inputs_of(NODE_CLASS_MAPPINGS["CascadeEncodeImage"])["resize"].choices == ["ours", "official"]
    fit = inputs_of(NODE_CLASS_MAPPINGS["CascadeFitPicture"])["method"]
    assert (fit.choices, fit.default) == (["crop", "pad", "stretch"], "crop")
    mix = inputs_of(NODE_CLASS_MAPPINGS["CascadeImageEncode"])["mix"]
    assert (mix.choices, mix.default) == (["beside", "blend"], "beside")
    detector = inputs_of(NODE_CLASS_MAPPINGS["CascadeFaceIdentityHint"])["detector"]
    assert detector.choices == ["tiny (built-in)", "insightface"]
    plain = ["auto", "float32", "bfloat16", "float16"]
    assert loader["dtype"].choices == [*plain, "int8", "fp8", "int4"]
    assert inputs_of(NODE_CLASS_MAPPINGS["CascadeStageALoader"])["dtype"].choices == plain
    assert inputs_of(NODE_CLASS_MAPPINGS["CascadeTextEncoderLoader"])["dtype"].choices == plain


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_the_official_ones(name: str) -> None:
    inputs = inputs_of(NODE_CLASS_MAPPINGS[name])
    assert {key: inputs[key].default for key in DEFAULTS[name]} == DEFAULTS[name]


@each_node
def test_everything_is_explained(node: Any) -> None:
    for name, entry in inputs_of(node).items():
        assert len(entry.options.get("tooltip", "")) > 8, name
    assert len(node.OUTPUT_TOOLTIPS) == len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
    assert all(len(tooltip) > 8 for tooltip in node.OUTPUT_TOOLTIPS)
    assert len(node.DESCRIPTION) > 20
    assert node.CATEGORY.split("/")[0] == "Stable Cascade"
    assert "stable cascade" in node.SEARCH_ALIASES
    assert callable(getattr(node, node.FUNCTION))


@each_node
def test_numbers_have_bounds_and_combos_a_default(node: Any) -> None:
    for name, entry in inputs_of(node).items():
        if entry.type in ("INT", "FLOAT"):
            assert entry.options["min"] <= entry.options["default"] <= entry.options["max"], name
        if entry.type == "FLOAT":
            assert entry.options["step"] > 0 and entry.options["round"] > 0
        if entry.type == "COMBO":
            assert entry.default in (entry.choices or ()), name


def test_the_seed_is_a_whole_unsigned_64_bit_number_with_a_control() -> None:
    for name in ("CascadeStageCSampler", "CascadeStageBSampler"):
        options = inputs_of(NODE_CLASS_MAPPINGS[name])["seed"].options
        assert (options["min"], options["max"], options["control_after_generate"]) == (0, 2**64 - 1, True)


def test_the_host_can_send_it_all_as_json() -> None:
    json.dumps({name: node.INPUT_TYPES() for name, node in NODE_CLASS_MAPPINGS.items()}, allow_nan=False)


def test_display_names_are_told_apart() -> None:
    assert NODE_DISPLAY_NAME_MAPPINGS.keys() == NODE_CLASS_MAPPINGS.keys()
    assert len(set(NODE_DISPLAY_NAME_MAPPINGS.values())) == len(NODE_CLASS_MAPPINGS)
    assert all(name.startswith("Stable Cascade: ") for name in NODE_DISPLAY_NAME_MAPPINGS.values())


def test_built_ins_come_first_and_are_the_default() -> None:
    for name, node in NODE_CLASS_MAPPINGS.items():
        if name.endswith("Loader"):
            default = "tiny canny (built-in)" if name == "CascadeControlNetLoader" else "tiny (built-in)"
            assert inputs_of(node)["model_name"].default == default


def test_importing_the_pack_is_cheap() -> None:
    heavy = ("torch", "transformers", "numpy", "PIL", "yaml", "tqdm")
    code = f"import sys, stable_cascade_nodes; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_declaring_inputs_needs_no_torch() -> None:
    """The editor's list of nodes and `cascade validate` are there at once."""
    declare = "[node.INPUT_TYPES() for node in stable_cascade_nodes.NODE_CLASS_MAPPINGS.values()]"
    code = f"import sys, stable_cascade_nodes; {declare}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
