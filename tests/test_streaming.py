"""Streamed weights: every network of ours gives the same, bit for bit, while its weights are only lent to operations.

The lender of these tests spoils what it gets back and what stays in the network is not a number, so whatever reads a
weight past it, or too late, shows.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stable_cascade_nodes.cascade_core.builtin import CONTROLS, built_in, lora_path
from stable_cascade_nodes.cascade_core.files.load import load
from stable_cascade_nodes.cascade_core.lora.attach import attach_lora, fuse_lora
from stable_cascade_nodes.cascade_core.lora.read import read_lora
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.streaming import Streamed, lay, lift, settle, stream

from .network_results import result

CPU = torch.device("cpu")
TINY = "tiny (built-in)"
MODELS = [
    *((kind, TINY) for kind in ("stage_c", "stage_b", "stage_a", "effnet", "previewer")),
    *((kind, TINY) for kind in ("text_encoder", "image_encoder")),
    *(("controlnet", f"tiny {mode} (built-in)") for mode in CONTROLS),
]


class Lender:
    """A source that lends a copy and spoils it when it comes back."""

    device = CPU
    lent = 0  # in the whole program

    def __init__(self, tensor: Tensor) -> None:
        self.values = tensor.data

    def take(self) -> tuple[Tensor, Callable[[], None]]:
        Lender.lent += 1
        copy = self.values.clone()
        return copy, partial(self._spoil, copy)

    @staticmethod
    def _spoil(copy: Tensor) -> None:
        with torch.no_grad():
            copy.fill_(torch.nan if copy.is_floating_point() else -1)

    def home(self) -> Tensor:
        return self.values


def fresh(kind: str, name: str = TINY, dtype: str = "float32") -> Handle:
    return load(kind, built_in(kind)[name], name=name, dtype=dtype)


def equal(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("kind", "name"), MODELS)
def test_every_network_gives_the_same_bit_for_bit(kind: str, name: str) -> None:
    handle = fresh(kind, name)
    plain = result(handle)
    assert all(tensor.isfinite().all() for tensor in plain)
    before = Lender.lent
    stream(handle.module, Lender)
    assert equal(result(handle), plain) and Lender.lent > before
    settle(handle.module)
    assert equal(result(handle), plain)


@pytest.mark.parametrize("kind", ["stage_c", "stage_b"])
def test_in_half_precision_too(kind: str) -> None:
    handle = fresh(kind, dtype="bfloat16")
    plain = result(handle)
    stream(handle.module, Lender)
    assert equal(result(handle), plain)


@pytest.mark.parametrize("first", ["attached", "streaming"])
def test_a_lora_streams_with_the_model_that_it_shares_weights_with(first: str) -> None:
    plain, text = fresh("stage_c"), fresh("text_encoder")
    lora = read_lora(lora_path("zig"))
    wanted = [result(attach_lora(handle, lora)[0]) for handle in (plain, text)]
    assert not equal(wanted[0], result(plain))
    alone, fused = result(plain), result(fuse_lora(attach_lora(plain, lora)[0]))
    for handle, expected in zip((plain, text), wanted, strict=True):
        together = attach_lora(handle, lora)[0]
        stream(handle.module, Lender)
        if first == "streaming":
            together = attach_lora(handle, lora)[0]
        together.acquire()
        assert equal(result(together), expected)
    assert equal(result(plain), alone)
    assert equal(result(fuse_lora(attach_lora(plain, lora)[0])), fused)


def test_names_and_tensors_stay_and_memory_goes() -> None:
    handle = fresh("previewer")
    state = {name: tensor.clone() for name, tensor in handle.module.state_dict().items()}
    before = [id(tensor) for tensor in (*handle.module.parameters(), *handle.module.buffers())]
    sources = stream(handle.module, Lender)
    held = [*handle.module.parameters(), *handle.module.buffers()]
    assert [id(tensor) for tensor in held] == before and len(sources) == len(before)
    with torch._C.DisableTorchFunctionSubclass():
        assert all(tensor.untyped_storage().nbytes() <= 8 for tensor in held)
    assert list(handle.module.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in handle.module.state_dict().items())
    settle(handle.module)
    assert [type(tensor) for tensor in handle.module.parameters()] == [nn.Parameter] * len(
        list(handle.module.parameters())
    )
    assert [type(tensor) for tensor in handle.module.buffers()] == [Tensor] * len(list(handle.module.buffers()))


def test_they_can_be_trained_after_streaming_under_inference_mode() -> None:
    layer = nn.Linear(3, 2)
    with torch.inference_mode():
        for source in stream(layer, Lender):
            source.values = source.values.clone()  # an inference tensor, as ComfyUI's manager makes them
        settle(layer)
    assert not any(tensor.is_inference() for tensor in layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.shape == (2, 3)


def test_a_weight_that_lies_on_the_device_is_an_ordinary_one_until_it_is_lifted() -> None:
    layer = nn.BatchNorm2d(3).eval()
    x = torch.rand(2, 3, 4, 4)
    wanted = layer(x)
    tensors = [*layer.parameters(), *layer.buffers()]
    kinds = [type(tensor) for tensor in tensors]
    sources = stream(layer, Lender)
    with torch.inference_mode():
        for tensor, source in zip(tensors, sources, strict=True):
            lay(tensor, source.home())
    before = Lender.lent
    assert [type(tensor) for tensor in tensors] == kinds and torch.equal(layer(x), wanted) and Lender.lent == before
    assert [tensor.data_ptr() for tensor in tensors] == [source.home().data_ptr() for source in sources]
    for tensor in tensors:
        lift(tensor)
    assert torch.equal(layer(x), wanted) and Lender.lent > before
    with torch._C.DisableTorchFunctionSubclass():
        assert all(tensor.untyped_storage().nbytes() <= 8 for tensor in tensors)
    for tensor, source in zip(tensors, sources, strict=True):
        lay(tensor, source.home())
    settle(layer)
    assert not any(hasattr(tensor, "source") for tensor in tensors) and torch.equal(layer(x), wanted)


def test_gradients_of_inputs_survive_what_was_given_back() -> None:
    layers = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)).requires_grad_(False)
    x = torch.rand(5, 3, requires_grad=True)
    (wanted,) = torch.autograd.grad(layers(x).sum(), x)
    stream(layers, Lender)
    (found,) = torch.autograd.grad(layers(x).sum(), x)
    assert torch.equal(found, wanted)


def test_a_part_is_taken_when_it_is_needed_and_once_for_an_operation() -> None:
    layer = nn.Linear(4, 6).requires_grad_(False)
    x, weight = torch.rand(2, 4), layer.weight.detach().clone()
    stream(layer, Lender)
    before = Lender.lent
    part = layer.weight[2:][1]
    assert Lender.lent == before and part.shape == (4,)
    assert torch.equal(part * part, weight[3] * weight[3])
    assert Lender.lent == before + 1
    assert torch.equal(layer.weight[torch.tensor([1, 0])], weight[:2].flip(0))
    assert torch.equal(x @ layer.weight.T, x @ weight.T)


def test_a_copy_is_an_ordinary_network() -> None:
    layer = nn.BatchNorm2d(3)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(3))
    wanted = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    stream(layer, Lender)
    copy = deepcopy(layer)
    assert not any(isinstance(tensor, Streamed) for tensor in (*copy.parameters(), *copy.buffers()))
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in copy.state_dict().items())
    copy(torch.rand(1, 3, 2, 2)).sum().backward()
    assert copy.weight.grad is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.weight.fill_(0),
        lambda layer: nn.init.zeros_(layer.bias),
        lambda layer: layer.to(torch.float64),
        lambda layer: setattr(layer.weight, "data", torch.zeros(2, 3)),
    ],
)
def test_a_change_of_what_is_only_lent_is_refused(change: Callable[[nn.Linear], Any]) -> None:
    layer = nn.Linear(3, 2)
    stream(layer, Lender)
    with torch.no_grad(), pytest.raises(RuntimeError, match="cannot be changed"):
        change(layer)


def test_what_was_taken_goes_back_when_there_is_no_room_for_the_next() -> None:
    returned: list[str] = []

    class Narrow(Lender):
        def take(self) -> Any:
            if self.values.ndim == 1:
                raise torch.OutOfMemoryError
            return self.values, partial(returned.append, "weight")

    layer = nn.Linear(3, 2)
    stream(layer, Narrow)
    with torch.no_grad(), pytest.raises(torch.OutOfMemoryError):
        layer(torch.ones(1, 3))
    assert returned == ["weight"]
