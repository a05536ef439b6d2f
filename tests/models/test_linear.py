"""The two ways to multiply: equal results, and plain torch everywhere else."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive, deviation
from stable_cascade_nodes.cascade_core.models import linear as linear_module
from stable_cascade_nodes.cascade_core.models.linear import Linear, linear, packed, unpacked


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 40, 5, 7).permute(0, 2, 3, 1)  # not contiguous, as after a convolution


def test_results_equal_torch(x: Tensor) -> None:
    layer = alive(lambda width: Linear(width, 24), 40)
    expected = F.linear(x, layer.weight, layer.bias)
    with torch.inference_mode():
        found = layer(x)
        assert found.is_contiguous()
        assert deviation(found, expected) < 1e-6
        assert deviation(linear(x, layer.weight, None), F.linear(x, layer.weight)) < 1e-6
        assert deviation(unpacked(F.gelu(packed(x))), F.gelu(x)) < 1e-6


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
@pytest.mark.parametrize("fast", [False, True], ids=["AMD", "Intel"])
def test_float32_inference_goes_through_onednn_except_on_intel(
    x: Tensor, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear_module, "_has_fast_mkl", lambda: fast)
    with torch.no_grad():
        assert packed(x).is_mkldnn is not fast


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
@pytest.mark.parametrize(
    ("vendor", "capability", "fast"),
    [("GenuineIntel", "AVX512", True), ("AuthenticAMD", "AVX512", False), ("AuthenticAMD", "AVX2", True)],
)
def test_the_processor_is_told_by_its_maker_and_its_width(
    vendor: str, capability: str, fast: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: some\n")
    monkeypatch.setattr(linear_module, "open", lambda *_, **how: file.open(**how), raising=False)
    linear_module._has_fast_mkl.cache_clear()
    assert linear_module._has_fast_mkl() is fast
    linear_module._has_fast_mkl.cache_clear()


@pytest.mark.parametrize(
    ("dtype", "situation"),
    [
        (torch.float32, nullcontext()),
        (torch.bfloat16, torch.no_grad()),
        (torch.float64, torch.no_grad()),
    ],
    ids=["gradients", "bfloat16", "float64"],
)
def test_everything_else_is_left_to_torch(
    x: Tensor, dtype: torch.dtype, situation: AbstractContextManager[object]
) -> None:
    x = x.to(dtype)
    with situation:
        assert packed(x) is x
        assert unpacked(x) is x


def test_autocast_without_gradients_is_left_to_torch(x: Tensor) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert alive(lambda width: Linear(width, 24), 40)(x).dtype == torch.bfloat16
