"""Every part that trains on a GPU takes its steps there: nothing lies elsewhere, and the host waits for nothing.

Shown on the meta device, which refuses what a GPU refuses (tensors of another device) and what would make the host wait
(asking for a number); its tensors hold no numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from stable_cascade_nodes.recipes.tiny import training_part
from stable_cascade_nodes.recipes.tiny.recipe import PARTS
from stable_cascade_nodes.recipes.tiny.timed import SHARES
from stable_cascade_nodes.recipes.tiny.training_data import Amounts, Data

META = torch.device("meta")
FEW = Amounts(pictures=8, latents=8, wider=8, large=8, estimates=8, small=8)


@pytest.fixture
def meta_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Data]:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(training_part.WarmUp, "_steps", 0)
    faces = torch.zeros(3, dtype=torch.long), torch.zeros(3, 128), torch.zeros(3, 6, 6, dtype=torch.bool)
    monkeypatch.setattr(Data, "faces", lambda self: tuple(each.to(META) for each in faces))  # it counts them
    yield Data(tmp_path, META, FEW)


@pytest.mark.parametrize("name", SHARES)
def test_a_step_stays_on_its_device(meta_data: Data, name: str) -> None:
    part = PARTS[name][0](meta_data, 10)
    losses = part.loss(np.random.default_rng(0))
    torch.stack(list(losses.values())).sum().backward()
    trained = [parameter for parameter in part.module.parameters() if parameter.requires_grad]
    assert trained and all(parameter.device == META for parameter in trained)
    assert any(parameter.grad is not None for parameter in trained)
