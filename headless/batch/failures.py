"""The kinds of failures, which say what becomes of a row: tried again, or left."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...cascade_core.errors import CascadeError, is_out_of_memory
from .. import graph, missing_models, node_classes
from ..run import in_words

BAD_ROW = "bad_row"  # the row itself; it fails the same anywhere
MISSING_MODEL = "missing_model"  # a model file that is not there, is damaged, or is not the driver's
OUT_OF_MEMORY = "out_of_memory"
LOST_WORKER = "lost_worker"  # the worker died of it
STORAGE = "storage"  # the output cannot be written
TRANSIENT = "transient"  # anything else
KINDS = (BAD_ROW, MISSING_MODEL, OUT_OF_MEMORY, LOST_WORKER, STORAGE, TRANSIENT)
RETRIED = (OUT_OF_MEMORY, STORAGE, TRANSIENT)
MOST_LOSSES = 3  # workers that may die of a row

ADVICE = {
    BAD_ROW: "correct these rows",
    MISSING_MODEL: "put the model files where they belong",
    OUT_OF_MEMORY: "choose smaller sizes, another --device or fewer --workers",
    LOST_WORKER: "look at what these rows ask for; --redo-lost tries them again",
    STORAGE: "make room in the output folder, and see that it is ours to write",
    TRANSIENT: "look at the messages",
}
"""What a person does about the failures of a kind, before the same command is given again."""

FULL = (errno.ENOSPC, errno.EDQUOT)


def of_problems(problems: Sequence[graph.Problem], nodes: node_classes.Nodes) -> str:
    """The kind of a row that validation refuses: of its worst problem."""
    only_models = all(missing_models.is_of_model_file(problem, nodes) for problem in problems)
    return MISSING_MODEL if only_models else BAD_ROW


def of_error(error: BaseException, nodes: node_classes.Nodes, output: Path) -> tuple[str, str]:
    """The kind of what a row raised that writes into the folder `output`, and a sentence about it."""
    inner: Any = error.error if isinstance(error, graph.NodeFailure) else error
    words = in_words(error) if isinstance(error, graph.NodeFailure) else str(error) or type(error).__name__
    if is_out_of_memory(inner):
        return OUT_OF_MEMORY, words
    if is_of_storage(inner, output):
        return STORAGE, words
    loads = isinstance(error, graph.NodeFailure) and hasattr(nodes.classes[error.class_type], "FILE_INPUT")
    if loads and isinstance(inner, OSError | CascadeError):
        return MISSING_MODEL, words
    return (BAD_ROW if isinstance(inner, ValueError) else TRANSIENT), words


def is_of_storage(error: BaseException | None, output: Path) -> bool:
    """Whether an error, or what it came of, is that a file in `output` could not be written, or that a disk is full."""
    while error is not None:
        if isinstance(error, OSError):
            named = error.filename2 or error.filename
            if error.errno in FULL or (isinstance(named, str | Path) and Path(named).is_relative_to(output)):
                return True
        error = error.__cause__ or error.__context__
    return False
