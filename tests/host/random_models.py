"""A models folder of random weights in published layouts: native loaders and ours read the same files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.clip_config import PUBLISHED_TEXT
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import PublishedTokenizer

TEXT_ENCODER, STAGE_C, STAGE_B, STAGE_A, CONTROL = (
    f"{name}.safetensors" for name in ("text_encoder", "narrow_c", "narrow_b", "stage_a", "control_lora")
)
NARROW_C = replace(
    PRESETS["stage_c"]["1B"], c_hidden=(64, 64), nhead=(2, 2), blocks=((1, 2), (2, 1)), c_cond=64, dropout=(0.0, 0.0)
)
NARROW_B = replace(
    PRESETS["stage_b"]["700M"],
    c_hidden=(32, 64, 64, 64),
    nhead=(-1, 2, 2, 2),
    blocks=((1, 1, 1, 1), (1, 1, 1, 1)),
    c_cond=64,
)


def write_models(models: Path, tokenizer: Path) -> None:
    """1.5 GB. The text encoder is of the published size; Stage C and B are narrow, but take its width."""
    for key in ("text_encoders", "diffusion_models", "vae", "controlnet"):
        (models / key).mkdir(parents=True, exist_ok=True)
    save_file(_text_encoder(tokenizer), models / "text_encoders" / TEXT_ENCODER, {"format": "pt"})
    save(models / "diffusion_models" / STAGE_C, alive(StageC, NARROW_C), "stage_c")
    save(models / "diffusion_models" / STAGE_B, alive(StageB, NARROW_B), "stage_b")
    save_file(dict(alive(StageA, PRESETS["stage_a"]["published"]).state_dict()), models / "vae" / STAGE_A)
    # All that ComfyUI asks before it applies one: the tests want to see it refused.
    save_file({"lora_controlnet": torch.zeros(1)}, models / "controlnet" / CONTROL)


def _text_encoder(tokenizer: Path) -> dict[str, Tensor]:
    """Float16, of the magnitudes that CLIP's training starts from; norms and biases count, too."""
    with torch.device("meta"):
        shapes = TextEncoder(PUBLISHED_TEXT, PublishedTokenizer(tokenizer)).state_dict()
    width, layers = PUBLISHED_TEXT.hidden_size, PUBLISHED_TEXT.layers
    generator = torch.Generator().manual_seed(0)

    def draw(name: str, shape: torch.Size) -> Tensor:
        noise = torch.randn(shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            return 1 + 0.1 * noise
        if name.endswith("bias") or "embedding" in name:
            return 0.02 * noise
        into_the_stream = "out_proj" in name or "fc2" in name
        return noise * width**-0.5 * ((2 * layers) ** -0.5 if into_the_stream else 1.0)

    return {name: draw(name, meta.shape).half() for name, meta in shapes.items()}
