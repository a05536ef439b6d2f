"""Weights of 8 and 4 bits: against comfy-kitchen's answers, and in networks of the published widths."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from stable_cascade_nodes.benchmarks.peers import alive
from stable_cascade_nodes.cascade_core.kinds import QUANTISED_NAMES
from stable_cascade_nodes.cascade_core.models import linear
from stable_cascade_nodes.cascade_core.models.adapters import LowRank, adaptable, adapted, fused
from stable_cascade_nodes.cascade_core.models.blocks import large_weights, quantise_large_weights
from stable_cascade_nodes.cascade_core.models.config import PRESETS, StageCConfig
from stable_cascade_nodes.cascade_core.models.linear import Held, Linear, hold
from stable_cascade_nodes.cascade_core.models.quantised import (
    Awq4,
    Float8,
    Grouped4,
    Int8,
    Quantised,
    Rotations,
    hadamard,
    pack,
    quantise,
    rotate,
)
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC
from stable_cascade_nodes.cascade_core.streaming import settle, stream

from .quantised_answers import GROUPS, table, weight

ANSWERS = load_file(Path(__file__).with_name("quantised_answers.safetensors"))
NARROW = replace(PRESETS["stage_c"]["tiny"], c_hidden=(128,), nhead=(4,), blocks=((1,), (1,)), c_cond=64)
WIDE = replace(PRESETS["stage_c"]["1B"], blocks=((0, 1), (1, 0)))
LIMITS = {"int8": 0.03, "fp8": 0.06, "int4": 0.12}


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.view(torch.uint8).equal(b.view(torch.uint8))


def apart(found: Tensor, expected: Tensor) -> float:
    """Relative, of the whole."""
    return float((found - expected).norm() / expected.norm())


def inputs(config: StageCConfig) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = (2, 16, 6, 6), (2, 20, config.c_clip_text), (2, config.c_clip_text_pooled)
    x, text, pooled = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, torch.tensor([0.9, 0.2]), text, pooled


class TestFormats:
    @pytest.mark.parametrize("group", GROUPS)
    def test_int8_is_comfyuis(self, group: int) -> None:
        made = Int8.make(weight(), hadamard(group))
        assert same(made.data, ANSWERS[f"int8.{group}.data"]) and same(made.scale, ANSWERS[f"int8.{group}.scale"])
        assert torch.allclose(made.float(), ANSWERS[f"int8.{group}.read"].float(), atol=1e-3)

    @pytest.mark.parametrize("group", GROUPS)
    def test_int4_is_comfyuis(self, group: int) -> None:
        """Sums of 16 numbers may be rounded otherwise on another processor: a code in a hundred may differ."""
        made = Grouped4.make(weight(), hadamard(group))
        assert isinstance(made, Grouped4) and made.codebook is not None and made.codebook.equal(table())
        assert (made.data != ANSWERS[f"int4.{group}.data"]).float().mean() < 0.01
        assert torch.allclose(made.scale, ANSWERS[f"int4.{group}.scale"], rtol=1e-5)
        blocks = ANSWERS[f"int4.{group}.blocks"].view(torch.uint8)
        assert (made.blocks.view(torch.uint8) != blocks).float().mean() < 0.01
        assert apart(made.float(), ANSWERS[f"int4.{group}.read"].float()) < 0.01

    def test_float8_is_comfyuis(self) -> None:
        made = Float8.make(weight(), None)
        assert same(made.data, ANSWERS["fp8.data"])
        assert made.to_file()["weight_scale"].equal(ANSWERS["fp8.scale"])

    def test_awq_by_its_formula(self) -> None:
        generator = torch.Generator().manual_seed(0)
        codes = torch.randint(0, 16, (6, 128), generator=generator)
        scale, zeros = (torch.randn(2, 6, generator=generator) for _ in range(2))
        read = Awq4.from_file({"data": pack(codes.to(torch.uint8)), "scale": scale, "zeros": zeros}, 0, Rotations())
        expected = [[(codes[n, k] - 8) * scale[k // 64, n] + zeros[k // 64, n] for k in range(128)] for n in range(6)]
        assert torch.allclose(read.float(), torch.tensor(expected), atol=1e-6)

    @pytest.mark.parametrize("size", [4, 16, 64, 256])
    def test_hadamard(self, size: int) -> None:
        matrix = hadamard(size)
        assert matrix.equal(matrix.T) and torch.allclose(matrix @ matrix, torch.eye(size), atol=1e-6)
        assert set((matrix * size**0.5).unique().tolist()) == {-1.0, 1.0}
        assert matrix.bfloat16().float().equal(matrix)

    def test_no_other_size_is_one(self) -> None:
        with pytest.raises(ValueError, match="not 128"):
            hadamard(128)

    @pytest.mark.parametrize("name", QUANTISED_NAMES)
    def test_rows_and_stacks(self, name: str) -> None:
        generator = torch.Generator().manual_seed(0)
        parts = [quantise(torch.randn(n, 64, generator=generator), name, Rotations()) for n in (3, 5)]
        whole = parts[0].stack(parts)
        assert whole.float().equal(torch.cat([part.float() for part in parts]))
        assert whole[2:6].float().equal(whole.float()[2:6]) and whole.shape == (8, 64)

    def test_stacks_of_other_tables(self) -> None:
        """As they are in files of others: what is decoded stays the same."""
        one, other = (quantise(weight(), "int4", Rotations()) for _ in range(2))
        assert isinstance(other, Grouped4)
        other = replace(other, codebook=table() * 0.9)
        assert one.stack([one, other]).float().equal(torch.cat([one.float(), other.float()]))


class TestNetworks:
    @pytest.mark.parametrize("name", QUANTISED_NAMES)
    @pytest.mark.parametrize("as_int8", [False, True])
    def test_a_pass_with_outliers(self, name: str, as_int8: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """By decoding, and by products of int8 as on a GPU."""
        config = replace(WIDE, c_hidden=(256, 256), nhead=(4, 4), c_cond=256)
        whole = alive(StageC, config)
        for path in large_weights(whole):
            whole.get_parameter(path)[:, ::97] *= 8
        given = inputs(config)
        with torch.inference_mode():
            expected = whole(*given)
            quantise_large_weights(whole, name)
            monkeypatch.setattr(linear, "multiplies_int8", lambda x, weight: as_int8)
            assert apart(whole(*given), expected) < LIMITS[name] * 1.3  # narrow layers average less

    @pytest.mark.slow
    @pytest.mark.parametrize("name", QUANTISED_NAMES)
    def test_a_pass_at_a_published_width(self, name: str) -> None:
        whole = alive(StageC, WIDE)
        for path in large_weights(whole):
            whole.get_parameter(path)[:, ::97] *= 8
        with torch.inference_mode():
            expected = whole(*inputs(WIDE))
            quantise_large_weights(whole, name)
            assert apart(whole(*inputs(WIDE)), expected) < LIMITS[name]

    @pytest.mark.parametrize(("name", "most"), [("int8", 3.70e9), ("fp8", 3.70e9), ("int4", 2.3e9)])
    def test_memory_of_the_largest(self, name: str, most: float) -> None:
        with torch.device("meta"):
            module = StageC(PRESETS["stage_c"]["3.6B"]).to(torch.bfloat16)
        quantise_large_weights(module, name)
        tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        assert 0.85 * most < sum(tensor.nbytes for tensor in tensors.values()) < most

    def test_of_stage_b(self) -> None:
        """Widths that 256 does not divide, blocks that are repeated."""
        config = replace(
            PRESETS["stage_b"]["700M"], c_hidden=(64, 192, 192, 192), nhead=(-1, 3, 3, 3), blocks=((1,) * 4,) * 2
        )
        whole = alive(StageB, config)
        given = whole.example()
        with torch.inference_mode():
            expected = whole(**given)
            quantise_large_weights(whole, "int8")
            assert 0 < apart(whole(**given), expected) < LIMITS["int8"]

    def test_small_weights_stay(self) -> None:
        module = alive(StageC, NARROW)
        quantise_large_weights(module, "int8")
        held = {path for path, child in module.named_modules() if isinstance(child, Held)}
        assert held == {*large_weights(alive(StageC, NARROW))}
        assert not any("mapper" in path and "kv_mapper" not in path for path in held)

    @pytest.mark.parametrize("name", QUANTISED_NAMES)
    def test_half_precision(self, name: str) -> None:
        module = alive(StageC, NARROW)
        given = inputs(NARROW)
        with torch.inference_mode():
            quantise_large_weights(module, name)
            expected = module(*given)
            half = alive(StageC, NARROW).bfloat16()
            quantise_large_weights(half, name)
            assert (
                apart(half(*(one if i == 1 else one.bfloat16() for i, one in enumerate(given))).float(), expected) < 0.1
            )


class TestLayers:
    @pytest.mark.parametrize("name", QUANTISED_NAMES)
    def test_gradients(self, name: str) -> None:
        """As through the decoded weight, which is not kept for them."""
        layer, x = held_layer(name), torch.randn(5, 64, requires_grad=True)
        assert isinstance(layer.weight, Held)
        decoded = layer.weight.value().float()
        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            y = layer(x)
        (found,) = torch.autograd.grad((y**3).sum(), x)
        expected = torch.nn.functional.linear(x, decoded, layer.bias)
        assert torch.allclose(y, expected, atol=1e-5)
        (wanted,) = torch.autograd.grad((expected**3).sum(), x)
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-3)
        assert all(tensor.shape != decoded.shape for tensor in kept)

    def test_autocast(self) -> None:
        layer, x = held_layer("int8"), torch.randn(5, 64, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
        assert y.dtype == torch.bfloat16
        (found,) = torch.autograd.grad(y.float().sum(), x)
        assert found.dtype == torch.float32

    @pytest.mark.parametrize("name", QUANTISED_NAMES)
    def test_branches_beside(self, name: str) -> None:
        """A LoRA adds W x + B A x; summed in, it makes a plain weight."""
        module = alive(StageC, NARROW)
        quantise_large_weights(module, name)
        given = inputs(NARROW)
        weights = {path: one for path, one in adaptable(module).items() if "attn" in path or "channelwise" in path}
        assert all(isinstance(one, Quantised) for one in weights.values())
        branches = {
            path: [LowRank(torch.randn(2, one.shape[1]) / 8, torch.randn(one.shape[0], 2) / 8)]
            for path, one in weights.items()
        }
        with torch.inference_mode():
            before = module(*given)
            twin = adapted(module, branches)
            found, plain = twin(*given), fused(twin)
            assert apart(found, before) > 0.01
            assert apart(plain(*given), found) < 1e-4
            assert module(*given).equal(before)
        assert not any(isinstance(child, Held) for child in plain.get_submodule("down_blocks.0.0").modules())

    @pytest.mark.parametrize("name", QUANTISED_NAMES)
    def test_streaming(self, name: str) -> None:
        """Weights that come for each operation, as in ComfyUI with little memory."""
        module = alive(StageC, NARROW)
        quantise_large_weights(module, name)
        given = inputs(NARROW)
        with torch.inference_mode():
            expected = module(*given)
            stream(module, Lent)
            assert module(*given).equal(expected)
            settle(module)
            assert module(*given).equal(expected)

    def test_rotation_spreads_an_outlier(self) -> None:
        x = torch.zeros(1, 256)
        x[0, 7] = 16
        assert rotate(x, hadamard(256)).abs().unique().tolist() == [1.0]
        assert rotate(rotate(x, hadamard(256)), hadamard(256)).equal(x)

    def test_few_rows_are_decoded(self) -> None:
        assert not linear.multiplies_int8(torch.zeros(2, 64), quantised_int8())

    def test_a_copy_of_a_network(self) -> None:
        module = alive(StageC, NARROW)
        quantise_large_weights(module, "int4")
        with torch.inference_mode():
            assert deepcopy(module)(*inputs(NARROW)).equal(module(*inputs(NARROW)))


class Lent:
    """A source that lends its values for one operation."""

    device = torch.device("cpu")

    def __init__(self, tensor: Tensor) -> None:
        self.values = tensor.data

    def take(self) -> tuple[Tensor, None]:
        return self.values, None

    def home(self) -> Tensor:
        return self.values


def quantised_int8() -> Int8:
    made = quantise(torch.randn(32, 64), "int8", Rotations())
    assert isinstance(made, Int8)
    return made


def held_layer(name: str) -> Linear:
    layer = Linear(64, 32).requires_grad_(False)
    nn.init.normal_(layer.weight, std=0.2)
    hold(layer, "weight", quantise(layer.weight.detach(), name, Rotations()))
    return layer
