"""Arguments that several commands take, and the models that they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..headless import shipped
from ..headless.graph import WorkflowError

if TYPE_CHECKING:
    from ..cascade_core.models.handle import Handle

TINY = "tiny (built-in)"
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
DTYPES = ("auto", "float32", "bfloat16", "float16")


SHARED: dict[str, dict[str, Any]] = {
    "--set": {
        "metavar": "NODE.INPUT=VALUE",
        "action": "append",
        "default": [],
        "help": "change one value; NODE is an id or a unique title. Split at the first = and at the last dot before it",
    },
    "--input": {"metavar": "DIR", "type": Path, "help": "where pictures are read (./input)"},
    "--output": {"metavar": "DIR", "type": Path, "help": "where pictures are written (./output)"},
    "--models": {"metavar": "DIR", "type": Path, "help": "where models are (./models)"},
    "--device": {"metavar": "D", "help": "cpu, cuda, cuda:1, xpu, mps, ... (the first GPU, else cpu)"},
    "--built-in": {
        "action": "store_true",
        "help": "try the workflow with the built-in models, small, and with built-in pictures for those not here",
    },
    "--json": {"action": "store_true", "help": "print one JSON object on stdout"},
}


def add(parser: argparse.ArgumentParser, *options: str) -> None:
    """Options of SHARED, by their names."""
    for option in options:
        parser.add_argument(option, **SHARED[option])


def add_workflow(parser: argparse.ArgumentParser, *options: str) -> None:
    """The workflow, what changes it, and other options of SHARED."""
    about = (
        "a workflow file, from the editor or for the API, a picture that was saved with its workflow, or the name of a"
        " workflow that comes with the pack (`cascade workflows`)"
    )
    parser.add_argument("workflow", metavar="WORKFLOW", type=lambda text: shipped.find(Path(text)), help=about)
    add(parser, "--set", "--input", *options)


def count(text: str) -> int:
    """The number of things, at least one, that an argument says."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {number}")
    return number


def load_model(loader: type[Any], option: str, name: str, dtype: str = "auto") -> Handle:
    """The model of this name by a loader's class; WorkflowError where there is none, CascadeError for a bad file."""
    name = TINY if name == "tiny" else name
    found: bool | str = loader.VALIDATE_INPUTS(model_name=name)
    if isinstance(found, str):
        raise WorkflowError(f"{option}: {found}")
    (handle,) = loader().load(name, dtype)
    return handle
