"""Stable Cascade without ComfyUI: models, sampling and pictures.

This is the public face, and all that nodes and the command use. Names are imported when they are first asked for, so
that the pack's import brings neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import load, save
    from .errors import CascadeError
    from .formats.header import read_header
    from .formats.identify import FOLDERS, Part, find_part, identify
    from .formats.metadata import PUBLISHED_FAMILY
    from .memory import OneAtATime, Placement
    from .models.handle import Handle
    from .pipeline import Cascade, decode_pixels, encode_text, preview_pixels, text_to_image
    from .published import command_for
    from .sampling.condition import Condition
    from .sampling.family import check_family
    from .sampling.latents import LARGEST, SMALLEST, decoded_size, encode_size, stage_b_size, stage_c_size
    from .sampling.samplers import SAMPLERS
    from .sampling.stages import Step, sample_stage_b, sample_stage_c
    from .tiny import built_in
    from .tiny.draw import draw
    from .tiny.pictures import BUILT_IN_PICTURES

_HOME = {
    "checkpoint": ("load", "save"),
    "errors": ("CascadeError",),
    "formats.header": ("read_header",),
    "formats.identify": ("FOLDERS", "Part", "find_part", "identify"),
    "formats.metadata": ("PUBLISHED_FAMILY",),
    "memory": ("OneAtATime", "Placement"),
    "models.handle": ("Handle",),
    "pipeline": ("Cascade", "decode_pixels", "encode_text", "preview_pixels", "text_to_image"),
    "published": ("command_for",),
    "sampling.condition": ("Condition",),
    "sampling.family": ("check_family",),
    "sampling.latents": ("LARGEST", "SMALLEST", "decoded_size", "encode_size", "stage_b_size", "stage_c_size"),
    "sampling.samplers": ("SAMPLERS",),
    "sampling.stages": ("Step", "sample_stage_b", "sample_stage_c"),
    "tiny": ("built_in",),
    "tiny.pictures": ("BUILT_IN_PICTURES",),
    "tiny.draw": ("draw",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "BUILT_IN_PICTURES",
    "FOLDERS",
    "LARGEST",
    "PUBLISHED_FAMILY",
    "SAMPLERS",
    "SMALLEST",
    "Cascade",
    "CascadeError",
    "Condition",
    "Handle",
    "OneAtATime",
    "Part",
    "Placement",
    "Step",
    "built_in",
    "check_family",
    "command_for",
    "decode_pixels",
    "decoded_size",
    "draw",
    "encode_size",
    "encode_text",
    "find_part",
    "identify",
    "load",
    "preview_pixels",
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
