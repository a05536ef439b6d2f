"""Arguments that several commands take, and the models that they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..headless.graph import WorkflowError

if TYPE_CHECKING:
    from ..cascade_core.models.handle import Handle

TINY = "tiny (built-in)"
DTYPES = ("auto", "float32", "bfloat16", "float16")


def add_workflow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "workflow",
        metavar="WORKFLOW",
        type=Path,
        help="a workflow file, from the editor or for the API, or a picture that was saved with its workflow",
    )
    parser.add_argument(
        "--set",
        metavar="NODE.INPUT=VALUE",
        action="append",
        default=[],
        help="change one value; NODE is an id or a unique title. Split at the first = and at the last dot before it",
    )
    add_input(parser)


def add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", metavar="DIR", type=Path, help="where pictures are read (./input)")


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="DIR", type=Path, help="where pictures are written (./output)")


def add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", metavar="DIR", type=Path, help="where models are (./models)")


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, ... (the first GPU, else cpu)")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


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
