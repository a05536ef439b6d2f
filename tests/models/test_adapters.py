"""Branches beside weights: what they compute, and that the network they stand beside never changes.

Run: pytest tests/models/test_adapters.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.models.adapters import (
    AdaptedConvTranspose2d,
    Dense,
    LowRank,
    adaptable,
    adapted,
    merged,
)
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

RANK = 3


def stage_c() -> StageC:
    torch.manual_seed(0)
    module = StageC(PRESETS["stage_c"]["tiny"])
    randomize(module)
    return module.eval().requires_grad_(False)


def stage_b() -> StageB:
    torch.manual_seed(0)
    module = StageB(replace(PRESETS["stage_b"]["tiny"], patch_size=2))
    randomize(module)
    return module.eval().requires_grad_(False)


def randomize(module: nn.Module) -> None:
    """Every branch of the network matters."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.05)


def run_c(module: nn.Module) -> Tensor:
    torch.manual_seed(1)
    config = PRESETS["stage_c"]["tiny"]
    text, pooled = torch.randn(2, 7, config.c_clip_text), torch.randn(2, config.c_clip_text_pooled)
    return module(torch.randn(2, 16, 5, 6), torch.rand(2), text, pooled, torch.randn(2, 1, config.c_clip_img))


def run_b(module: nn.Module) -> Tensor:
    torch.manual_seed(1)
    width = PRESETS["stage_b"]["tiny"].c_clip
    return module(torch.randn(1, 4, 16, 24), torch.rand(1), torch.randn(1, 16, 3, 4), torch.randn(1, width))


def branch_for(weight: Tensor) -> LowRank:
    out, *rest = weight.shape
    return LowRank(torch.randn(RANK, *rest) / 20, torch.randn(out, RANK), 0.7)


def with_weights(module: nn.Module, changes: dict[str, list[LowRank | Dense]]) -> nn.Module:
    """The plain way: the weights themselves changed, in a copy."""
    plain = type(module)(module.config)  # type: ignore[call-arg]
    weights = dict(module.state_dict())
    weights |= {name: merged(weights[name], branches) for name, branches in changes.items()}
    plain.load_state_dict(weights)
    return plain.eval()


@pytest.mark.parametrize(("make", "run"), [(stage_c, run_c), (stage_b, run_b)])
@pytest.mark.parametrize("grad", [False, True])
def test_equals_the_changed_weights_everywhere(
    make: Callable[[], nn.Module], run: Callable[[nn.Module], Tensor], grad: bool
) -> None:
    module = make()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.manual_seed(2)
    changes = {name: [branch_for(weight)] for name, weight in adaptable(module).items()}
    assert any("in_proj" in name for name in changes) and any("depthwise" in name for name in changes)
    with torch.set_grad_enabled(grad):
        found, plain, base = run(adapted(module, changes)), run(with_weights(module, changes)), run(module)
    assert (found - plain).abs().max() < 2e-5 * plain.abs().max()
    assert (base - plain).abs().max() > 1e-2 * plain.abs().max()  # the branches do something
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_each_weight_alone() -> None:
    """No weight is left out or acts elsewhere: a branch on each one gives what that changed weight gives."""
    module = stage_c()
    base = run_c(module)
    for name, weight in adaptable(module).items():
        torch.manual_seed(3)
        change = {name: [branch_for(weight)]}
        found, plain = run_c(adapted(module, change)), run_c(with_weights(module, change))
        assert (found - plain).abs().max() < 1e-5 * base.abs().max(), name
        assert not torch.equal(found, base), name


def test_some_rows_only() -> None:
    module = stage_c()
    name = next(name for name in adaptable(module) if name.endswith("in_proj_weight"))
    width = adaptable(module)[name].shape[1]
    torch.manual_seed(4)
    branches: list[LowRank | Dense] = [
        LowRank(torch.randn(RANK, width) / 5, torch.randn(width, RANK), 1.0, (i * width, (i + 1) * width))
        for i in range(3)
    ]
    branches.append(Dense(torch.randn(width, width) / 20, (width, 2 * width)))
    found, plain = run_c(adapted(module, {name: branches})), run_c(with_weights(module, {name: branches}))
    assert (found - plain).abs().max() < 1e-5 * plain.abs().max()


def test_a_kernel_that_is_changed_alike() -> None:
    """A change without height and width, as the official code has for convolutions."""
    convolution = nn.Conv2d(4, 6, 3, padding=1)
    holder = nn.Sequential(convolution)
    branch = LowRank(torch.randn(2, 4), torch.randn(6, 2))
    x = torch.randn(1, 4, 5, 5)
    wanted = nn.functional.conv2d(
        x, convolution.weight + (branch.up @ branch.down)[..., None, None], convolution.bias, padding=1
    )
    assert torch.allclose(adapted(holder, {"0.weight": [branch]})(x), wanted, atol=1e-5)


def test_transposed_convolution() -> None:
    holder = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, stride=2))
    branch = LowRank(torch.randn(2, 6, 2, 2), torch.randn(4, 2))
    twin = adapted(holder, {"0.weight": [branch]})
    assert isinstance(twin[0], AdaptedConvTranspose2d)  # type: ignore[index]
    x = torch.randn(1, 4, 3, 3)
    weight = merged(holder[0].weight, [branch])  # type: ignore[arg-type]
    assert torch.allclose(twin(x), nn.functional.conv_transpose2d(x, weight, holder[0].bias, stride=2), atol=1e-5)  # type: ignore[arg-type]


def test_they_add_up_and_share_the_weights() -> None:
    module = stage_c()
    name = "up_blocks.0.0.channelwise.0.weight"
    first, second = branch_for(adaptable(module)[name]), branch_for(adaptable(module)[name])
    once = adapted(module, {name: [first]})
    twice = adapted(once, {name: [second]})
    assert torch.allclose(run_c(twice), run_c(with_weights(module, {name: [first, second]})), atol=1e-4)
    assert torch.allclose(run_c(once), run_c(with_weights(module, {name: [first]})), atol=1e-4)
    own = dict(module.named_parameters())
    for path, parameter in twice.named_parameters():
        assert "branches" in path or parameter is own[path]


def test_what_moves_the_network_moves_both() -> None:
    module = stage_c()
    twin = adapted(module, {"clf.1.weight": [branch_for(adaptable(module)["clf.1.weight"])]})
    module.to(torch.float64)
    assert twin.get_parameter("clf.1.weight").dtype == torch.float64


def test_only_branches_are_trained() -> None:
    module = stage_c()
    name = "down_blocks.0.2.attention.attn.in_proj_weight"
    weight = adaptable(module)[name]
    branch = LowRank(torch.randn(RANK, weight.shape[1]), torch.zeros(weight.shape[0], RANK)).requires_grad_(True)
    run_c(adapted(module, {name: [branch]})).square().sum().backward()
    assert branch.up.grad is not None and branch.up.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in module.parameters())


def test_half_precision_weights_keep_small_changes() -> None:
    """Added to a bfloat16 weight, a change below its last digit would be lost."""
    linear = nn.Sequential(nn.Linear(64, 64, bias=False)).to(torch.bfloat16)
    nn.init.ones_(linear[0].weight)
    x = torch.cat([torch.ones(1, 32), -torch.ones(1, 32)], dim=1).to(torch.bfloat16)
    branch = LowRank(x.float() * 1e-3, torch.ones(64, 1))
    change = adapted(linear, {"0.weight": [branch]})(x).float() - linear(x).float()
    assert torch.equal(merged(linear[0].weight, [branch]), linear[0].weight)
    assert change.abs().min() > 0.01


def test_an_unknown_weight() -> None:
    with pytest.raises(KeyError, match=r"clf\.1\.bias"):
        adapted(stage_c(), {"clf.1.bias": []})
