"""`cascade train`: pictures to a LoRA, a ControlNet or a fine-tuned stage; distillation; the tiny cascade's recipe.

The options are the core's settings of each kind of training, which the nodes that train have as widgets.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core import builtin
from ..cascade_core.errors import CascadeError
from ..cascade_core.training.data.captions import LINES
from ..cascade_core.training.kinds import TRAININGS, Model
from ..cascade_core.training.plan import OWN_RATES
from ..cascade_core.training.setting import Setting
from ..headless.graph import WorkflowError, list_choices
from ..headless.run import configure
from . import arguments, parts
from .output import FAILED, OK, complain, errors_as_failures, say

if TYPE_CHECKING:
    from ..runtime.local import LocalHost

WHAT = {
    "lora": "a LoRA of Stage C, and new words for prompts",
    "controlnet": "a ControlNet, which is steered by own control pictures or by hints that are made of the pictures",
    "stage_c": "all of Stage C",
    "stage_b": "all of Stage B",
}
DISTILLED = {"stage_c": "a LoRA of Stage C", "stage_b": "a LoRA of Stage B"}
SEVERAL = ("stage_c", "stage_b")  # kinds that may be trained on several GPUs
LEARNS_FROM_LATENTS = "stage_c"
STAGES = ("stage_c", "stage_b", "stage_a")  # models whose precision --dtype chooses
OTHERS = {
    "--network-dim": "--rank",
    "--network-alpha": "--alpha",
    "--max-train-steps": "--steps",
    "--resolution": "--size",
    "--train-batch-size": "--batch-size",
    "--gradient-accumulation-steps": "--accumulate",
    "--lr": "--learning-rate",
    "--unet-lr": "--learning-rate",
    "--lr-scheduler": "--schedule",
    "--lr-warmup-steps": "--warmup",
    "--optimizer-type": "--optimizer",
    "--max-grad-norm": "--gradient-limit",
    "--gradient-checkpointing": "--checkpointing",
    "--save-every-n-steps": "--save-every",
    "--sample-every-n-steps": "--sample-every",
    "--sample-prompts": "--prompts",
}
"""Options as other trainers name them, and ours."""
DESCRIPTION = """Train {what} on the pictures of FOLDER and its sub-folders, and print the path of the finished file.
Each picture needs its caption: in a .txt or .caption file of the same name, a line of metadata.jsonl, the name of a
folder such as `10_zig cat`, or one --caption for all. FOLDER may be a tar archive, or have some in it.
The state is kept in OUTPUT/training/NAME, with the curve of the loss and sample pictures: the same command again goes
on where the last one stopped, whatever stopped it. Ctrl-C ends the step, saves the state and stops; a second one stops
at once, at the last saved state.
Exit code: 0 the file is written, 2 a bad argument, 1 a failure, 130 Ctrl-C."""


DISTILLING = """Learn {what} by which it does in few steps, with one pass each, what it did in many with two, and print
the path of the finished file. PROMPTS is a text file, one prompt in a line; of each {{a|b}} one is drawn. No pictures
are needed: the teacher draws its own, first of all. Sample the result with `lcm` at cfg 1 and the same shift.
The state is kept in OUTPUT/training/NAME: the same command again goes on where the last one stopped, whatever stopped
it. Ctrl-C ends the step, saves the state and stops; a second one stops at once, at the last saved state.
Exit code: 0 the file is written, 2 a bad argument, 1 a failure, 130 Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    for kind, what in WHAT.items():
        _add_trainer(_add_kind(kinds, kind, what, DESCRIPTION), kind)
    distill = kinds.add_parser("distill", help="a LoRA of Stage C or B that makes it do with few steps, one pass each")
    stages = distill.add_subparsers(metavar="WHAT", required=True)
    for stage, what in DISTILLED.items():
        _add_trainer(_add_kind(stages, stage, what, DISTILLING), f"distill_{stage}")
    tiny = kinds.add_parser("tiny", help="the built-in tiny cascade, from nothing")
    tiny.add_argument("--work", metavar="DIR", type=Path, default=Path("output/training/tiny"), help="(%(default)s)")
    tiny.add_argument("--part", metavar="NAME", action="append", default=[], help="only this part; may be repeated")
    tiny.add_argument("--minutes", metavar="M", type=float, help="the time for the whole training")
    tiny.set_defaults(command=_train_tiny, parser=tiny)


def _add_kind(kinds: arguments.Commands, name: str, what: str, description: str) -> argparse.ArgumentParser:
    about = description.format(what=what.partition(",")[0])
    if name == "controlnet":
        about += (
            "\n\nControl pictures lie in FOLDER/control, under the pictures' names; other hints are made: see --hint."
        )
    return kinds.add_parser(name, help=what, description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def _add_trainer(parser: argparse.ArgumentParser, kind: str) -> None:
    if TRAININGS[kind].learns_from == "prompts":
        parser.add_argument("source", metavar="PROMPTS", type=Path, help="the file of the prompts")
    else:
        _add_pictures(parser, or_latents=kind == LEARNS_FROM_LATENTS)
    parser.add_argument("--name", required=True, help="of the finished file, and of the folder of the state")
    required = TRAININGS[kind].required()
    options = TRAININGS[kind].inputs()
    for name, entry in options.items():
        if isinstance(entry, Setting):
            _add_setting(parser, entry, _about(entry, options))
        else:
            _add_model(parser, name, _about(entry, options), needed=name in required)
    parser.add_argument(
        "--dtype", choices=arguments.LARGE_DTYPES, default="auto", help="precision of the stages (%(default)s)"
    )
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="where states are kept (./output)")
    arguments.add(parser, "--models", "--device", "--json")
    parser.set_defaults(command=train, kind=kind, parser=parser, renamed=OTHERS)


def _add_pictures(parser: argparse.ArgumentParser, or_latents: bool) -> None:
    several: dict[str, Any] = {"nargs": "?"} if or_latents else {}
    about = "where the pictures are; `tiny zig (built-in)` has twelve to try it with"
    parser.add_argument("source", metavar="FOLDER", type=arguments.folder, help=about, **several)
    if or_latents:
        about = "what `cascade encode --to` wrote, with captions, instead of FOLDER"
        parser.add_argument("--latents", metavar="FILE", type=Path, nargs="+", default=[], help=about)
    parser.add_argument("--caption", default="", help="of all pictures; {name} is the file name, {caption} its .txt")
    lines = "one caption, or a caption each, of which one is drawn (%(default)s)"
    about = f"what the lines of a caption's file are: {lines}"
    parser.add_argument("--caption-lines", choices=LINES, default=LINES[0], help=about)


def _add_model(parser: argparse.ArgumentParser, kind: str, about: str, needed: bool) -> None:
    default, shown = (arguments.TINY, " (%(default)s)") if needed else (None, "")
    parser.add_argument(_flag(kind), metavar="NAME", default=default, help=about + shown)


def _add_setting(parser: argparse.ArgumentParser, setting: Setting, about: str) -> None:
    """An option for a setting; lines of a text may be given by repeating it."""
    flag, default = _flag(setting.name), setting.default
    shown = f"{about} (%(default)s)"
    if setting.built_in is not None:
        shown, default = f"{about} ({default}; {setting.built_in} for the built-in models)", None
    if setting.choices:
        parser.add_argument(flag, choices=setting.choices, type=str.lower, default=default, help=shown)
    elif isinstance(default, bool):
        about += f" ({'on' if default else 'off'})"
        switch = parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=about)
        switch.default = default  # given above, some versions of Python would tell it as True or False, too
    elif not isinstance(setting.default, str):
        parser.add_argument(
            flag, metavar="N", type=_within(type(setting.default), setting), default=default, help=shown
        )
    elif setting.several_lines:
        parser.add_argument(flag, metavar="TEXT", action="append", default=[], help=f"{about} May be repeated.")
    else:
        parser.add_argument(flag, metavar="TEXT", default=default, help=shown)


def _about(entry: Setting | Model, options: Collection[str]) -> str:
    """The help of an option; other options are named as they are typed."""

    def typed(found: re.Match[str]) -> str:
        return f"`{_flag(found[1])}`" if found[1] in options else found[0]

    return re.sub(r"`(\w+)`", typed, entry.help).replace("%", "%%")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _within(number: Any, setting: Setting) -> Any:
    def read(text: str) -> Any:
        try:
            value = number(text)
            setting.check(value)
        except ValueError:  # a CascadeError is one, too
            what = f"a {'whole ' if number is int else ''}number from {setting.least} to {setting.most}"
            raise argparse.ArgumentTypeError(f"expected {what}, found {text!r}") from None
        return value

    return read


def train(options: argparse.Namespace) -> int:
    from ..cascade_core.training import sharded
    from ..cascade_core.training.data.dataset import read_dataset
    from ..cascade_core.training.data.latent_set import read_latents
    from ..cascade_core.training.data.prompts import read_prompts

    device = sharded.join()
    if device is not None:
        options.device = str(device)
        if options.kind not in SEVERAL:
            raise WorkflowError(f"train {options.kind}: torchrun is for {' and '.join(SEVERAL)}: leave it out")
    local = configure(options)
    from ..runtime.training import RefusedError, Training

    local.device()  # refuses a device that is not there
    latents = getattr(options, "latents", [])
    if bool(latents) == (options.source is not None):
        raise WorkflowError("train stage_c: expected FOLDER, or --latents FILE: one of the two")
    if latents:
        dataset = read_latents([path.absolute() for path in latents])
    elif TRAININGS[options.kind].learns_from == "prompts":
        dataset = read_prompts(options.source.absolute())
    else:
        dataset = read_dataset(options.source.absolute(), options.caption.strip(), options.caption_lines)
    if sharded.rank() == 0:
        complain(dataset.in_words())

    with errors_as_failures("choose a smaller --batch-size, or another --device"):
        given = _inputs(options)
        try:
            training = Training(options.kind, dataset, options.name, given)
            training.check()
        except CascadeError as error:
            raise WorkflowError(str(error)) from error
        try:
            with nullcontext() if device else _gentle_interrupt(local):
                command = shlex.join(["cascade", *options.given])
                training.carry_out(complain if sharded.rank() == 0 else None, command)
        except RefusedError as error:
            raise WorkflowError(str(error)) from error
        path = str(training.target)
        if sharded.rank() == 0:
            say(json.dumps({"files": [path]}) if options.json else path)
    return OK


def _inputs(options: argparse.Namespace) -> dict[str, Any]:
    """The loaded models, where any are named, and the settings."""
    about = TRAININGS[options.kind]
    given: dict[str, Any] = {}
    unneeded = {"effnet"} if getattr(options, "latents", []) else set[str]()
    unneeded |= {"stage_c"} if getattr(options, "architecture", "") else set[str]()
    for name, entry in about.inputs().items():
        value = getattr(options, name)
        if isinstance(entry, Setting):
            given[name] = "\n".join(value) if entry.several_lines else value
        elif value is not None and name not in unneeded:
            given[name] = _load(name, value, options.dtype)
    if given["learning_rate"] is None:
        given["learning_rate"] = OWN_RATES.get(given["optimizer"])
    built_in = any(getattr(value, "family", None) == builtin.FAMILY for value in given.values())
    for name, entry in about.inputs().items():
        if isinstance(entry, Setting) and given[name] is None:
            given[name] = entry.built_in if built_in else entry.default
    if "previewer" in about.inputs():
        _see_samples(options, given, built_in)
    return given


def _see_samples(options: argparse.Namespace, given: dict[str, Any], built_in: bool) -> None:
    """Have something that shows the samples that are asked for: of the built-in models, the built-in previewer."""
    if not given["prompts"] and any(part.partition("=")[0] == "--sample-every" for part in options.given):
        complain("--sample-every: no samples are made, since they need --prompts")
    is_shown = "previewer" in given or {"stage_b", "stage_a"} <= given.keys()
    if is_shown or not given["prompts"] or not given["sample_every"]:
        return
    if not built_in:
        raise WorkflowError("--prompts: samples need --previewer, or --stage-b and --stage-a")
    given["previewer"] = _load("previewer", arguments.TINY, "auto")


def _load(kind: str, name: str, dtype: str) -> Any:
    from ..nodes import NODES
    from ..nodes.loaders import Loader

    loader = next(node for node in NODES if issubclass(node, Loader) and kind == node.KIND.id)
    chooses = kind in STAGES and (kind != "stage_a" or dtype in arguments.DTYPES)  # Stage A is too small to quantise
    return arguments.load_model(loader, _flag(kind), name, dtype if chooses else "auto")


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
    parts.expect("recipes", "train tiny: the recipe")
    from ..recipes.tiny.recipe import PARTS, train_tiny

    unknown = [part for part in options.part if part not in PARTS]
    if unknown:
        raise WorkflowError(f"--part: expected one of {list_choices(PARTS)}, found {unknown[0]!r}")
    try:
        train_tiny(options.part, options.work, options.minutes)
    except CascadeError as error:
        complain(str(error))
        return FAILED
    return OK
