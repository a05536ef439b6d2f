"""What training needs: gradients as diffusers', none of them missing, and a sane start."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.benchmarks.peers import alive, translate, twin
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageAConfig
from stable_cascade_nodes.cascade_core.models.effnet import Effnet
from stable_cascade_nodes.cascade_core.models.previewer import Previewer
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

from . import test_stage_b, test_stage_c

TESTS: dict[str, Any] = {"stage_c": test_stage_c, "stage_b": test_stage_b}
STAGES = pytest.mark.parametrize(("kind", "network"), [("stage_c", StageC), ("stage_b", StageB)])


def compare_gradients(module: nn.Module, other: nn.Module) -> None:
    """A key's bias moves nothing, so its gradient is rounding alone: hence the share of the largest of all."""
    gradients = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    found = translate(gradients, type(module))
    expected = {name: parameter.grad for name, parameter in other.named_parameters() if parameter.grad is not None}
    assert set(found) == set(expected)
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() < 1e-4 * gradient.abs().max() + 1e-6 * largest, name


def round_trip(module: nn.Module) -> Tensor:
    """Stage A's two halves in one graph."""
    assert isinstance(module, StageA)
    return module.decode(module.encode(torch.rand(2, 3, 16, 24)))


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize(
    ("kind", "network", "run"),
    [
        ("stage_c", StageC, lambda module: module(**test_stage_c.inputs(module.config, images=2))),
        ("stage_b", StageB, lambda module: module(**test_stage_b.inputs(module.config), pixels=torch.rand(2, 3, 9, 7))),
        ("stage_a", StageA, round_trip),
        ("effnet", Effnet, lambda module: module(torch.rand(4, 3, 64, 64))),
        ("previewer", Previewer, lambda module: module(torch.randn(2, 16, 3, 4))),
    ],
)
def test_gradients_reach_every_weight(kind: str, network: Any, run: Any, bfloat16: bool) -> None:
    module = alive(network, PRESETS[kind]["tiny"]).requires_grad_(True).train()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        output = run(module)
    (output.float() * torch.randn_like(output, dtype=torch.float32)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@STAGES
def test_gradients_equal_diffusers(kind: str, network: Any) -> None:
    """Sums in place and values shared between steps must not disturb what autograd keeps."""
    tests = TESTS[kind]
    module = alive(network, tests.SMALL)
    given = tests.inputs(tests.SMALL) | ({"pixels": torch.rand(2, 3, 9, 7)} if kind == "stage_b" else {})
    other = copy.deepcopy(twin(module)).requires_grad_(True)
    module.requires_grad_(True)
    weights = torch.randn_like(given["x"])
    (module(**given) * weights).sum().backward()
    (tests.by_diffusers(other, given) * weights).sum().backward()
    compare_gradients(module, other)


def test_gradients_of_stage_a_equal_diffusers() -> None:
    module = alive(StageA, StageAConfig(c_hidden=24, bottleneck_blocks=2, codebook_size=8))
    other = copy.deepcopy(twin(module)).requires_grad_(True)
    module.requires_grad_(True)
    pixels, weights = torch.rand(2, 3, 24, 20), torch.randn(2, 3, 24, 20)
    (module.decode(module.encode(pixels)) * weights).sum().backward()
    (other.decode(other.encode(pixels).latents).sample * weights).sum().backward()
    compare_gradients(module, other)


@STAGES
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_a_fresh_network_predicts_nothing_and_ignores_the_time(kind: str, network: Any, preset: str) -> None:
    """As officially: the last convolution and the timestep mappers start at zero, everything else does not."""
    tests = TESTS[kind]
    config = PRESETS[kind]["tiny"] if preset == "tiny" else tests.SMALL
    torch.manual_seed(0)
    module = network(config)
    module.initialise()
    assert not module(**tests.inputs(config)).any()
    for name, parameter in module.named_parameters():
        zero = name == "clf.1.weight" or name.endswith(("bias", "gamma", "beta")) or ".mapper" in name
        assert parameter.any() != zero or "scaler" in name, name
    for rows in module.modulate(torch.rand(3)):
        factors, shifts = rows.chunk(2, dim=-1)
        assert (factors == 1).all() and not shifts.any()


@STAGES
def test_initial_sizes(kind: str, network: Any) -> None:
    """Xavier's bound, 0.02 for what brings conditions in, and the last layers by the number of residual blocks."""
    tests = TESTS[kind]
    torch.manual_seed(0)
    module = network(tests.SMALL)
    module.initialise()
    first, last = (module.get_parameter(f"down_blocks.0.0.channelwise.{i}.weight") for i in (0, 4))
    bound = (6 / sum(first.shape)) ** 0.5
    assert 0.9 * bound < first.abs().max() <= bound
    bound /= sum(tests.SMALL.blocks[0]) ** 0.5
    assert 0.9 * bound < last.abs().max() <= bound
    mapper = {"stage_c": "clip_txt_pooled_mapper", "stage_b": "effnet_mapper.0"}[kind]
    assert module.get_parameter(f"{mapper}.weight").std().item() == pytest.approx(0.02, rel=0.2)
