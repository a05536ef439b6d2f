"""Models that a command names by options, found as the loaders find them, and what becomes of their failures."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..cascade_core.kinds import DTYPE_NAMES
from ..headless.graph import WorkflowError
from .output import FAILED, complain

if TYPE_CHECKING:
    from ..cascade_core.models.handle import Handle

TINY = "tiny (built-in)"
DTYPES = ("auto", *DTYPE_NAMES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where models lie and compute."""
    parser.add_argument("--models", metavar="DIR", type=Path, help="where models are (./models)")
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, ... (the first GPU, else cpu)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def count(text: str) -> int:
    """An argument that is a number of things, at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {number}")
    return number


def load(loader: type[Any], option: str, name: str, dtype: str = "auto") -> Handle:
    """The model of this name by a loader's class; WorkflowError where there is none, CascadeError for a bad file."""
    name = TINY if name == "tiny" else name
    found: bool | str = loader.VALIDATE_INPUTS(model_name=name)
    if isinstance(found, str):
        raise WorkflowError(f"{option}: {found}")
    (handle,) = loader().load(name, dtype)
    return handle


def identity(handle: Handle) -> str:
    """What tells weights from others of the same shapes: a digest of them, as they are loaded."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(handle.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def told(work: Callable[[], int]) -> int:
    """The exit code of `work`; what fails while it runs is told and is FAILED, and not a bad argument."""
    import torch

    try:
        return work()
    except CascadeError as error:
        complain(str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        complain(f"out of memory: {error}; choose a smaller --batch, fewer --workers, or another --device")
    return FAILED
