"""Torch's compiler and CUDA graphs around an evaluation of Stage C or B.

"blocks": inductor compiles each kind of block once, for all blocks of that kind, so that the many layers of a published
network take no longer to compile than a few; a second size does so once more, for any size. Torch keeps what it made
for other runs. "graphs": nothing is compiled. In both a CUDA device gets the whole evaluation as one launch, which
cuda_graphs.py records. What a mode needs is made at the first evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import CascadeError
from .cuda_graphs import recording

BACKEND = "inductor"
VARIANTS = 64  # of the compiled function: kinds of blocks, their widths, with a skip or without

Evaluate = Callable[..., Tensor]
Call = Callable[[nn.Module, Tensor, Tensor | None, Tensor | None, float], Tensor]


def call(block: nn.Module, x: Tensor, skip: Tensor | None, given: Tensor | None, scale: float) -> Tensor:
    """The block's output: the function that is compiled, with the block and so its weights among its arguments."""
    return block(x, skip, given, scale)


def evaluator(module: nn.Module, mode: str) -> Evaluate:
    """A stage's `evaluate` by this mode, a name of kinds.COMPILE_NAMES; CascadeError where torch cannot compile."""
    evaluate = cast(Evaluate, module.evaluate)
    if mode == "off":
        return evaluate
    if mode == "graphs":
        return recording(module, evaluate, mode)
    run = recording(module, partial(evaluate, call=_compiled_call(BACKEND)), mode)

    def compiled(*given: Any) -> Tensor:
        from torch._dynamo.exc import BackendCompilerFailed

        try:
            return run(*given)
        except BackendCompilerFailed as error:
            reason = str(getattr(error, "inner_exception", error)).strip().partition("\n")[0]
            raise CascadeError(f"compile: torch cannot compile here ({reason}): set it to off") from error

    return compiled


@cache
def _compiled_call(backend: str) -> Call:
    import torch._dynamo.config as dynamo

    limit = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"  # before torch 2.7
    setattr(dynamo, limit, max(getattr(dynamo, limit), VARIANTS))
    compiler = cast(Callable[..., Call], torch.compile)  # pyright: ignore[reportUnknownMemberType]  (half typed)
    return compiler(call, backend=backend, fullgraph=True)
