"""Evaluations of a stage as CUDA graphs: recorded once for each set of shapes, then launched as one.

A graph computes at fixed places of memory. What an evaluation is given is copied to where the recorded one reads: the
latent and the modulations in each step, the rest when another image begins. The weights are read where they lay: when
they have moved, the evaluation is recorded anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import CascadeError, is_out_of_memory

if TYPE_CHECKING:
    from .body import Modulation, Prepared

MOST = 4  # graphs of a network that are kept: each holds an evaluation's activations

Evaluate = Callable[..., Tensor]  # of a latent, a Modulation and a Prepared


class Recorded:
    """An evaluation as a graph, with the memory that it reads and writes."""

    def __init__(self, evaluate: Evaluate, x: Tensor, modulation: Modulation, prepared: Prepared) -> None:
        self.prepared = prepared
        mine = prepared.map(Tensor.clone)
        self.constants = mine.tensors()
        self.x, self.modulation = x.clone(), tuple(each.clone() for each in modulation)
        aside = torch.cuda.Stream(x.device)
        aside.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(aside):  # what libraries do at the first call cannot be recorded
            evaluate(self.x, self.modulation, mine)
        torch.cuda.current_stream(x.device).wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # other threads may go on
            self.result = evaluate(self.x, self.modulation, mine)

    def __call__(self, x: Tensor, modulation: Modulation, prepared: Prepared) -> Tensor:
        _copy([self.x, *self.modulation], [x, *modulation])
        if prepared is not self.prepared:
            _copy(self.constants, prepared.tensors())
            self.prepared = prepared
        self.graph.replay()
        return self.result.clone()  # the next replay writes to the same memory


def can_record(x: Tensor) -> bool:
    return x.is_cuda


_RECORDED: WeakKeyDictionary[nn.Module, dict[Any, Recorded]] = WeakKeyDictionary()


def recording(module: nn.Module, evaluate: Evaluate, mode: str) -> Evaluate:
    """The network's `evaluate` by graphs, on a CUDA device; elsewhere as it is.

    mode: tells evaluations of a network apart; the graphs of one serve all runs. What is returned raises CascadeError
    where an evaluation cannot be recorded.
    """
    weights = [*module.parameters(), *module.buffers()]
    graphs = _RECORDED.setdefault(module, {})

    def run(x: Tensor, modulation: Modulation, prepared: Prepared) -> Tensor:
        if not can_record(x):
            return evaluate(x, modulation, prepared)
        places = tuple(weight.data_ptr() for weight in weights)
        given = [x, *modulation, *prepared.tensors()]
        absent = tuple(one is None for one in prepared.control)
        key = places, mode, absent, tuple((each.shape, each.dtype) for each in given)
        graph = graphs.pop(key, None)
        if graph is None:
            for other in [other for other in graphs if other[0] != places]:
                del graphs[other]
            while len(graphs) >= MOST:
                del graphs[next(iter(graphs))]
            graph = _record(evaluate, x, modulation, prepared)
        graphs[key] = graph  # last, as what was used last is the last to go
        return graph(x, modulation, prepared)

    return run


def _record(evaluate: Evaluate, x: Tensor, modulation: Modulation, prepared: Prepared) -> Recorded:
    try:
        return Recorded(evaluate, x, modulation, prepared)
    except RuntimeError as error:
        if is_out_of_memory(error) or "captur" not in str(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise CascadeError(f"compile: an evaluation cannot be recorded here ({reason}): set it to off") from error


def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    copy = cast("Callable[[Sequence[Tensor], Sequence[Tensor]], None]", torch._foreach_copy_)  # pyright: ignore
    copy(targets, sources)
