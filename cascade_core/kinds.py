"""The kinds of models: one record each, from which messages, loaders, sockets and `load` take what they need to know.

A new kind is a record here, its network in models/, its sizes in PRESETS of models/config.py, and a row in
files/signatures.py for files whose metadata does not say what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

STAGE_C_CHANNELS, STAGE_B_CHANNELS = 16, 4  # channels of the latents
STAGE_A_SCALE = 0.43  # Stage A space / model space
FACE_DETECTORS = ("tiny (built-in)", "insightface")
DTYPE_NAMES = ("float32", "bfloat16", "float16")  # the types of weights that networks compute with
LARGE_KINDS = ("stage_c", "stage_b")
QUANTISED_NAMES = ("int8", "fp8", "int4")  # what large weights of Stage B and C are kept as, whatever they compute with
COMPILE_NAMES = ("off", "blocks", "graphs")  # what models/compiling.py does with an evaluation of Stage C or B


@dataclass(frozen=True)
class Kind:
    """One kind of model."""

    id: str  # its name in metadata, in handles, and as a node's input or output
    name: str  # its name for people, within a sentence
    folders: tuple[str, ...]  # ComfyUI's folder keys where a loader looks, in this order
    network: str = ""  # "module:Class" below models/; empty for what is no network of its own
    diffusers_folder: str = ""  # its folder in a pipeline; empty where diffusers and transformers have no class for it
    gpu_dtypes: tuple[str, str] = ("float32", "float32")  # "auto" on a GPU, and on one that computes in no bfloat16

    @property
    def socket(self) -> str:
        """The type of the wires that carry it."""
        return f"CASCADE_{self.id.upper()}"

    def network_class(self) -> type[nn.Module]:
        """The class of its network; imported when asked for, since no run needs all of them."""
        module, name = self.network.split(":")
        return getattr(import_module(f".models.{module}", __package__), name)


_DIFFUSION_FOLDERS = ("diffusion_models", "checkpoints", "diffusers")
KINDS = {
    kind.id: kind
    for kind in (
        Kind("stage_c", "Stage C", _DIFFUSION_FOLDERS, "stage_c:StageC", "prior", ("bfloat16", "float16")),
        Kind("stage_b", "Stage B", _DIFFUSION_FOLDERS, "stage_b:StageB", "decoder", ("bfloat16", "float16")),
        Kind("stage_a", "Stage A", ("vae", "checkpoints", "diffusers"), "stage_a:StageA", "vqgan"),
        Kind("effnet", "effnet", ("vae", "checkpoints"), "effnet:Effnet"),
        Kind("previewer", "previewer", ("vae", "checkpoints"), "previewer:Previewer"),
        Kind(
            "text_encoder",
            "text encoder",
            ("text_encoders", "checkpoints", "diffusers"),
            "text:TextEncoder",
            "text_encoder",
        ),
        Kind(
            "image_encoder",
            "image encoder",
            ("clip_vision", "checkpoints", "diffusers"),
            "vision:ImageEncoder",
            "image_encoder",
        ),
        Kind("controlnet", "ControlNet", ("controlnet",), "controlnet:ControlNet"),
        Kind("lora", "LoRA", ("loras",)),
    )
}
