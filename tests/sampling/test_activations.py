"""The memory that is asked for, against the memory that the real modules take: enough, and not twice too much.

Small pictures stand for large ones: what is alive at the peak grows with the pixels. The published networks have their
own widths here; those of their layers that only repeat are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.models.config import PRESETS, ControlNetConfig
from stable_cascade_nodes.cascade_core.models.controlnet import ControlNet
from stable_cascade_nodes.cascade_core.models.effnet import Effnet
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.text import TextEncoder
from stable_cascade_nodes.cascade_core.models.tokenizer import WordTokenizer
from stable_cascade_nodes.cascade_core.models.vision import ImageEncoder
from stable_cascade_nodes.cascade_core.sampling import activations

from .peak import PeakBytes

DTYPES = [torch.float32, torch.bfloat16]
SIZES = [(8, 8), (24, 10), (32, 40)]


TEXTS = ["a", "a (a:1.3)", "a " * 500]  # the second needs the empty prompt besides


def cases(kind: str, sizes: Sequence[Any], name: str = "size", leave: str = "") -> Any:
    """Every preset, size and type; at the published widths all are slow but the first size in float32."""
    found: list[Any] = []
    for preset, size, dtype in product(PRESETS[kind], sizes, DTYPES):
        slow = not preset.startswith("tiny") and (size, dtype) != (sizes[0], torch.float32)
        if preset != leave:
            found.append(pytest.param(preset, size, dtype, marks=[pytest.mark.slow] if slow else []))
    return pytest.mark.parametrize(("preset", name, "dtype"), found)


pytestmark = pytest.mark.usefixtures("half_precision")


@pytest.fixture(autouse=True)
def plain_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without oneDNN, whose own layout has no storage to count."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)


def check(network: nn.Module, compute: Callable[[], Any], given: list[Tensor], asked: int) -> None:
    with torch.inference_mode(), PeakBytes([*network.parameters(), *network.buffers(), *given]) as measured:
        compute()
    assert asked / 2 < measured.peak <= asked


@cases("stage_a", SIZES)
def test_stage_a(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    config = PRESETS["stage_a"][preset]
    network = StageA(replace(config, bottleneck_blocks=2, codebook_size=0)).to(dtype).eval()
    asked = activations.stage_a_bytes(config, size, dtype)
    latent = torch.zeros(1, config.c_latent, *size, dtype=dtype)
    check(network, lambda: network.decode(latent), [latent], asked)
    pixels = torch.zeros(1, 3, 4 * size[0], 4 * size[1], dtype=dtype)
    check(network, lambda: network.encode(pixels), [pixels], asked)


@cases("previewer", SIZES)
def test_the_previewer(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    config = PRESETS["previewer"][preset]
    network = Previewer(config).to(dtype).eval()
    latent = torch.zeros(2, config.c_latent, *size, dtype=dtype)
    check(network, lambda: network(latent), [latent], activations.previewer_bytes(config, size, 2, dtype))


@cases("effnet", [(192, 192), (320, 224)])
def test_the_effnet(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    network = Effnet(PRESETS["effnet"][preset]).to(dtype).eval()
    pixels = torch.zeros(1, 3, *size, dtype=dtype)
    check(network, lambda: network(pixels), [pixels], activations.effnet_bytes(network.config, size, 1, dtype))


@cases("image_encoder", [(192, 192), (320, 1000)])
def test_the_image_encoder(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    network = ImageEncoder(replace(PRESETS["image_encoder"][preset], layers=2)).to(dtype).eval()
    pixels = torch.zeros(1, 3, *size)
    check(network, lambda: network(pixels), [pixels], activations.image_encoder_bytes(network.config, dtype))


@cases("controlnet", [(6, 6), (7, 10)], leave="tiny canny")  # which takes far less
def test_the_controlnet(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    network = ControlNet(replace(PRESETS["controlnet"][preset], blocks=1)).to(dtype).eval()
    config: ControlNetConfig = network.config
    hint = torch.zeros(2, config.c_in, size[0] * network.cell, size[1] * network.cell, dtype=dtype)
    check(network, lambda: network.project(hint), [hint], activations.controlnet_bytes(config, size, 2, dtype))


@cases("text_encoder", TEXTS, "text")
def test_the_text_encoder(preset: str, text: str, dtype: torch.dtype) -> None:
    config = replace(PRESETS["text_encoder"][preset], layers=2, vocab_size=100)
    network = TextEncoder(config, WordTokenizer(("a",), config.max_positions)).to(dtype).eval()
    asked = activations.text_bytes(config, network.rows(text), dtype)
    check(network, lambda: network.encode([text]), [], asked)
