"""Reuse of Stage B's inner levels: against the network with what enters the outer ones put in by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from stable_cascade_nodes.benchmarks.peers import alive
from stable_cascade_nodes.cascade_core.errors import CascadeError
from stable_cascade_nodes.cascade_core.memory import StayPut
from stable_cascade_nodes.cascade_core.models.body import Inner
from stable_cascade_nodes.cascade_core.models.config import PRESETS
from stable_cascade_nodes.cascade_core.models.handle import Handle
from stable_cascade_nodes.cascade_core.models.stage_b import StageB
from stable_cascade_nodes.cascade_core.sampling.condition import Condition
from stable_cascade_nodes.cascade_core.sampling.latent import Latent
from stable_cascade_nodes.cascade_core.sampling.settings import STAGE_B_DEFAULTS
from stable_cascade_nodes.cascade_core.sampling.stages import sample_stage_b

from ..models.test_stage_b import SMALL

SIZE = (32, 48)
TINY = PRESETS["stage_b"]["tiny"]


@contextmanager
def entering(module: StageB, level: int, put: Tensor | None = None) -> Iterator[list[Tensor]]:
    """What enters the first block of a level on the way up, in each evaluation; with `put` that in its place."""
    seen: list[Tensor] = []
    first = cast(Any, module.up_blocks)[len(module.up_blocks) - 1 - level][0]

    def before(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(arguments[0].clone())
        return arguments if put is None else (put, *arguments[1:])

    hook = first.register_forward_pre_hook(before)
    yield seen
    hook.remove()


@pytest.mark.parametrize("level", [1, 2, 3])
@torch.inference_mode()
def test_an_evaluation_takes_what_the_one_before_gave(level: int) -> None:
    module = alive(StageB, replace(SMALL, block_repeat=((1, 1, 1, 1), (1, 1, 1, 1))))
    first, second = torch.randn(2, 2, 4, *SIZE, generator=torch.Generator().manual_seed(0))
    given = module.modulate(torch.tensor([0.5])), module.prepare(torch.randn(2, 16, 3, 5), torch.randn(2, 12), SIZE)
    with entering(module, level - 1) as seen:
        plain = [module.evaluate(x, *given) for x in (first, second)]
    with entering(module, level - 1, seen[0]):
        expected = module.evaluate(second, *given)
    inner = Inner(level)
    assert torch.equal(module.evaluate(first, *given, inner=inner), plain[0])
    assert torch.equal(module.evaluate(second, *given, inner=inner), expected)
    assert not torch.allclose(expected, plain[1], rtol=1e-3)
    assert torch.equal(module.evaluate(second, *given, inner=inner), plain[1])  # computed anew, in turns


@pytest.fixture(scope="module")
def handle() -> Handle:
    module = alive(StageB, TINY)
    return Handle(module, "stage_b", "a test", "tiny", TINY, "v", 3.0, torch.float32, StayPut())


def sample(handle: Handle, **changes: Any) -> tuple[Tensor, list[tuple[int, int]]]:
    """The result, and of each evaluation the latents and the number of inner levels that were computed."""
    generator = torch.Generator().manual_seed(1)
    conditions = [Condition(torch.zeros(1, 1, 128), torch.randn(1, 128, generator=generator)) for _ in range(2)]
    stage_c = Latent(torch.randn(1, 16, 6, 6, generator=generator))
    latent = Latent(torch.zeros(1, 4, 64, 64))
    calls: list[tuple[int, int]] = []
    down = cast(Any, handle.module).down_blocks

    def count(level: int) -> Any:
        def hook(_: Any, arguments: tuple[Any, ...]) -> None:
            if level == 0:
                calls.append((len(arguments[0]), 0))
            else:
                calls[-1] = (calls[-1][0], calls[-1][1] + 1)

        return hook

    hooks = [down[level][0].register_forward_pre_hook(count(level)) for level in range(len(down))]
    settings = replace(STAGE_B_DEFAULTS, **{"steps": 5, **changes})
    *_, last = sample_stage_b(handle, conditions[:1], conditions[1:], stage_c, latent, seed=3, settings=settings)
    for hook in hooks:
        hook.remove()
    return last.x0, calls


def test_every_second_step_reuses(handle: Handle) -> None:
    plain, calls = sample(handle)
    assert calls == [(2, 2)] * 5
    reused, calls = sample(handle, reuse_from=1)
    assert calls == [(2, 2), (2, 0)] * 2 + [(2, 2)]
    assert not torch.equal(reused, plain)
    assert sample(handle, reuse_from=2)[1] == [(2, 2), (2, 1)] * 2 + [(2, 2)]
    again, calls = sample(handle, reuse_from=1)  # another run begins anew
    assert calls[0] == (2, 2) and torch.equal(again, reused)


def test_a_single_step_has_nothing_to_reuse(handle: Handle) -> None:
    assert torch.equal(sample(handle, steps=1, reuse_from=1)[0], sample(handle, steps=1)[0])


def test_where_guidance_ends_the_levels_are_computed(handle: Handle) -> None:
    """The batch of a guided step is another one."""
    _, calls = sample(handle, steps=6, cfg_end_percent=0.45, reuse_from=1)
    assert calls == [(2, 2), (2, 0), (2, 2), (1, 2), (1, 0), (1, 2)]


def test_a_sampler_with_two_evaluations_a_step(handle: Handle) -> None:
    """Turns are the network's, not the step's."""
    _, calls = sample(handle, steps=3, sampler="heun", cfg=1.0, reuse_from=1)
    assert calls == [(1, 2), (1, 0)] * (len(calls) // 2) + [(1, 2)] * (len(calls) % 2) and len(calls) >= 5


def test_a_level_that_is_not_there_is_refused(handle: Handle) -> None:
    with pytest.raises(CascadeError, match="reuse_from: expected at most 2, the innermost level of a test, found 3"):
        sample(handle, reuse_from=3)
    with pytest.raises(CascadeError, match="reuse_from: expected 0 or a level of Stage B, found -1"):
        replace(STAGE_B_DEFAULTS, reuse_from=-1)
