"""The stages under torch's compiler: traced whole, once for all that changes from step to step and image to image."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive, deviation
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.models import compiling
from stable_cascade_nodes.cascade_core.models.adapters import LowRank, adapted
from stable_cascade_nodes.cascade_core.models.body import slice_modulation
from stable_cascade_nodes.cascade_core.models.compiling import evaluator
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.stage_a import StageA
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.models.stage_c import StageC

from . import test_stage_b, test_stage_c

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
NETWORKS: dict[str, tuple[Any, Any]] = {
    "stage_c": (StageC, replace(test_stage_c.SMALL, dropout=(0.0, 0.0))),
    "stage_b": (StageB, test_stage_b.SMALL),
}


class Compiles:
    """A backend that counts the graphs that it gets, and leaves them as they are."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        self.count += 1
        return graph.forward


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiles]:
    """Blocks by a counting backend."""
    torch._dynamo.reset()
    counting = Compiles()
    monkeypatch.setattr(compiling, "BACKEND", counting)
    yield counting
    torch._dynamo.reset()
    compiling._compiled_call.cache_clear()


def whole(module: Any, backend: Any) -> Any:
    """An evaluation traced in one piece: a break in the graph is an error."""
    return torch.compile(module.evaluate, backend=backend, fullgraph=True)


def prepared_inputs(kind: str, module: Any, seed: int, size: int = 8, strength: float = 1.0) -> tuple[Tensor, Any, Any]:
    """A latent, the modulations of four steps, and a prompt's constants; for Stage C with a control."""
    torch.manual_seed(seed)
    config, size = module.config, size * (1 if kind == "stage_c" else 4)
    x = torch.randn(2, config.channels, size, size)
    steps = module.modulate(torch.rand(4))
    if kind == "stage_b":
        constants = module.prepare(torch.randn(2, 16, 3, 3), torch.randn(2, config.c_clip), (size, size))
        return x, steps, constants
    prepared = module.prepare(torch.randn(2, 6, config.c_clip_text), torch.randn(2, config.c_clip_text_pooled))
    return x, steps, replace(prepared, control=[strength * torch.randn(1, config.c_hidden[0], size, size)])


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("stage_c", "blocks"),
        pytest.param("stage_c", "whole", marks=pytest.mark.slow),
        pytest.param("stage_b", "blocks", marks=pytest.mark.slow),
        ("stage_b", "whole"),
    ],
)
def test_seeds_prompts_strengths_and_steps_compile_nothing_anew(kind: str, mode: str, compiles: Compiles) -> None:
    network, config = NETWORKS[kind]
    module = alive(network, config)
    with torch.inference_mode():
        counts: list[int] = []
        for seed in range(3):
            evaluate = evaluator(module, mode) if mode == "blocks" else whole(module, compiles)  # as of each run
            x, modulations, prepared = prepared_inputs(kind, module, seed, strength=0.5 + seed)
            for step in range(4):
                given = (x, slice_modulation(modulations, step), prepared)
                assert deviation(evaluate(*given), module.evaluate(*given)) < 1e-5
                counts.append(compiles.count)
    assert counts[0] > 0
    assert len(set(counts)) == 1, counts
    if mode == "whole":
        assert counts[0] == 1
    else:
        kinds = {(type(block), block.index) for block in module.modules() if hasattr(block, "own")}
        assert counts[0] < len(kinds)  # once for each kind, not for each block


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_sizes_compile_once_more_and_no_more(kind: str, compiles: Compiles) -> None:
    """The response norm is one reduction for a compiler; its chunks would be unrolled anew for every size."""
    network, config = NETWORKS[kind]
    module = alive(network, config)
    counts: list[int] = []
    with torch.inference_mode():
        evaluate = whole(module, compiles)
        for size in (8, 12, 16, 20, 28):
            x, modulations, prepared = prepared_inputs(kind, module, 0, size)
            evaluate(x, slice_modulation(modulations, 0), prepared)
            counts.append(compiles.count)
    assert counts[1:] == [counts[1]] * 4, counts


def test_stage_a_traces_whole(compiles: Compiles) -> None:
    module = alive(StageA, replace(PRESETS["stage_a"]["tiny"], bottleneck_blocks=2))
    with torch.inference_mode():
        decode = torch.compile(module.decode, backend=compiles, fullgraph=True)
        for seed in range(3):
            latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
            assert deviation(decode(latent), module.decode(latent)) < 1e-5
    assert compiles.count == 1


@pytest.mark.slow
def test_a_lora_is_compiled_with_its_own_branches(compiles: Compiles) -> None:
    module = alive(*NETWORKS["stage_c"])
    name = "down_blocks.0.0.channelwise.0.weight"
    out, inner = module.get_parameter(name).shape
    twin: Any = adapted(module, {name: [LowRank(torch.randn(2, inner), torch.randn(out, 2))]})
    x, modulations, prepared = prepared_inputs("stage_c", module, 0)
    given = (x, slice_modulation(modulations, 0), prepared)
    with torch.inference_mode():
        for each in (module, twin, module):
            for evaluate in (evaluator(each, "blocks"), whole(each, compiles)):
                assert deviation(evaluate(*given), each.evaluate(*given)) < 1e-5
        assert deviation(twin.evaluate(*given), module.evaluate(*given)) > 1e-3


def test_a_compiler_that_cannot_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "BACKEND", broken)
    compiling._compiled_call.cache_clear()
    module = alive(*NETWORKS["stage_c"])
    x, modulations, prepared = prepared_inputs("stage_c", module, 0)
    with pytest.raises(CascadeError, match=r"torch cannot compile here \(.*no C\+\+ compiler.*\): set it to off"):
        evaluator(module, "blocks")(x, slice_modulation(modulations, 0), prepared)


@pytest.mark.slow
def test_inductor_agrees() -> None:
    module = alive(*NETWORKS["stage_c"])
    x, modulations, prepared = prepared_inputs("stage_c", module, 0)
    given = (x, slice_modulation(modulations, 0), prepared)
    with torch.inference_mode():
        assert deviation(evaluator(module, "blocks")(*given), module.evaluate(*given)) < 1e-5
    torch._dynamo.reset()
