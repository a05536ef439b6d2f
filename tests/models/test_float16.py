"""Stage C and B in float16, whose stream is carried at a power of two: exact in float32, finite where peers are not.

The networks' residual stream is rigged to be as loud as 4e6 and 2e8, which float16 (65504) and so diffusers' networks
cannot hold.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.benchmarks.peers import alive, twin
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.files.save import save
from stable_cascade_nodes.cascade_core.models.adapters import Branch, Dense, LowRank, adapted, replaced
from stable_cascade_nodes.cascade_core.models.blocks import Block
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

from . import test_stage_b, test_stage_c

NETWORKS: dict[str, tuple[Any, Any]] = {"stage_c": (StageC, test_stage_c), "stage_b": (StageB, test_stage_b)}
KIND = pytest.mark.parametrize("kind", NETWORKS)
LOUD = {  # the blocks that make it loud: of the last group, as in the published Stage C, and where a skip begins
    "stage_c": ("up_blocks.1.0", "up_blocks.1.3"),
    "stage_b": ("up_blocks.3.0", "up_blocks.2.2", "down_blocks.0.0"),
}
LOW = 2.0**-12


def inputs(kind: str, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    tests = NETWORKS[kind][1]
    given: Mapping[str, Any] = tests.inputs(tests.SMALL)
    if kind == "stage_c":
        given = {**given, "control": [torch.randn(1, 32, 6, 10), None, torch.randn(2, 48, 3, 4)]}
    return {name: _cast(value, dtype) if name != "r" else value for name, value in given.items()}


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, list):
        return [None if one is None else one.to(dtype) for one in value]
    return value.to(dtype)


def stream(module: nn.Module, given: Mapping[str, Any]) -> tuple[float, Tensor]:
    """The stream's largest value, and the prediction."""
    peaks: list[float] = []
    blocks = [block for block in module.modules() if isinstance(block, Block)]
    hooks = [block.register_forward_hook(lambda _, __, out: peaks.append(float(out.abs().max()))) for block in blocks]
    out = module(**given)
    for hook in hooks:
        hook.remove()
    return max(peaks), out


def rigged(kind: str, loudness: float) -> Any:
    """A network in float32 whose stream is as loud as this, with weights that are numbers of float16."""
    network, tests = NETWORKS[kind]
    module = alive(network, tests.SMALL)
    for name in LOUD[kind]:
        module.get_submodule(name).get_parameter("channelwise.0.weight").mul_(64)
    for _ in range(10):  # where a skip carries it on, it grows with the square
        peak, _ = stream(module, inputs(kind))
        for name in LOUD[kind]:
            module.get_submodule(name).get_parameter("channelwise.4.weight").mul_((loudness / peak) ** 0.5)
    assert loudness / 2 < stream(module, inputs(kind))[0] < 2 * loudness
    assert all(float(parameter.abs().max()) < 65504 for parameter in module.parameters())
    return module.half().float()  # its weights are those of a float16 file, so that what differs is arithmetic


def error(found: Tensor, expected: Tensor) -> float:
    """Relative, root mean square."""
    return float((found.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt())


def diffusers(kind: str, module: Any, given: Mapping[str, Any]) -> Tensor:
    tests = NETWORKS[kind][1]
    return tests.by_diffusers(
        twin(module),
        {name: value for name, value in given.items() if name != "control"} | {"r": given["r"].to(given["x"])},
    )


@torch.inference_mode()
@pytest.mark.parametrize("loudness", [4e6, 2e8])
@KIND
def test_loud_streams_are_near_float32_where_peers_overflow(kind: str, loudness: float) -> None:
    module = rigged(kind, loudness)
    expected = module(**inputs(kind))
    half = deepcopy(module).half()
    assert diffusers(kind, half, inputs(kind, torch.float16)).isnan().any()
    found = half(**inputs(kind, torch.float16))
    assert found.dtype == torch.float16
    assert error(found, expected) < 3e-3
    rounded = deepcopy(module).bfloat16()(**inputs(kind, torch.bfloat16))
    assert error(found, expected) < error(rounded, expected) / 2


@torch.inference_mode()
@pytest.mark.parametrize("loudness", [None, 4e6, 2e8])
@KIND
def test_in_float32_a_scale_changes_no_bit(kind: str, loudness: float | None) -> None:
    network, tests = NETWORKS[kind]
    module = alive(network, tests.SMALL) if loudness is None else rigged(kind, loudness)
    expected = module(**inputs(kind))
    for scale in (2.0**-4, LOW, 2.0**-16):
        module.scale = scale
        assert torch.equal(module(**inputs(kind)), expected)
        assert stream(module, inputs(kind))[0] < (loudness or 2e3) * 2 * scale


@torch.inference_mode()
@pytest.mark.parametrize("preset", ["tiny", "levels of half the size", "three levels, one without attention"])
def test_other_shapes_of_stage_c_change_no_bit(preset: str) -> None:
    config = test_stage_c.CONFIGS[preset]
    module, given = alive(StageC, config), test_stage_c.inputs(config)
    expected = module(**given)
    module.scale = LOW
    assert torch.equal(module(**given), expected)


@torch.inference_mode()
@KIND
def test_the_probe_chooses_by_the_stream_and_once(kind: str) -> None:
    """As large as there is room: a quiet stream is left as it is."""
    scales: dict[float, float] = {}
    for loudness in (1e3, 4e6, 2e8):
        half = rigged(kind, loudness).half()
        assert half.scale is None
        half.modulate(torch.rand(2))
        scales[loudness] = float(half.scale or 0)
        peak, _ = stream(half, inputs(kind, torch.float16))
        assert peak < 65504 / 4
        half.scale = scales[loudness] / 2
        half.modulate(torch.rand(2))
        assert half.scale == scales[loudness] / 2
    assert scales[1e3] == 1 > scales[4e6] > scales[2e8] >= 2.0**-16
    assert alive(*_quiet(kind)).scale is None


def _quiet(kind: str) -> tuple[Callable[[Any], Any], Any]:
    network, tests = NETWORKS[kind]
    return network, tests.SMALL


@torch.inference_mode()
@KIND
def test_a_lora_of_every_kind_of_weight_has_the_scale(kind: str) -> None:
    """Low rank beside linear layers, attention and convolutions, a changed bias; in float32 to the last bit."""
    module = alive(*_quiet(kind))
    names = [
        "up_blocks.1.0.channelwise.0.weight",  # which reads a skip
        "up_blocks.1.0.channelwise.4.weight",
        "up_blocks.1.0.depthwise.weight",
        "up_blocks.0.2.attention.attn.in_proj_weight",
        "up_blocks.0.2.attention.attn.out_proj.weight",
        "up_blocks.0.1.mapper.weight",
        "up_upscalers.0.1.weight" if kind == "stage_b" else "up_upscalers.0.1.blocks.1.weight",
    ]
    names += ["up_repeat_mappers.0.0.weight"] if kind == "stage_b" else []
    torch.manual_seed(0)
    branches: dict[str, list[Branch]] = {}
    for name in names:
        out, inner, *_ = module.get_parameter(name).shape
        branches[name] = [LowRank(0.3 * torch.randn(2, inner), torch.randn(out, 2), 0.5)]
    bias = "up_blocks.1.0.channelwise.4.bias"
    with_lora: Any = replaced(adapted(module, branches), {bias: [Dense(torch.randn_like(module.get_parameter(bias)))]})
    expected = with_lora(**inputs(kind))
    assert error(module(**inputs(kind)), expected) > 1e-2
    with_lora.scale = LOW
    assert torch.equal(with_lora(**inputs(kind)), expected)


@KIND
def test_gradients_have_no_scale(kind: str) -> None:
    """The weights are the checkpoint's own, so that training is what it is without."""
    module = alive(*_quiet(kind)).requires_grad_(True)
    found: list[dict[str, Tensor]] = []
    for scale in (None, LOW):
        module.scale = scale
        module.zero_grad()
        module(**inputs(kind)).square().mean().backward()
        found.append({name: parameter.grad.clone() for name, parameter in module.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-9, msg=name)


@KIND
def test_a_file_keeps_the_official_numbers(kind: str, tmp_path: Path) -> None:
    """From float32 to float16 in memory, used, and back to a file: the float16 of what was there."""
    module = rigged(kind, 4e6)
    save(tmp_path / "model.safetensors", module, kind, family="narrow")
    handle = load(kind, tmp_path / "model.safetensors", dtype="float16")
    with torch.inference_mode():
        assert handle.module(**inputs(kind, torch.float16)).isfinite().all()
    assert handle.module.scale < 1
    save(tmp_path / "again.safetensors", handle.module, kind, family="narrow")
    again = load(kind, tmp_path / "again.safetensors", dtype="float32").module.state_dict()
    for name, tensor in module.state_dict().items():
        assert torch.equal(again[name], tensor.half().float()), name


def test_controls_have_the_scale() -> None:
    module = alive(*_quiet("stage_c"))
    with_control, without = inputs("stage_c"), inputs("stage_c") | {"control": ()}
    module.scale = LOW
    scaled = module(**with_control)
    assert error(module(**without), scaled) > 1e-2
    module.scale = None
    assert torch.equal(module(**with_control), scaled)
