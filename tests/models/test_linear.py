"""The two ways to multiply: equal results, and plain torch everywhere else."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive, deviation
from stable_cascade_nodes.cascade_core.models import linear as linear_module
from stable_cascade_nodes.cascade_core.models.attention import attend
from stable_cascade_nodes.cascade_core.models.linear import (
    HALVES,
    Conv2d,
    ConvTranspose2d,
    Linear,
    has_arithmetic,
    linear,
    multiplied,
    packed,
    unpacked,
)


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


@pytest.fixture(params=[False, True], ids=["imitated", "own"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor is one that computes in half precision."""
    monkeypatch.setattr(linear_module, "has_arithmetic", lambda dtype: request.param)
    return request.param


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_that_is_imitated_is_multiplied_in_float32(
    x: Tensor, dtype: torch.dtype, arithmetic: bool
) -> None:
    """Once rounded then; else each library rounds as it does."""
    x = x.to(dtype)
    image = x.permute(0, 3, 1, 2)
    heads = x.flatten(1, 2).unflatten(-1, (4, 10)).transpose(1, 2)
    layers = {
        "linear": (alive(lambda width: Linear(width, 24), 40), x, F.linear),
        "convolution": (alive(lambda width: Conv2d(width, 8, 3), 40), image, F.conv2d),
        "transposed": (alive(lambda width: ConvTranspose2d(width, 8, 2), 40), image, F.conv_transpose2d),
    }
    found: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.inference_mode():
        for name, (built, given, operation) in layers.items():
            layer = built.to(dtype)
            expected = operation(given.float(), layer.weight.float(), layer.bias.float())
            found[name] = layer(given), expected
        expected = F.scaled_dot_product_attention(heads.float(), heads.float(), heads.float())
        found["attention"] = attend(heads, heads, heads), expected
    for name, (own, float32) in found.items():
        assert own.dtype == dtype and deviation(own, float32) < 1e-2, name
        if not arithmetic:
            torch.testing.assert_close(own, float32.to(dtype), rtol=0.01, atol=1e-4, msg=name)
            assert deviation(own, float32.to(dtype)) < 1e-3, name


def test_gradients_of_half_precision_keep_no_copies_of_weights(x: Tensor, arithmetic: bool) -> None:
    given: list[torch.dtype] = []

    def product(x: Tensor, weight: Tensor) -> Tensor:
        given.append(weight.dtype)
        return F.linear(x, weight)

    weight = torch.ones(24, 40, dtype=torch.bfloat16, requires_grad=True)
    multiplied(product, x.bfloat16(), weight)
    with torch.no_grad():
        multiplied(product, x.bfloat16(), weight)
        multiplied(product, x, weight.float())
    assert given == [torch.bfloat16, torch.bfloat16 if arithmetic else torch.float32, torch.float32]


def test_a_processor_says_what_it_computes_in() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        assert has_arithmetic(torch.bfloat16)
    elif "avx2" in flags and "avx512" not in flags:
        assert not has_arithmetic(torch.bfloat16) and not has_arithmetic(torch.float16)


def test_a_torch_that_has_no_word_for_it_is_believed_to_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HALVES, torch.bfloat16, "_no_such_word")
    assert has_arithmetic(torch.bfloat16) == torch.backends.mkldnn.is_available()
