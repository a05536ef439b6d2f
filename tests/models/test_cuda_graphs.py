"""When an evaluation is recorded and when a recorded one serves; what a GPU computes, benchmarks/gpu.sh compares."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.models import cuda_graphs
from stable_cascade_nodes.cascade_core.models.body import Prepared

X = torch.zeros(2, 3)
MODULATION = (torch.ones(1, 2), torch.ones(1, 4))
PREPARED = Prepared((torch.ones(1, 2), torch.ones(1, 3)), torch.ones(4), (None, torch.ones(5), None))


class Copying:
    """In the place of a graph: computes from its own memory, and counts the copies of what is constant."""

    made: list["Copying"] = []

    def __init__(self, evaluate: Any, *given: Any) -> None:
        self.evaluate = evaluate
        Copying.made.append(self)

    def __call__(self, *given: Any) -> Tensor:
        return self.evaluate(*given)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Copying]]:
    monkeypatch.setattr(cuda_graphs, "Recorded", Copying)
    monkeypatch.setattr(cuda_graphs, "can_record", lambda _: True)
    Copying.made = []
    yield Copying.made


def evaluate(x: Tensor, modulation: Any, prepared: Any) -> Tensor:
    return x + 1


def test_prepared_lists_what_it_maps() -> None:
    seen: list[Tensor] = []
    twice = PREPARED.map(lambda one: seen.append(one) or 2 * one)
    assert all(one is other for one, other in zip(seen, PREPARED.tensors(), strict=True))
    assert len(seen) == 4
    assert [one.unique().item() for one in twice.tensors()] == [2] * 4
    assert [one is None for one in twice.control] == [True, False, True]


def test_one_recording_serves_steps_images_and_runs(made: list[Copying]) -> None:
    module = nn.Linear(3, 3)
    for _ in range(2):
        run = cuda_graphs.recording(module, evaluate, "graphs")
        for prepared in (PREPARED, PREPARED.map(Tensor.clone)):
            for modulation in (MODULATION, tuple(map(Tensor.clone, MODULATION))):
                assert torch.equal(run(X + 1, modulation, prepared), X + 2)
    assert len(made) == 1


@pytest.mark.parametrize(
    "other",
    [
        (X[:1], MODULATION, PREPARED),
        (X, MODULATION, replace(PREPARED, control=(torch.ones(5), None, None))),
        (X, MODULATION, replace(PREPARED, control=())),
        (X, MODULATION, PREPARED.map(Tensor.half)),
    ],
)
def test_other_shapes_types_and_controls_are_recorded_beside_it(made: list[Copying], other: Any) -> None:
    run = cuda_graphs.recording(nn.Linear(3, 3), evaluate, "graphs")
    for given in ((X, MODULATION, PREPARED), other) * 3:
        run(*given)
    assert len(made) == 2


def test_weights_that_moved_are_recorded_anew(made: list[Copying]) -> None:
    module = nn.Linear(3, 3)
    run = cuda_graphs.recording(module, evaluate, "graphs")
    run(X, MODULATION, PREPARED)
    module.bias.data = module.bias.data.clone()
    run(X, MODULATION, PREPARED)
    run(X, MODULATION, PREPARED)
    assert len(made) == 2
    assert len(cuda_graphs._RECORDED[module]) == 1  # the first reads memory that may be another's by now


def test_what_was_compiled_is_recorded_beside_what_was_not(made: list[Copying]) -> None:
    module = nn.Linear(3, 3)
    for mode, added in (("graphs", 1), ("blocks", 2), ("graphs", 1)):
        run = cuda_graphs.recording(module, lambda x, *_, added=added: x + added, mode)
        assert torch.equal(run(X, MODULATION, PREPARED), X + added)
    assert len(made) == 2


def test_the_graphs_that_were_used_last_are_kept(made: list[Copying]) -> None:
    module = nn.Linear(3, 3)
    run = cuda_graphs.recording(module, evaluate, "graphs")
    for rows in range(1, cuda_graphs.MOST + 1):
        run(torch.zeros(rows, 3), MODULATION, PREPARED)
    run(torch.zeros(1, 3), MODULATION, PREPARED)
    run(torch.zeros(9, 3), MODULATION, PREPARED)  # drops that of two rows
    assert len(cuda_graphs._RECORDED[module]) == cuda_graphs.MOST
    before = len(made)
    run(torch.zeros(1, 3), MODULATION, PREPARED)
    assert len(made) == before
    run(torch.zeros(2, 3), MODULATION, PREPARED)
    assert len(made) == before + 1


def test_a_networks_graphs_go_with_it(made: list[Copying]) -> None:
    module = nn.Linear(3, 3)
    cuda_graphs.recording(module, evaluate, "graphs")(X, MODULATION, PREPARED)
    kept = len(cuda_graphs._RECORDED)
    del module
    assert len(cuda_graphs._RECORDED) == kept - 1
