"""The memory that is asked for, against the memory that the real modules take: enough, and not twice too much.

Small pictures stand for large ones: what is alive at the peak grows with the pixels. The published networks have their
own widths here; those of their layers that only repeat are left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
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


@pytest.fixture(autouse=True)
def plain_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without oneDNN, whose own layout has no storage to count."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)


def check(network: nn.Module, compute: Callable[[], Any], given: list[Tensor], asked: int) -> None:
    with torch.inference_mode(), PeakBytes([*network.parameters(), *network.buffers(), *given]) as measured:
        compute()
    assert asked / 2 < measured.peak <= asked


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("preset", PRESETS["stage_a"])
def test_stage_a(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    config = PRESETS["stage_a"][preset]
    network = StageA(replace(config, bottleneck_blocks=2, codebook_size=0)).to(dtype).eval()
    asked = activations.stage_a_bytes(config, size, dtype)
    latent = torch.zeros(1, config.c_latent, *size, dtype=dtype)
    check(network, lambda: network.decode(latent), [latent], asked)
    pixels = torch.zeros(1, 3, 4 * size[0], 4 * size[1], dtype=dtype)
    check(network, lambda: network.encode(pixels), [pixels], asked)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("preset", PRESETS["previewer"])
def test_the_previewer(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    config = PRESETS["previewer"][preset]
    network = Previewer(config).to(dtype).eval()
    latent = torch.zeros(2, config.c_latent, *size, dtype=dtype)
    check(network, lambda: network(latent), [latent], activations.previewer_bytes(config, size, 2, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(192, 192), (320, 224)])
@pytest.mark.parametrize("preset", PRESETS["effnet"])
def test_the_effnet(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    network = Effnet(PRESETS["effnet"][preset]).to(dtype).eval()
    pixels = torch.zeros(1, 3, *size, dtype=dtype)
    check(network, lambda: network(pixels), [pixels], activations.effnet_bytes(network.config, size, 1, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(192, 192), (320, 1000)])
@pytest.mark.parametrize("preset", PRESETS["image_encoder"])
def test_the_image_encoder(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    network = ImageEncoder(replace(PRESETS["image_encoder"][preset], layers=2)).to(dtype).eval()
    pixels = torch.zeros(1, 3, *size)
    check(network, lambda: network(pixels), [pixels], activations.image_encoder_bytes(network.config, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(6, 6), (7, 10)])
@pytest.mark.parametrize("preset", sorted(PRESETS["controlnet"].keys() - {"tiny canny"}))  # which takes far less
def test_the_controlnet(preset: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    network = ControlNet(replace(PRESETS["controlnet"][preset], blocks=1)).to(dtype).eval()
    config: ControlNetConfig = network.config
    hint = torch.zeros(2, config.c_in, size[0] * network.cell, size[1] * network.cell, dtype=dtype)
    check(network, lambda: network.project(hint), [hint], activations.controlnet_bytes(config, size, 2, dtype))


def texts() -> Iterator[str]:
    yield "a"
    yield "a (a:1.3)"  # the empty prompt besides
    yield "a " * 500


@pytest.mark.parametrize("text", list(texts()))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("preset", PRESETS["text_encoder"])
def test_the_text_encoder(preset: str, dtype: torch.dtype, text: str) -> None:
    config = replace(PRESETS["text_encoder"][preset], layers=2, vocab_size=100)
    network = TextEncoder(config, WordTokenizer(("a",), config.max_positions)).to(dtype).eval()
    asked = activations.text_bytes(config, network.rows(text), dtype)
    check(network, lambda: network.encode([text]), [], asked)
