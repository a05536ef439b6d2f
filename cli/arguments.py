"""Arguments that several commands take, and the models that they name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..cascade_core.builtin import built_in
from ..cascade_core.errors import CascadeError
from ..cascade_core.kinds import DTYPE_NAMES, QUANTISED_NAMES
from ..headless import set_values, shipped
from ..headless.graph import WorkflowError

if TYPE_CHECKING:
    from ..cascade_core.models.handle import Handle

TINY = "tiny (built-in)"
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
DTYPES = ("auto", *DTYPE_NAMES)
LARGEST_NUMBER, LONGEST_NUMBER = 2**64, 30  # no input takes a larger one; characters that are read of one
LARGE_DTYPES = (*DTYPES, *QUANTISED_NAMES)  # of Stage B and C


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

SHORT_FORMS = (
    ("--prompt", "TEXT", ("Prompt.text",)),
    ("--negative", "TEXT", ("Negative prompt.text",)),
    ("--seed", "N", ("Stage C.seed", "Stage B.seed")),
    ("--size", "WxH", ("Size.width", "Size.height")),
    ("--steps", "N", ("Stage C.steps",)),
    ("-n", "N", ("Size.batch_size",)),
)
"""Options for the titles that the workflows of this pack have, and the values that they set."""


class _ShortForm(argparse.Action):
    """Adds `--set` of those targets that there are: a value for all, or parts of it, parted by an x, for each."""

    def __init__(self, targets: Sequence[str], metavar: str, **options: Any) -> None:
        about = f"--set of {' and '.join(targets)}"
        super().__init__(**options | {"dest": "set", "default": [], "help": about, "metavar": metavar})
        self.targets = targets
        self._may_be_drawn = targets[0].endswith(".seed")

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        parts = value.lower().split("x") if self.metavar == "WxH" else [value] * len(self.targets)
        if len(parts) != len(self.targets) or not all(map(self._fits, parts)):
            drawn = f" from 0 to {LARGEST_NUMBER - 1}, or {set_values.RANDOM}" if self._may_be_drawn else ""
            forms = {"N": f"a whole number{drawn}", "TEXT": "a text", "WxH": "width x height, such as 320x256"}
            expected = forms[str(self.metavar)]
            raise argparse.ArgumentError(self, f"expected {expected}, found {value!r}")
        assignments = [f"{target}={part}" for target, part in zip(self.targets, parts, strict=True)]
        options.set = [*options.set, set_values.ShortForm(f"{option} {value}", assignments)]

    def _fits(self, part: str) -> bool:
        """Whether it can be a value at all; whether it is in range the node says, but for what no node takes."""
        if self.metavar == "TEXT":
            return bool(part)
        if part == set_values.RANDOM and self._may_be_drawn:
            return True
        return part.isdecimal() and int(part[:LONGEST_NUMBER]) < LARGEST_NUMBER


def add(parser: argparse.ArgumentParser, *options: str) -> None:
    """Options of SHARED, by their names."""
    for option in options:
        parser.add_argument(*(["-o"] if option == "--output" else []), option, **SHARED[option])


def add_workflow(parser: argparse.ArgumentParser, *options: str, optional: bool = False) -> None:
    """The workflow, what changes it, and other options of SHARED. optional: the workflow may be left out."""
    about = (
        "a workflow file, from the editor or for the API, a picture that was saved with its workflow, or the name of a"
        " workflow that comes with the pack (`cascade workflows`)"
    )
    workflow: dict[str, Any] = {"nargs": "?"} if optional else {}
    workflow |= {"metavar": "WORKFLOW", "type": lambda text: shipped.find(Path(text)), "help": about}
    parser.add_argument("workflow", **workflow)
    add(parser, "--set", "--input", *options)
    for option, metavar, targets in SHORT_FORMS:
        parser.add_argument(option, action=_ShortForm, targets=targets, metavar=metavar)


def count(text: str) -> int:
    """The number of things, at least one, that an argument says."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {number}")
    return number


def folder(text: str) -> Path:
    """A folder of pictures; the built-in one by its name."""
    return built_in("dataset").get(text) or Path(text)


def load_model(loader: type[Any], option: str, name: str, dtype: str = "auto") -> Handle:
    """The model of this name by a loader's class; WorkflowError where there is none, or its file cannot be used."""
    name = TINY if name == "tiny" else name
    try:
        (handle,) = loader().load(name, dtype)
    except CascadeError as error:
        raise WorkflowError(f"{option}: {error}") from error
    return handle
