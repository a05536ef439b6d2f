"""Stable Cascade without ComfyUI: models, sampling and pictures.

This is the public face, and all that nodes and the command use. Names are imported when they are first asked for, so
that the pack's import brings neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import load, save
    from .errors import CascadeError
    from .faces import insightface_detector
    from .formats.header import read_header
    from .formats.identify import FOLDERS, find_part, identify
    from .formats.metadata import PUBLISHED_FAMILY
    from .formats.part import Part
    from .hints import (
        Detector,
        Hint,
        apply_control,
        make_canny_hint,
        make_identity_hint,
        make_inpaint_hint,
        make_super_resolution_hint,
    )
    from .memory import OneAtATime, Placement
    from .models.handle import Handle
    from .pictures import (
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
    from .pipeline import Cascade, decode_pixels, encode_text, preview_pixels, text_to_image
    from .published import command_for
    from .sampling.condition import Condition
    from .sampling.control import Control
    from .sampling.family import check_family
    from .sampling.latents import LARGEST, SMALLEST, decoded_size, encode_size, stage_b_size, stage_c_size
    from .sampling.samplers import SAMPLERS
    from .sampling.stages import Step, sample_stage_b, sample_stage_c
    from .tiny import built_in
    from .tiny.faces import CartoonFaces
    from .tiny.pictures import BUILT_IN_PICTURES

_HOME = {
    "checkpoint": ("load", "save"),
    "errors": ("CascadeError",),
    "faces": ("insightface_detector",),
    "formats.header": ("read_header",),
    "formats.identify": ("FOLDERS", "find_part", "identify"),
    "formats.part": ("Part",),
    "formats.metadata": ("PUBLISHED_FAMILY",),
    "hints": (
        "Detector",
        "Hint",
        "apply_control",
        "make_canny_hint",
        "make_identity_hint",
        "make_inpaint_hint",
        "make_super_resolution_hint",
    ),
    "memory": ("OneAtATime", "Placement"),
    "models.handle": ("Handle",),
    "pictures": (
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
    "published": ("command_for",),
    "sampling.condition": ("Condition",),
    "sampling.control": ("Control",),
    "sampling.family": ("check_family",),
    "sampling.latents": ("LARGEST", "SMALLEST", "decoded_size", "encode_size", "stage_b_size", "stage_c_size"),
    "sampling.samplers": ("SAMPLERS",),
    "sampling.stages": ("Step", "sample_stage_b", "sample_stage_c"),
    "tiny": ("built_in",),
    "tiny.faces": ("CartoonFaces",),
    "tiny.pictures": ("BUILT_IN_PICTURES",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "BUILT_IN_PICTURES",
    "CELL",
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
    "Detector",
    "Handle",
    "Hint",
    "OneAtATime",
    "Part",
    "Placement",
    "Resize",
    "Step",
    "apply_control",
    "built_in",
    "check_family",
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
    "identify",
    "insightface_detector",
    "load",
    "make_canny_hint",
    "make_identity_hint",
    "make_inpaint_hint",
    "make_super_resolution_hint",
    "pad_outward",
    "paste_back",
    "preview_pixels",
    "psnr",
    "read_header",
    "sample_stage_b",
    "sample_stage_c",
    "save",
    "stage_b_size",
    "stage_c_size",
    "text_to_image",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
