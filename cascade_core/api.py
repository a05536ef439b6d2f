"""Stable Cascade for people who write Python: the names that a script needs, each documented where it is defined.

    from stable_cascade_nodes.cascade_core import api as cascade

Importing this imports torch. docs/python.md shows how the names go together.
"""

from .builtin import built_in
from .errors import CascadeError
from .files.identify import identify
from .files.load import load
from .files.save import save
from .images import encode_pixels
from .lora.attach import attach_lora, fuse_lora
from .lora.read import read_lora
from .models.handle import Handle
from .pipeline import Cascade, decode_pixels, encode_text, preview_pixels, text_to_image
from .sampling.condition import Condition
from .sampling.latent import Latent
from .sampling.settings import SamplerSettings
from .sampling.sizes import stage_b_size, stage_c_size
from .sampling.stages import sample_stage_b, sample_stage_c
from .training.data.dataset import read_dataset
from .training.lora_settings import LoraSettings
from .training.models import TrainingModels
from .training.start import train_lora

__all__ = [
    "Cascade",
    "CascadeError",
    "Condition",
    "Handle",
    "Latent",
    "LoraSettings",
    "SamplerSettings",
    "TrainingModels",
    "attach_lora",
    "built_in",
    "decode_pixels",
    "encode_pixels",
    "encode_text",
    "fuse_lora",
    "identify",
    "load",
    "preview_pixels",
    "read_dataset",
    "read_lora",
    "sample_stage_b",
    "sample_stage_c",
    "save",
    "stage_b_size",
    "stage_c_size",
    "text_to_image",
    "train_lora",
]
