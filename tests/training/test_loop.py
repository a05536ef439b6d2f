"""The training loop: what a resumed run gives, and that it learns. Run: pytest tests/training"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.training.loop import drawn_by, train
from stable_cascade_nodes.cascade_core.training.plan import Plan
from stable_cascade_nodes.cascade_core.training.settings import TrainingSettings

LIBRARIES = {"prodigy": "prodigyopt", "schedule_free": "schedulefree"}  # optimisers that are not torch's


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


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "muon"},
        {"optimizer": "adafactor"},
        {"accumulate": 3},
        {"ema": None},
        {"optimizer": "prodigy", "learning_rate": 1.0},
        {"optimizer": "schedule_free", "flat": 1.0, "ema": None},
    ],
    ids=str,
)
def test_resumed_from_a_save_is_as_never_stopped(tmp_path: Path, settings: dict[str, Any]) -> None:
    library = LIBRARIES.get(settings.get("optimizer", ""))
    if library:
        pytest.importorskip(library)
    plan = Plan(**{"steps": 40, "learning_rate": 1e-2, "warmup": 5} | settings)
    whole, whole_average, _ = run(tmp_path / "whole.safetensors", plan)
    state = tmp_path / "parts.safetensors"
    run(state, plan, stop_at=10)
    saved = state.read_bytes()
    run(state, plan, stop_at=17)
    state.write_bytes(saved)  # a killed run keeps what was saved at 10: steps 11 to 17 are done again
    resumed, resumed_average, losses = run(state, plan)
    assert len(losses) == 30
    assert same(whole, resumed)
    assert all(torch.equal(tensor, resumed_average[name]) for name, tensor in whole_average.items())


def test_whoever_stops_it_finds_the_last_step_saved(tmp_path: Path) -> None:
    plan = Plan(steps=40, learning_rate=1e-2, warmup=5)
    whole, _, _ = run(tmp_path / "whole.safetensors", plan)
    module = Regression()
    steps = train(module, module.loss, plan, tmp_path / "parts.safetensors", save_every=10)
    for progress, _ in steps:
        if progress.step == 17:
            break
    steps.close()
    resumed, _, losses = run(tmp_path / "parts.safetensors", plan)
    assert len(losses) == 23
    assert same(whole, resumed)


def test_batches_accumulate_to_the_mean_of_their_gradients(tmp_path: Path) -> None:
    """Three parts of a step with sgd-like first steps: the loss that is told is their mean."""
    module = Regression()
    told: list[float] = []

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        value = module.loss(random)
        told.append(value["mse"].item())
        return value

    plan = Plan(steps=1, learning_rate=1e-2, warmup=1, accumulate=3)
    ((progress, _),) = train(module, loss, plan, tmp_path / "state.safetensors")
    assert len(set(told)) == 3
    assert progress.losses["mse"] == pytest.approx(np.mean(told))


def test_torchs_own_generator_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    module = Regression()
    torch.manual_seed(5)
    next(train(module, module.loss, Plan(steps=2, learning_rate=1e-2), tmp_path / "state.safetensors"))
    assert torch.equal(torch.rand(3), expected)


def test_it_learns(tmp_path: Path) -> None:
    _, _, losses = run(tmp_path / "state.safetensors", Plan(steps=300, learning_rate=1e-2, warmup=5))
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


def test_a_finished_run_says_so_once(tmp_path: Path) -> None:
    plan = Plan(steps=10, learning_rate=1e-2, warmup=5)
    first, average, _ = run(tmp_path / "state.safetensors", plan)
    again, again_average, losses = run(tmp_path / "state.safetensors", plan)
    assert len(losses) == 1
    assert same(first, again)
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


def test_a_constant_rate_stays_after_its_warm_up() -> None:
    plan = Plan(steps=10, learning_rate=2.0, warmup=2, flat=1.0)
    assert [plan.rate(step) for step in (0, 1, 5, 9)] == [1, 2, 2, 2]


def test_a_linear_rate_is_torchs() -> None:
    """With a warm-up over it, of which torch knows nothing; and it fixes the number of steps."""
    plan = TrainingSettings(steps=40, learning_rate=0.5, schedule="linear", warmup=4).plan()
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=40, power=1.0)
    for step in range(40):
        assert plan.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"] * min(1.0, (step + 1) / 4))
        optimizer.step()
        scheduler.step()
    assert plan.rate(40) == 0
    assert TrainingSettings(schedule="linear", steps=7).fixed() != TrainingSettings(schedule="linear").fixed()


@pytest.mark.parametrize("name", LIBRARIES)
def test_steps_are_the_librarys_own(tmp_path: Path, name: str) -> None:
    """Its optimiser in a plain loop, as its documentation has it, gives the same weights; and so what is shown."""
    library: Any = pytest.importorskip(LIBRARIES[name])
    settings = TrainingSettings(optimizer=name, learning_rate=0.5 if name == "prodigy" else 1e-2, steps=30, warmup=4)
    plan = settings.plan()
    module = Regression()
    average: dict[str, Tensor] = {}
    for progress, averaged in train(module, module.loss, plan, tmp_path / "state.safetensors"):
        own = {key: tensor.clone() for key, tensor in module.state_dict().items()}
        with averaged.shown():
            average = {key: tensor.clone() for key, tensor in module.state_dict().items()}
        assert all(torch.equal(tensor, own[key]) for key, tensor in module.state_dict().items()), progress.step

    plain = Regression()
    decay = [p for p in plain.parameters() if p.ndim >= 2], [p for p in plain.parameters() if p.ndim < 2]
    groups = [{"params": decay[0], "weight_decay": 0.01}, {"params": decay[1], "weight_decay": 0.0}]
    if name == "prodigy":
        optimizer = library.Prodigy(groups, lr=0.5, betas=(0.9, 0.999), safeguard_warmup=True)
    else:
        optimizer = library.AdamWScheduleFree(groups, lr=1e-2, betas=(0.9, 0.999), warmup_steps=4)
        optimizer.train()
    for step in range(30):
        if name == "prodigy":
            for group in optimizer.param_groups:
                group["lr"] = 0.5 * min(1.0, (step + 1) / 4)
        random = np.random.default_rng((0, step))
        with drawn_by(random, plain):
            torch.stack(list(plain.loss(random).values())).sum().backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert same(plain, module)
    if name == "schedule_free":
        assert not torch.equal(average["up_blocks.0.weight"], plain.up_blocks[0].weight)
        optimizer.eval()
    assert all(torch.equal(tensor, average[key]) for key, tensor in plain.state_dict().items())
