"""The training loop: what a resumed run gives, and that it learns. Run: pytest tests/test_training_loop.py"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.training.loop import Plan, train


class Regression(nn.Module):
    """A small network with a buffer, whose matrices lie in blocks as Muon wants them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up_blocks = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.BatchNorm1d(32), nn.Linear(32, 1))

    def loss(self, random: np.random.Generator) -> dict[str, Tensor]:
        x = torch.from_numpy(random.standard_normal((16, 8))).float()
        noisy = x + 0.01 * torch.randn_like(x)  # torch's own generator is part of the state, too
        return {"mse": (self.up_blocks(noisy) - x.prod(1, keepdim=True).tanh()).square().mean()}


def run(state: Path, plan: Plan, stop_at: int | None = None) -> tuple[Regression, dict[str, Tensor], list[float]]:
    module, losses = Regression(), []
    averaged: dict[str, Tensor] = {}
    for progress, average in train(module, module.loss, plan, state, save_every=10):
        losses.append(progress.losses.get("mse", float("nan")))
        averaged = average.tensors
        if progress.step == stop_at:
            break
    return module, averaged, losses


@pytest.mark.parametrize("muon", [False, True])
def test_resumed_is_as_never_stopped(tmp_path: Path, muon: bool) -> None:
    plan = Plan(steps=40, learning_rate=1e-2, warmup=5, muon=muon)
    whole, whole_average, _ = run(tmp_path / "whole.safetensors", plan)
    run(tmp_path / "parts.safetensors", plan, stop_at=17)  # saved at 10: steps 11 to 17 are lost and done again
    resumed, resumed_average, losses = run(tmp_path / "parts.safetensors", plan)
    assert len(losses) == 30
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
        assert torch.equal(whole_average[name], resumed_average[name]), name


def test_it_learns(tmp_path: Path) -> None:
    _, _, losses = run(tmp_path / "state.safetensors", Plan(steps=300, learning_rate=1e-2, warmup=5))
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


def test_a_finished_run_says_so_once(tmp_path: Path) -> None:
    plan = Plan(steps=10, learning_rate=1e-2, warmup=5)
    first, average, _ = run(tmp_path / "state.safetensors", plan)
    again, again_average, losses = run(tmp_path / "state.safetensors", plan)
    assert len(losses) == 1
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert all(torch.equal(tensor, again_average[name]) for name, tensor in average.items())


def test_a_loss_that_is_not_finite_stops_before_it_spoils_the_weights(tmp_path: Path) -> None:
    module = Regression()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    bad = train(
        module, lambda _: {"mse": torch.tensor(float("nan"), requires_grad=True)}, Plan(5, 1e-2), tmp_path / "s"
    )
    with pytest.raises(FloatingPointError, match="step 0"):
        next(bad)
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in before.items())


def test_rate() -> None:
    plan = Plan(steps=1000, learning_rate=1.0, warmup=100, flat=0.5)
    assert plan.rate(0) == pytest.approx(0.01)
    assert plan.rate(99) == plan.rate(500) == 1
    assert plan.rate(750) == pytest.approx(0.5)
    assert plan.rate(1000) == pytest.approx(0)
