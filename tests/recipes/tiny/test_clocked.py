"""Training by the clock: it ends in time, learns, and its optimiser is torch's own."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.builtin import weights_path
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.training.denoising import noised_at
from stable_cascade_nodes.cascade_core.training.plan import Plan
from stable_cascade_nodes.recipes.tiny import networks, timed, training_data
from stable_cascade_nodes.recipes.tiny.clocked import Clock, train_until
from stable_cascade_nodes.recipes.tiny.muon import StackedMuon
from stable_cascade_nodes.recipes.tiny.training_data import Data
from stable_cascade_nodes.recipes.tiny.training_part import PROCESS, Denoising, Part


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)])
def test_stacked_muon_is_torchs(rate: Any) -> None:
    torch.manual_seed(0)
    shapes = [(6, 24), (24, 6), (6, 24), (9, 9)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(matrix.detach().clone()) for matrix in ours]
    muon = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    stacked = StackedMuon(ours, lr=rate, weight_decay=0.01)
    begun = [matrix.detach().clone() for matrix in ours]
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        muon.step()
        stacked.step()
    for first, mine, other in zip(begun, ours, theirs, strict=True):
        assert (mine - other).norm() < 0.02 * (first - other).norm()


def _line(losses: dict[str, Any]) -> Part[nn.Linear]:
    module = nn.Linear(2, 1)

    def loss(random: np.random.Generator) -> dict[str, Tensor]:
        x = torch.randn(64, 2)
        return {"mse": (module(x)[:, 0] - x @ torch.tensor([1.0, -2.0]) - 3).square().mean() * losses["factor"]}

    return Part(module, loss, Plan(10, 0.05, ema=0.99), lambda trained: None, 64)


def test_a_part_learns_until_its_clock_has_run_out() -> None:
    rows: list[Any] = []
    began = time.monotonic()
    averaged = train_until(_line({"factor": 1}), Clock.of(2.0), rows.append)
    assert 1.9 < time.monotonic() - began < 4
    assert torch.allclose(averaged["weight"], torch.tensor([[1.0, -2.0]]), atol=0.05)
    assert torch.allclose(averaged["bias"], torch.tensor([3.0]), atol=0.05)
    reported = [row for row in rows if "mse" in row]
    assert reported[-1]["mse"] < reported[0]["mse"] and reported[-1]["rate"] < 1e-4
    assert reported[-1]["samples"] == 64 * reported[-1]["step"]


def test_a_loss_that_is_not_finite_ends_the_part() -> None:
    with pytest.raises(FloatingPointError, match="mse"):
        train_until(_line({"factor": float("nan")}), Clock.of(1.0), lambda row: None)


def test_noise_is_the_processs() -> None:
    clean, t = torch.randn(5, 4, 8, 8), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    torch.manual_seed(0)
    ours = Denoising().noised(clean, t)
    torch.manual_seed(0)
    theirs = noised_at(t.clamp(min=0.001), clean, torch.randn_like(clean), PROCESS)
    for name in ("x", "condition", "target", "weight"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_a_run_brings_what_it_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {kind: tmp_path / f"{kind}.safetensors" for kind in ("effnet", "previewer")}
    for kind, path in kinds.items():
        path.write_bytes(weights_path(kind).read_bytes())
    for module in (timed, networks, training_data):
        monkeypatch.setattr(module, "weights_path", lambda kind: kinds[kind])
    shipped = kinds["previewer"].read_bytes()
    data = Data(tmp_path / "work", amounts=timed.gpu_amounts(16))
    timed.train_timed(data, ["previewer"], 4.0, tmp_path / "out", checked=0)
    with tarfile.open(tmp_path / "out" / "weights.tar") as tar:
        assert tar.getnames() == ["previewer.safetensors"]
        tar.extractall(tmp_path / "brought", filter="data")
    brought = tmp_path / "brought" / "previewer.safetensors"
    assert brought.read_bytes() == kinds["previewer"].read_bytes() != shipped
    assert load("previewer", brought).config == load("previewer", weights_path("previewer")).config
    rows = [json.loads(line) for line in (tmp_path / "out" / "curves.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows][:2] == ["data", "previewer"] and "mse" in rows[-1]
