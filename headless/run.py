"""Workflows run on this machine, by the command and the app: folders and device, and a checked workflow's nodes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import is_out_of_memory
from . import graph, node_classes

if TYPE_CHECKING:
    from ..runtime.local import LocalHost


def configure(options: argparse.Namespace, *, makes_models: bool = False) -> LocalHost:
    """The nodes' host, with the folders and the device that were chosen. Raises WorkflowError for what is no folder.

    makes_models: the folder of models may come into being.
    """
    chosen: dict[str, Any] = {name: getattr(options, name, None) for name in ("output", "input", "models", "device")}
    for name in ("input", "models"):
        made = name == "models" and makes_models and chosen[name] is not None and not chosen[name].exists()
        if chosen[name] is not None and not chosen[name].is_dir() and not made:
            raise graph.WorkflowError(f"--{name}: expected a folder, found {str(chosen[name])!r}")
    if chosen["output"] is not None and chosen["output"].exists() and not chosen["output"].is_dir():
        raise graph.WorkflowError(f"--output: expected a folder, found the file {str(chosen['output'])!r}")
    from ..runtime import allocator, host

    allocator.keep_memory()
    return host.configure(**chosen)


def perform(
    checked: graph.Validation,
    editor: Mapping[str, Any] | None,
    nodes: node_classes.Nodes,
    *,
    finished: Callable[[graph.Done], None],
    refused: Callable[[graph.Problem], None],
    partial: bool = False,
    cache: graph.Cache | None = None,
    row: Mapping[str, Any] | None = None,
    around: Callable[[str], None] = lambda node_id: None,
) -> bool:
    """Ask the nodes whether their inputs fit together, then run the outputs that are fine; whether the nodes agreed.

    `editor` is the workflow in the editor's form, for the pictures. `refused` is called with each reason against a
    run; after any, nothing runs unless `partial`. `around(node id)` is called before each node's own code. A `row` of a
    batch is carried by the pictures too, and written even where one before it had the same. Raises NodeFailure;
    KeyboardInterrupt passes through.
    """

    @contextmanager
    def inference(node_id: str) -> Generator[None]:
        """Nodes run here as they do in the host."""
        import torch

        around(node_id)
        with torch.inference_mode():
            yield

    carried = {"workflow": editor, "row": row}
    extra = {name: value for name, value in carried.items() if value is not None}
    plan = graph.Plan(checked.prompt, nodes.classes, outputs=checked.outputs, extra_pnginfo=extra, cache=cache)
    if row is not None:
        plan.forget_written()
    problems = graph.rehearse(plan, around=inference)
    for problem in problems:
        refused(problem)
    plan.drop({problem.node for problem in problems if problem.node is not None})
    if not problems or (partial and plan.outputs):
        graph.execute(plan, around=inference, finished=finished)
    return not problems


def in_words(failure: graph.NodeFailure) -> str:
    """A failure as a person reads it."""
    if is_out_of_memory(failure.error):
        return f"{str(failure).splitlines()[0]}; choose a smaller size, batch or dtype, or another --device"
    return str(failure)


def is_foreseen(failure: graph.NodeFailure) -> bool:
    """Whether the words say all; else the place in the code helps to mend it."""
    return isinstance(failure.error, ValueError | OSError) or is_out_of_memory(failure.error)
