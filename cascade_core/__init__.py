"""Stable Cascade without ComfyUI: models, sampling and pictures.

This is the public face, and all that nodes and the command use. Names are imported when they are first asked for, so
that the pack's import brings neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .builtin import built_in
    from .builtin.faces import CartoonFaces
    from .builtin.pictures import BUILT_IN_PICTURES
    from .errors import CascadeError
    from .faces import insightface_detector
    from .files.header import read_header
    from .files.identify import FOLDERS, find_part, identify
    from .files.load import load, save
    from .files.metadata import PUBLISHED_FAMILY
    from .files.model_part import Part
    from .files.published import command_for
    from .hints import (
        Detector,
        Hint,
        apply_control,
        make_canny_hint,
        make_identity_hint,
        make_inpaint_hint,
        make_picture_hint,
        make_super_resolution_hint,
    )
    from .images import (
        CELL,
        EQUAL,
        Resize,
        common_batch,
        embed_pixels,
        encode_pixels,
        encoded_size,
        pad_outward,
        paste_back,
        psnr,
    )
    from .lora.attach import attach_lora, check_matched, fuse_lora
    from .lora.embeddings import named_embeddings, with_embeddings
    from .lora.fit import LoraReport
    from .lora.lora import Lora
    from .lora.read import read_embedding, read_lora
    from .lora.tokens import name_tokens
    from .memory import OneAtATime, Placement
    from .models.handle import Handle
    from .pipeline import Cascade, decode_pixels, encode_text, preview_pixels, text_to_image
    from .sampling.condition import Condition
    from .sampling.control import Control
    from .sampling.family import check_family
    from .sampling.latents import LARGEST, SMALLEST, decoded_size, encode_size, stage_b_size, stage_c_size
    from .sampling.samplers import SAMPLERS
    from .sampling.stages import Step, sample_stage_b, sample_stage_c
    from .training.controlnet import ControlNetSettings, untrained_controlnet
    from .training.dataset import Dataset, read_dataset
    from .training.examples import TrainingModels
    from .training.journal import CURVE, CURVE_SIZE
    from .training.lora import LoraSettings, read_tokens, untrained_lora
    from .training.run import TrainingRun
    from .training.samples import sample_side
    from .training.settings import TrainingSamples, TrainingSettings
    from .training.stages import StageBModels
    from .training.start import train_controlnet, train_lora, train_stage_b, train_stage_c

_HOME = {
    "files.load": ("load", "save"),
    "errors": ("CascadeError",),
    "faces": ("insightface_detector",),
    "files.header": ("read_header",),
    "files.identify": ("FOLDERS", "find_part", "identify"),
    "files.model_part": ("Part",),
    "files.metadata": ("PUBLISHED_FAMILY",),
    "hints": (
        "Detector",
        "Hint",
        "apply_control",
        "make_canny_hint",
        "make_identity_hint",
        "make_inpaint_hint",
        "make_picture_hint",
        "make_super_resolution_hint",
    ),
    "lora.attach": ("attach_lora", "check_matched", "fuse_lora"),
    "lora.embeddings": ("named_embeddings", "with_embeddings"),
    "lora.fit": ("LoraReport",),
    "lora.lora": ("Lora",),
    "lora.read": ("read_embedding", "read_lora"),
    "lora.tokens": ("name_tokens",),
    "memory": ("OneAtATime", "Placement"),
    "models.handle": ("Handle",),
    "images": (
        "CELL",
        "EQUAL",
        "Resize",
        "common_batch",
        "embed_pixels",
        "encode_pixels",
        "encoded_size",
        "pad_outward",
        "paste_back",
        "psnr",
    ),
    "pipeline": ("Cascade", "decode_pixels", "encode_text", "preview_pixels", "text_to_image"),
    "files.published": ("command_for",),
    "sampling.condition": ("Condition",),
    "sampling.control": ("Control",),
    "sampling.family": ("check_family",),
    "sampling.latents": ("LARGEST", "SMALLEST", "decoded_size", "encode_size", "stage_b_size", "stage_c_size"),
    "sampling.samplers": ("SAMPLERS",),
    "sampling.stages": ("Step", "sample_stage_b", "sample_stage_c"),
    "builtin": ("built_in",),
    "builtin.faces": ("CartoonFaces",),
    "builtin.pictures": ("BUILT_IN_PICTURES",),
    "training.controlnet": ("ControlNetSettings", "untrained_controlnet"),
    "training.dataset": ("Dataset", "read_dataset"),
    "training.examples": ("TrainingModels",),
    "training.journal": ("CURVE", "CURVE_SIZE"),
    "training.lora": ("LoraSettings", "read_tokens", "untrained_lora"),
    "training.run": ("TrainingRun",),
    "training.samples": ("sample_side",),
    "training.settings": ("TrainingSamples", "TrainingSettings"),
    "training.stages": ("StageBModels",),
    "training.start": ("train_controlnet", "train_lora", "train_stage_b", "train_stage_c"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "BUILT_IN_PICTURES",
    "CELL",
    "CURVE",
    "CURVE_SIZE",
    "EQUAL",
    "FOLDERS",
    "LARGEST",
    "PUBLISHED_FAMILY",
    "SAMPLERS",
    "SMALLEST",
    "CartoonFaces",
    "Cascade",
    "CascadeError",
    "Condition",
    "Control",
    "ControlNetSettings",
    "Dataset",
    "Detector",
    "Handle",
    "Hint",
    "Lora",
    "LoraReport",
    "LoraSettings",
    "OneAtATime",
    "Part",
    "Placement",
    "Resize",
    "StageBModels",
    "Step",
    "TrainingModels",
    "TrainingRun",
    "TrainingSamples",
    "TrainingSettings",
    "apply_control",
    "attach_lora",
    "built_in",
    "check_family",
    "check_matched",
    "command_for",
    "common_batch",
    "decode_pixels",
    "decoded_size",
    "embed_pixels",
    "encode_pixels",
    "encode_size",
    "encode_text",
    "encoded_size",
    "find_part",
    "fuse_lora",
    "identify",
    "insightface_detector",
    "load",
    "make_canny_hint",
    "make_identity_hint",
    "make_inpaint_hint",
    "make_picture_hint",
    "make_super_resolution_hint",
    "name_tokens",
    "named_embeddings",
    "pad_outward",
    "paste_back",
    "preview_pixels",
    "psnr",
    "read_dataset",
    "read_embedding",
    "read_header",
    "read_lora",
    "read_tokens",
    "sample_side",
    "sample_stage_b",
    "sample_stage_c",
    "save",
    "stage_b_size",
    "stage_c_size",
    "text_to_image",
    "train_controlnet",
    "train_lora",
    "train_stage_b",
    "train_stage_c",
    "untrained_controlnet",
    "untrained_lora",
    "with_embeddings",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
