"""DoRA in training: the weight and the gradients that PEFT has, and a file that means what was trained.

Run: pytest tests/training
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.builtin import built_in
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.lora.attach import attach_lora
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.models.adapters import Decomposed, LowRank, adapted, fused
from stable_cascade_nodes.cascade_core.models.blocks import Attention
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.models.linear import Conv2d, Held, Linear
from stable_cascade_nodes.cascade_core.training.branches import Branches
from stable_cascade_nodes.cascade_core.training.lora_settings import LoraSettings
from stable_cascade_nodes.cascade_core.training.models import TrainingModels

from .peft_dora import ALPHA, ANSWERS, RANK
from .test_lora import TINY, finish, start


def test_the_weight_and_the_gradients_of_peft() -> None:
    told = load_file(ANSWERS)
    layer = nn.Sequential(Linear(*reversed(told["weight"].shape), bias=False))
    layer[0].weight = nn.Parameter(told["weight"], requires_grad=False)
    branch = Decomposed(LowRank(told["down"], told["up"], ALPHA / RANK), told["magnitude"]).requires_grad_(True)
    net = adapted(layer, {"0.weight": [branch]})
    merged = net(torch.eye(told["weight"].shape[1])).T
    torch.testing.assert_close(merged, told["merged"])
    torch.testing.assert_close(branch.delta(told["weight"]) + told["weight"], told["merged"])
    (merged * told["gradient"]).sum().backward()
    for name, parameter in (("down", branch.low.down), ("up", branch.low.up), ("magnitude", branch.magnitude)):
        torch.testing.assert_close(parameter.grad, told[f"{name}.grad"], msg=name)


@pytest.mark.parametrize("first", [0, 8, 16])
def test_beside_a_part_of_the_rows_it_changes_these_alone(first: int) -> None:
    """As merged into the weight: keys and values of text tokens ask for rows from 8 on."""
    torch.manual_seed(0)
    net = nn.Sequential(Attention(8, 2))
    branch = Decomposed(LowRank(torch.randn(2, 8), torch.randn(8, 2)), torch.rand(8) + 0.5, (8, 16))
    twin = adapted(net, {"0.in_proj_weight": [branch]})
    x = torch.randn(1, 5, 8)
    got, plain = cast(Attention, twin[0]).project(x, first), cast(Attention, net[0]).project(x, first)  # type: ignore[index]
    weight = cast(Attention, net[0]).in_proj_weight.clone()
    low = weight[8:16] + branch.low.up @ branch.low.down
    weight[8:16] = branch.magnitude * low / low.norm(dim=0)
    torch.testing.assert_close(got, F.linear(x, weight[first:]))
    changed = (got - plain).abs().amax((0, 1)).nonzero().flatten() + first
    assert changed.tolist() == [row for row in range(8, 16) if row >= first]


def test_a_convolution_is_measured_over_its_kernel() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(Conv2d(4, 6, 3, padding=1))
    low = LowRank(torch.randn(2, 4, 3, 3), torch.randn(6, 2))
    branch = Decomposed(low, torch.rand(4) + 0.5)
    twin = adapted(net, {"0.weight": [branch]})
    x = torch.randn(1, 4, 5, 5)
    changed = net[0].weight + torch.einsum("or,rihw->oihw", low.up, low.down)  # type: ignore[operator]
    wanted = (
        changed / torch.stack([c.norm() for c in changed.unbind(1)])[:, None, None] * branch.magnitude[:, None, None]
    )
    torch.testing.assert_close(twin(x), F.conv2d(x, wanted, net[0].bias, padding=1))  # type: ignore[arg-type]
    torch.testing.assert_close(fused(twin)(x), twin(x))


def predicted(handle: Handle) -> Tensor:
    torch.manual_seed(3)
    x, clip = torch.randn(2, 16, 2, 2), torch.randn(2, 7, handle.config.c_clip_text)
    with torch.no_grad():
        return handle.module(x, torch.tensor([0.4, 0.8]), clip, torch.randn(2, 1, handle.config.c_clip_text_pooled))


@pytest.mark.parametrize("dialect", ["comfyui", "kohya"])
def test_the_file_is_what_was_trained(
    models: TrainingModels,
    pictures: Path,
    tmp_path: Path,
    dialect: str,
) -> None:
    """Everything that branches may lie beside: attentions, mappers, convolutions."""
    run, task = start(models, pictures, tmp_path / "run", dora=True, filters=("",), init="down", dialect=dialect)
    before = predicted(models.stage_c)
    torch.testing.assert_close(predicted(task.stage_c), before)  # nothing changes at first
    magnitudes = {name: branch.magnitude.clone() for name, branch in task.module.by_name().items()}  # type: ignore[union-attr]
    finish(run)
    assert all(not torch.equal(b.magnitude, magnitudes[n]) for n, b in task.module.by_name().items())  # type: ignore[union-attr]
    after = predicted(task.stage_c)
    assert (after - before).abs().max() > 1e-2
    lora = read_lora(tmp_path / "run" / "lora.safetensors", "lora")
    attached, report = attach_lora(models.stage_c, lora)
    assert not report.unmatched and len(report.matched) == len(task.module.names)
    torch.testing.assert_close(predicted(attached), after, rtol=1e-4, atol=1e-4)


def test_over_eight_bits_it_learns_as_over_what_these_stand_for(
    models: TrainingModels,
    pictures: Path,
    tmp_path: Path,
) -> None:
    quantised = load("stage_c", built_in("stage_c")[TINY], name=TINY, dtype="int8")
    plain = load("stage_c", built_in("stage_c")[TINY], name=TINY, dtype="float32")
    weights = dict(plain.module.named_parameters())
    held = {name: child for name, child in quantised.module.named_modules() if isinstance(child, Held)}
    with torch.no_grad():
        for name, child in held.items():
            weights[name].copy_(child.value().float())
    found: list[dict[str, Tensor]] = []
    for name, stage_c in (("int8", quantised), ("decoded", plain)):
        run, task = start(replace(models, stage_c=stage_c), pictures, tmp_path / name, dora=True, checkpointing=False)
        finish(run)
        found.append({key: tensor.clone() for key, tensor in task.module.state_dict().items()})
    assert len(held) > 20
    assert all(torch.allclose(tensor, found[1][name], atol=2e-3) for name, tensor in found[0].items())


def test_checkpointing_and_stopping_change_nothing(
    models: TrainingModels,
    pictures: Path,
    tmp_path: Path,
) -> None:
    finish(start(models, pictures, tmp_path / "whole", dora=True, checkpointing=False)[0])
    run, _ = start(models, pictures, tmp_path / "parts", dora=True)
    list(run.encode())
    reports = run.train()
    next(reports)
    reports.close()
    finish(start(models, pictures, tmp_path / "parts", dora=True)[0])
    whole, parts = (load_file(tmp_path / name / "lora.safetensors") for name in ("whole", "parts"))
    assert any(key.endswith("to_k.dora_scale") for key in whole)
    for key, tensor in whole.items():
        torch.testing.assert_close(tensor, parts[key], rtol=1e-4, atol=1e-5)


def test_stage_c_by_its_shapes_alone(models: TrainingModels) -> None:
    """As a node asks before it runs, when the weights wait in their file."""
    with torch.device("meta"):
        empty = type(models.stage_c.module)(models.stage_c.config)
    branches = Branches(empty, LoraSettings(dora=True))
    assert {name.rpartition(".")[2] for name in branches.names} == {"weight", "to_q", "to_k", "to_v"}
    assert not any(parameter.is_meta for parameter in branches.parameters())


def test_the_official_dialect_has_no_place_for_it() -> None:
    with pytest.raises(CascadeError, match="dora: the official dialect has no place for it: choose"):
        LoraSettings(dora=True, dialect="official")
