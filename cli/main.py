"""The `cascade` command: its commands, and what becomes of errors.

Exit codes: 0 everything asked for was done; 1 a failure while running; 2 a bad workflow or argument;
130 Ctrl-C. Results go to stdout, everything else to stderr. Nothing heavy is imported before it is
needed, so that help and bad arguments answer at once.
"""

import argparse
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from errno import EINVAL, ENAMETOOLONG
from importlib import import_module
from itertools import takewhile
from typing import Any, NoReturn

from ..cascade_core.errors import CascadeError, is_out_of_memory
from ..cascade_core.wording import printable
from ..headless.graph import NodeFailure, WorkflowError, list_choices
from ..runtime.environment import how_to_install
from .output import ADVICE, FAILED, REFUSED, STOPPED, Failure, complain, prepare_streams, too_little_memory

COMMANDS = {
    "run": "run a workflow",
    "validate": "check a workflow without running it",
    "export": "convert a workflow to the form that servers run",
    "workflows": "list the workflows that come with the pack, or copy one",
    "nodes": "list the nodes, or describe one",
    "app": "open the workflows as a page in the browser",
    "batch": "run a workflow for many rows, here or on many machines",
    "bench": "time the networks on this machine, beside others'",
    "convert": "write a model file in another layout or precision",
    "decode": "decode latents into pictures",
    "doctor": "say what model files are, or what a workflow needs",
    "download": "download published models",
    "encode": "encode a folder of pictures into small latents",
    "train": "train a LoRA, a ControlNet or a stage on a folder of pictures",
}
"""The commands, in help's order: each has a module here of its name, with the arguments that it takes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: the process's own) and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if _is_completing():
        given = os.environ.get("COMP_LINE", "").split()[1:]
    warnings.filterwarnings("ignore", module="PIL")  # of odd picture files: what matters has a sentence of ours
    prepare_streams()
    code = FAILED
    try:
        options = parse(given or ["--help"])
        code = options.command(options)
        if sys.stdout:
            sys.stdout.flush()
    except KeyboardInterrupt:
        complain("stopped")
        code = STOPPED
    except BrokenPipeError:  # whoever read our output has gone: nobody is left to tell
        _drop_output()
    except Exception as error:
        messages, code = _answer(error)
        complain(*messages)
        if "--debug" in given:
            complain(f"what Python says of it is in {_write_debug(error)}")
        try:
            sys.stdout.flush()
        except (OSError, AttributeError):  # a full disk, or stdout is closed
            _drop_output()
    return code


def _answer(error: Exception) -> tuple[Sequence[str], int]:
    """What people are told of an error, in sentences, and the exit code."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    match error:
        case WorkflowError():
            return error.messages, REFUSED
        case CascadeError():
            return [str(error)], REFUSED
        case NodeFailure() | Failure():
            return [str(error)], FAILED
        case _ if is_out_of_memory(error):
            return [too_little_memory(error, "choose smaller sizes, or another --device")], FAILED
        case ModuleNotFoundError() if advice := how_to_install(error.name or ""):
            return [advice], REFUSED
        case RecursionError():
            return [f"what was given is nested too deeply to be read ({said}): simplify it"], REFUSED
        case UnicodeError():
            return [f"a text cannot be read or written ({said}): give it in UTF-8, or set PYTHONUTF8=1"], FAILED
        case OSError():
            place = f"{printable(error.filename)}: " if error.filename else ""
            code = REFUSED if error.errno in (ENAMETOOLONG, EINVAL) else FAILED
            return [f"{place}{error.strerror or said}: look whether it is there, ours to use and has room"], code
    return [f"{type(error).__name__}: {said}; {ADVICE}"], FAILED


def _write_debug(error: Exception) -> str:
    """The traceback of an error in a file of its own; returns where it is."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", errors="backslashreplace", prefix="cascade_debug_", suffix=".txt", delete=False
    ) as file:
        traceback.print_exception(error, file=file)
    return file.name


def _drop_output() -> None:
    """What is left of our output goes nowhere, and Python does not complain of it when it ends."""
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Descriptions keep their lines; a bad argument is one line on stderr."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help")
        raise SystemExit(REFUSED)


class _Version(argparse.Action):
    """Prints the version, which is looked up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from ..runtime.environment import pack_version

        print(f"cascade {pack_version()}")
        parser.exit()


def _is_completing() -> bool:
    """Whether a shell asks what may follow the line so far, by argcomplete."""
    return "_ARGCOMPLETE" in os.environ


def _to_run(wanted: str) -> str:
    """`; did you mean ...?` behind what is no command and a workflow's name or file."""
    from ..headless import shipped

    is_file = wanted.endswith((".json", ".png"))
    return f": did you mean cascade run {wanted}?" if is_file or wanted in shipped.names() else ""


def parse(given: Sequence[str]) -> argparse.Namespace:
    """The arguments; of all commands the wanted one alone is imported. SystemExit for help and bad arguments."""
    parser = _Parser(prog="cascade", description="Stable Cascade workflows without an editor and a server.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = given[0]
    if wanted not in COMMANDS and not wanted.startswith("-") and not _is_completing():
        parser.error(f"expected a command ({list_choices(list(COMMANDS), wanted)}), found {wanted!r}{_to_run(wanted)}")
    parser.set_defaults(parser=parser)
    chosen = parser
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        if name == wanted:
            import_module(f".{name}", __package__).add_arguments(command)
            command.add_argument(
                "--debug", action="store_true", help="of a failure, write what Python says into a file"
            )
            chosen = command
            command.set_defaults(parser=command)  # a command of commands does so for each of its own
    if _is_completing():
        from .completion import complete

        complete(parser, chosen)
    options, unknown = parser.parse_known_args(given)
    if unknown:
        flags = re.findall(r"--[\w-]+", options.parser.format_help())
        renamed = getattr(options, "renamed", {}).get(unknown[0].partition("=")[0].replace("_", "-"))
        near = [renamed] if renamed in flags else get_close_matches(unknown[0], flags, n=1)
        words = list(takewhile(lambda part: not part.startswith("-"), unknown))
        if words and "--prompt" in flags:
            near = [f"""--prompt "{" ".join(words)}\""""]
        options.parser.error(f"unknown argument {unknown[0]!r}" + (f": did you mean {near[0]}?" if near else ""))
    options.given = list(given)
    return options
