"""Blocks in chunks of tokens: the numbers of the plain blocks, in less memory."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive, deviation
from stable_cascade_nodes.cascade_core.models import chunks
from stable_cascade_nodes.cascade_core.models.adapters import LowRank, adapted
from stable_cascade_nodes.cascade_core.models.body import slice_modulation
from stable_cascade_nodes.cascade_core.models.chunks import call_in_chunks
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_b import StageB

from ..sampling.peak import PeakBytes
from .test_compiling import NETWORKS, prepared_inputs


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the last chunk are left over."""
    monkeypatch.setattr(chunks, "TOKENS", 7)
    monkeypatch.setattr(chunks, "QUERIES", 3)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("scale", [1.0, 2.0**-8])
def test_equal_to_the_plain_blocks(kind: str, scale: float) -> None:
    """With what controls add, in float32."""
    module: Any = alive(*NETWORKS[kind])
    module.scale = scale
    name = "down_blocks.0.0.channelwise.0.weight"
    out, inner = module.get_parameter(name).shape
    twin: Any = adapted(module, {name: [LowRank(torch.randn(2, inner), torch.randn(out, 2))]})
    with torch.inference_mode():
        x, modulations, prepared = prepared_inputs(kind, module, 0, size=12)
        given = (x, slice_modulation(modulations, 1), prepared)
        for each in (module, twin):
            assert deviation(each.evaluate(*given, call=call_in_chunks), each.evaluate(*given)) < 1e-5
        assert deviation(twin.evaluate(*given), module.evaluate(*given)) > 1e-3


def test_no_chunk_sees_only_itself() -> None:
    """A picture that is bright in one corner: a norm of each chunk alone would show where they meet."""
    module: Any = alive(*NETWORKS["stage_b"])
    with torch.inference_mode():
        x, modulations, prepared = prepared_inputs("stage_b", module, 0, size=12)
        x = x * torch.linspace(0, 30, x.shape[2])[:, None]
        given = (x, slice_modulation(modulations, 1), prepared)
        assert deviation(module.evaluate(*given, call=call_in_chunks), module.evaluate(*given)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_as_near_to_float32_as_the_plain_blocks(dtype: torch.dtype) -> None:
    module: Any = alive(*NETWORKS["stage_b"])

    def evaluate(network: Any, **how: Any) -> Tensor:
        with torch.inference_mode():
            x, modulations, prepared = prepared_inputs("stage_b", module, 0, size=12)
            at = slice_modulation(modulations, 1)
            kind = next(network.parameters()).dtype
            constant = prepared.constant.to(kind)
            prepared = replace(prepared, kv=tuple(kv.to(kind) for kv in prepared.kv), constant=constant)
            return network.evaluate(x.to(kind), tuple(m.to(kind) for m in at), prepared, **how).float()

    wanted = evaluate(module)
    narrow = alive(*NETWORKS["stage_b"]).to(dtype)
    plain, chunked = evaluate(narrow), evaluate(narrow, call=call_in_chunks)
    error, ours = ((found - wanted).square().mean().sqrt() for found in (plain, chunked))
    assert 0 < ours < 1.2 * error


def test_gradients_are_those_of_before() -> None:
    """Where a gradient needs an activation, nothing takes its place: backward would raise."""
    module = alive(*NETWORKS["stage_b"])
    module.requires_grad_(True)
    x, modulations, prepared = prepared_inputs("stage_b", module, 0)
    given = (x, slice_modulation(modulations, 1), prepared)
    module.evaluate(*given).square().sum().backward()
    hidden = module.get_parameter("down_blocks.0.0.channelwise.0.weight")
    assert hidden.grad is not None and hidden.grad.abs().sum() > 0
    with torch.inference_mode():
        inference = module.evaluate(*given)
    assert torch.equal(module.evaluate(*given), inference)


@pytest.mark.parametrize("preset", ["700M", pytest.param("1.5B", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("in_chunks", "most"), [(False, 3.0), (True, 1.8)])
def test_memory_of_a_picture_of_4096_pixels(
    preset: str, in_chunks: bool, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GiB of a guided step of Stage B in bfloat16, with what is constant over the steps; once it was 4.75."""
    monkeypatch.undo()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"), torch.inference_mode():
            module: Any = StageB(PRESETS["stage_b"][preset]).eval()
            x, effnet, pooled = torch.zeros(2, 4, 1024, 1024), torch.zeros(2, 16, 96, 96), torch.zeros(2, 1280)
            modulation = slice_modulation(module.modulate(torch.zeros(1)), 0)
            prepared = module.prepare(effnet, pooled, (1024, 1024))
            evaluate = partial(module.evaluate, call=call_in_chunks) if in_chunks else module.evaluate
            with PeakBytes([*module.parameters(), *modulation, *prepared.kv, prepared.constant, x]) as peak:
                evaluate(x, modulation, prepared)
    finally:
        torch.set_default_dtype(before)
    assert (peak.peak + prepared.constant.nbytes) / 2**30 < most
