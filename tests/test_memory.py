"""Placement of models. The "device" of these tests is the CPU's memory too: what lies on it is a copy."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from stable_cascade_nodes.cascade_core.memory import OneAtATime, StayPut, WhenUsed
from stable_cascade_nodes.cascade_core.models.handle import Handle

CPU = torch.device("cpu")
LARGE = 100  # bytes, the border between small and large in these tests


def place(module: nn.Module) -> int:
    return next(module.parameters()).data_ptr()


def test_stay_put_says_where_the_module_lies() -> None:
    assert StayPut().acquire(nn.Linear(2, 2)) == CPU
    assert StayPut().acquire(nn.Linear(2, 2, device="meta")) == torch.device("meta")


def test_one_large_model_at_a_time() -> None:
    placement = OneAtATime(CPU, small=LARGE)
    first, second = nn.Linear(9, 9), nn.Linear(9, 9)
    weights, homes = first.weight.detach().clone(), (place(first), place(second))

    assert placement.acquire(first) == CPU
    assert place(first) != homes[0]
    placement.acquire(second)

    assert place(second) != homes[1]
    assert place(first) == homes[0]  # the very memory that it was loaded into
    assert torch.equal(first.weight, weights)


def test_a_model_that_is_there_is_not_moved_again() -> None:
    placement, module = OneAtATime(CPU, small=LARGE), nn.Linear(9, 9)
    placement.acquire(module)
    there = place(module)
    placement.acquire(module)
    assert place(module) == there


def test_small_parts_stay_beside_a_large_one() -> None:
    placement = OneAtATime(CPU, small=LARGE)
    large, small = nn.Linear(9, 9), nn.Linear(2, 2)
    homes = place(large), place(small)
    placement.acquire(large)
    placement.acquire(small)
    assert place(large) != homes[0]
    placement.acquire(nn.Linear(9, 9))
    assert place(large) == homes[0]
    assert place(small) != homes[1]


def test_buffers_come_along() -> None:
    module = nn.BatchNorm2d(3)
    homes = [tensor.data_ptr() for tensor in module.buffers()]
    OneAtATime(CPU).acquire(module)
    assert not set(homes) & {tensor.data_ptr() for tensor in module.buffers()}


def test_what_is_trained_on_the_device_comes_home() -> None:
    placement, trained = OneAtATime(CPU, small=LARGE), nn.Linear(9, 9)
    placement.acquire(trained)
    with torch.no_grad():
        trained.weight.fill_(1)
    placement.acquire(nn.Linear(9, 9))
    assert trained.weight.mean() == 1


def test_a_move_that_fails_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    placement, module = OneAtATime(CPU, small=LARGE), nn.Linear(9, 9)
    home, move = place(module), torch.Tensor.to

    def fail_at_the_bias(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if tensor.ndim == 1:
            raise torch.OutOfMemoryError("no room")
        return move(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", fail_at_the_bias)
    with pytest.raises(torch.OutOfMemoryError):
        placement.acquire(module)
    assert place(module) == home
    monkeypatch.undo()
    placement.acquire(module)
    assert place(module) != home


def test_moving_inside_inference_mode_makes_no_inference_tensors() -> None:
    module = nn.Linear(9, 9)
    with torch.inference_mode():
        OneAtATime(CPU).acquire(module)
    assert not module.weight.is_inference()


def test_a_handle_answers_its_roots_patcher_and_none_where_no_host_has_one(tiny: Callable[..., Handle]) -> None:
    class Hosted(StayPut):
        def patcher(self, module: nn.Module) -> str:
            return f"{id(module)}"

    plain = tiny("previewer")
    assert plain.patcher is None
    hosted = replace(plain, placement=WhenUsed(lambda module: None, Hosted()))
    assert hosted.patcher == f"{id(plain.module)}"
    assert replace(hosted, module=nn.Identity(), placement=StayPut(), base=hosted).patcher == hosted.patcher
