"""A models folder with small untrained parts, and a headless host that every test finds as new, on the processor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_cascade_nodes.cascade_core.files import load as checkpoint
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.kinds import KINDS
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.controlnet import ControlNet
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import WordTokenizer
from stable_cascade_nodes.runtime import host

WORDS = ("a", "red", "circle")
FOLDERS = {
    "stage_c": "diffusion_models",
    "stage_b": "diffusion_models",
    "stage_a": "vae",
    "effnet": "vae",
    "previewer": "vae",
    "text_encoder": "text_encoders",
    "image_encoder": "clip_vision",
}
MODES = ("canny", "inpainting", "super_resolution", "identity")


def build(kind: str) -> Any:
    torch.manual_seed(0)
    config = PRESETS[kind]["tiny"]
    if kind == "text_encoder":
        return TextEncoder(config, WordTokenizer(WORDS, config.max_positions))
    return KINDS[kind].network_class()(config)


def build_controlnet(mode: str) -> ControlNet:
    """One that steers: a new one's last convolutions are zeros."""
    torch.manual_seed(0)
    network = ControlNet(PRESETS["controlnet"][f"tiny {mode}"])
    for projection in network.projections:
        torch.nn.init.normal_(projection[2].weight, std=0.1)
    return network


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`<kind>.safetensors` of every part, each in the folder where people put it."""
    folder = tmp_path_factory.mktemp("base") / "models"
    for kind, place in FOLDERS.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        words = WORDS if kind == "text_encoder" else None
        file = folder / place / f"{kind}.safetensors"
        save(file, build(kind), kind, family="tiny", target="v", x0_clamp=3.0, vocabulary=words)
    (folder / "controlnet").mkdir()
    for mode in MODES:
        file = folder / "controlnet" / f"{mode}.safetensors"
        save(file, build_controlnet(mode), "controlnet", family="tiny")
    return folder


@pytest.fixture(autouse=True)
def on_the_processor(new_program: Path) -> None:
    host.configure(device="cpu")


@pytest.fixture(scope="session")
def part(models: Path) -> Callable[[str], Handle]:
    """A loaded part by its kind, or a ControlNet by its mode."""
    loaded: dict[str, Handle] = {}

    def load(kind: str) -> Handle:
        if kind not in loaded:
            folder, of_kind = ("controlnet", "controlnet") if kind in MODES else (FOLDERS[kind], kind)
            loaded[kind] = checkpoint.load(of_kind, models / folder / f"{kind}.safetensors")
        return loaded[kind]

    return load
