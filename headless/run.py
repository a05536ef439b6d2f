"""A checked workflow, run on the nodes here: what `cascade run` and the app both do."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from . import graph, node_classes

_OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")


def perform(
    checked: graph.Validation,
    editor: Mapping[str, Any] | None,
    nodes: node_classes.Nodes,
    *,
    finished: Callable[[graph.Done], None],
    refused: Callable[[graph.Problem], None],
    partial: bool = False,
    cache: graph.Cache | None = None,
    around: Callable[[str], None] = lambda node_id: None,
) -> bool:
    """Ask the nodes whether their inputs fit together, then run the outputs that are fine; whether the nodes agreed.

    `editor` is the workflow in the editor's form, for the pictures. `refused` hears why not; where it heard anything,
    nothing runs unless `partial`. `around(node id)` is called before
    each node's own code. Raises NodeFailure; KeyboardInterrupt passes through.
    """

    @contextmanager
    def inference(node_id: str) -> Generator[None]:
        """Nodes run here as they do in the host."""
        import torch

        around(node_id)
        with torch.inference_mode():
            yield

    extra = {} if editor is None else {"workflow": editor}
    plan = graph.Plan(checked.prompt, nodes.classes, outputs=checked.outputs, extra_pnginfo=extra, cache=cache)
    problems = graph.rehearse(plan, around=inference)
    for problem in problems:
        refused(problem)
    plan.drop({problem.node for problem in problems})
    if not problems or (partial and plan.outputs):
        graph.execute(plan, around=inference, finished=finished)
    return not problems


def in_words(failure: graph.NodeFailure) -> str:
    """What to tell a person of a failure."""
    if type(failure.error).__name__ in _OUT_OF_MEMORY:
        return f"{failure}; choose a smaller size, batch or dtype, or another --device"
    return str(failure)


def is_foreseen(failure: graph.NodeFailure) -> bool:
    """Whether the sentence says all; else the place where it happened helps to mend it."""
    return isinstance(failure.error, ValueError | OSError) or type(failure.error).__name__ in _OUT_OF_MEMORY
