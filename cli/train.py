"""`cascade train`: a folder of pictures to a LoRA, a ControlNet or a fine-tuned stage; and the tiny cascade's recipe.

The options are the inputs of the nodes that train, and a node does the work.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.errors import CascadeError
from ..headless import prepare
from ..headless.graph import WorkflowError, list_choices
from . import parts
from .output import FAILED, OK, complain

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..runtime.local import LocalHost

TRAINERS = {
    "lora": "a LoRA of Stage C, and new words for prompts",
    "controlnet": "a ControlNet, by own control pictures in FOLDER/control or by hints made of the pictures",
    "stage_c": "all of Stage C",
    "stage_b": "all of Stage B",
}
SEVERAL = ("stage_c", "stage_b")  # what may be trained on several GPUs
DESCRIPTION = """Train {what} on the pictures of FOLDER and its sub-folders, and print the path of the finished file.
Each picture needs its caption in a .txt file of the same name, or give one --caption for all.
The state is kept in OUTPUT/training/NAME, with the curve of the loss and sample pictures: the same command again goes
on where the last one stopped, whatever stopped it. Ctrl-C ends the step, saves the state and stops; a second one stops
at once, at the last saved state.
Exit code: 0 the file is written, 2 a bad argument, 1 a failure, 130 Ctrl-C."""


def add_parser(commands: _SubParsersAction[Any]) -> None:
    parser = commands.add_parser("train", help="train a LoRA, a ControlNet or a stage on a folder of pictures")
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    for kind, what in TRAINERS.items():
        _add_trainer(kinds, kind, what)
    tiny = kinds.add_parser("tiny", help="the built-in tiny cascade, from nothing")
    tiny.add_argument("--work", metavar="DIR", type=Path, default=Path("output/training/tiny"), help="(%(default)s)")
    tiny.add_argument("--part", metavar="NAME", action="append", default=[], help="only this part; may be repeated")
    tiny.add_argument("--minutes", metavar="M", type=float, help="the time for the whole training")
    tiny.set_defaults(command=_train_tiny)


def _add_trainer(kinds: _SubParsersAction[Any], kind: str, what: str) -> None:
    parser = kinds.add_parser(
        kind,
        help=what,
        description=DESCRIPTION.format(what=what),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where the pictures are")
    parser.add_argument("--name", required=True, help="of the finished file, and of the folder of the state")
    parser.add_argument("--caption", default="", help="of all pictures; {name} is the file name, {caption} its .txt")
    needed = _node(kind).INPUT_TYPES()["required"]
    for name, (declared, about) in _inputs(kind).items():
        _add_input(parser, name, declared, about, name in needed)
    parser.add_argument("--dtype", choices=parts.DTYPES, default="auto", help="precision of the stages (%(default)s)")
    parser.add_argument("--output", metavar="DIR", type=Path, help="where states are kept (./output)")
    parts.add_arguments(parser)
    parser.set_defaults(command=train, kind=kind)


def _add_input(
    parser: argparse.ArgumentParser, name: str, declared: Any, options: Mapping[str, Any], needed: bool
) -> None:
    """An option for one of the node's inputs; lines of a text may be given by repeating it."""
    flag = "--" + name.replace("_", "-")
    about = options["tooltip"].replace("%", "%%")
    if isinstance(declared, list):
        parser.add_argument(flag, choices=declared, default=options["default"], help=f"{about} (%(default)s)")
    elif declared in ("INT", "FLOAT"):
        parser.add_argument(
            flag,
            metavar="N",
            type=_within(int if declared == "INT" else float, options),
            default=options["default"],
            help=f"{about} (%(default)s)",
        )
    elif declared == "BOOLEAN":
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=options["default"], help=about)
    elif declared == "STRING" and options.get("multiline"):
        parser.add_argument(flag, metavar="TEXT", action="append", default=[], help=f"{about} May be repeated.")
    elif declared == "STRING":
        parser.add_argument(flag, metavar="TEXT", default=options["default"], help=f"{about} (%(default)s)")
    else:
        default = parts.TINY if needed else None
        parser.add_argument(flag, metavar="NAME", default=default, help=about + (" (%(default)s)" if needed else ""))


def _within(number: Any, options: Mapping[str, Any]) -> Any:
    def read(text: str) -> Any:
        value = number(text)
        if not options["min"] <= value <= options["max"]:
            raise argparse.ArgumentTypeError(f"expected {options['min']} to {options['max']}, found {text}")
        return value

    read.__name__ = "number"  # argparse names it where the text is none
    return read


def _inputs(kind: str) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """The node's inputs that become options."""
    types = _node(kind).INPUT_TYPES()
    given = {**types["required"], **types.get("optional", {})}
    return {name: entry for name, entry in given.items() if name not in ("dataset", "name")}


def _node(kind: str) -> type[Any]:
    from ..nodes import fine_tuning, training

    return {
        "lora": training.CascadeLoRATrain,
        "controlnet": training.CascadeControlNetTrain,
        "stage_c": fine_tuning.StageCTrainer,
        "stage_b": fine_tuning.StageBTrainer,
    }[kind]


def train(options: argparse.Namespace) -> int:
    from ..cascade_core.training import sharded

    device = sharded.join()
    if device is not None:
        options.device = str(device)
        if options.kind not in SEVERAL:
            raise WorkflowError(f"train {options.kind}: torchrun is for {' and '.join(SEVERAL)}: leave it out")
    local = prepare.configure(options)
    from ..nodes.dataset import CascadeDataset

    local.device()  # refuses a device that is not there
    (dataset,) = CascadeDataset().read(str(options.folder.absolute()), options.caption)

    def work() -> int:
        inputs = {name: _value(options, name, declared) for name, (declared, _) in _inputs(options.kind).items()}
        given = {name: value for name, value in inputs.items() if value is not None}
        node, given = _node(options.kind)(), {**given, "dataset": dataset, "name": options.name}
        try:
            node.rehearse(**given)
        except CascadeError as error:
            raise WorkflowError(str(error)) from error
        with nullcontext() if device else _gentle_interrupt(local):
            result = node.train(**given)
        _, path, _ = result["result"]
        if sharded.rank() == 0:
            print(json.dumps({"files": [path]}) if options.json else path, flush=True)
        return OK

    return parts.told(work)


def _value(options: argparse.Namespace, name: str, declared: Any) -> Any:
    """What the node gets for an input; None where the option was not given."""
    value = getattr(options, name)
    if isinstance(value, list):
        return "\n".join(value)
    if isinstance(declared, str) and declared.startswith("CASCADE_") and value is not None:
        return _load(name, declared, value, options.dtype)
    return value


def _load(name: str, declared: str, model: str, dtype: str) -> Any:
    from ..nodes import loaders

    kinds = {loader.RETURN_TYPES[0]: loader for loader in vars(loaders).values() if hasattr(loader, "RETURN_TYPES")}
    loader = kinds[declared]
    staged = declared in ("CASCADE_STAGE_C", "CASCADE_STAGE_B", "CASCADE_STAGE_A")
    return parts.load(loader, "--" + name.replace("_", "-"), model, dtype if staged else "auto")


@contextmanager
def _gentle_interrupt(local: LocalHost) -> Iterator[None]:
    """The first Ctrl-C asks the step that is being taken to be the last; the second is an ordinary one."""

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        complain("stopping after this step; Ctrl-C again stops at once")
        local.request_cancel()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _train_tiny(options: argparse.Namespace) -> int:
    try:
        from ..recipes.tiny.recipe import PARTS, train_tiny
    except ModuleNotFoundError as error:
        if not (error.name or "").endswith(".recipes"):
            raise
        raise WorkflowError(
            "train tiny: the recipe is in the repository, and not in what pip or ComfyUI's registry installs: clone the"
            " repository and give the command there"
        ) from None
    unknown = [part for part in options.part if part not in PARTS]
    if unknown:
        raise WorkflowError(f"--part: expected one of {list_choices(PARTS)}, found {unknown[0]!r}")
    try:
        train_tiny(options.part, options.work, options.minutes)
    except CascadeError as error:
        complain(str(error))
        return FAILED
    return OK
