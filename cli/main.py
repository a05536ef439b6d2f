"""The `cascade` command: its commands, and what becomes of errors.

Exit codes: 0 everything asked for was done; 1 a failure while running; 2 a bad workflow or argument;
130 Ctrl-C. Results go to stdout, everything else to stderr. Nothing heavy is imported before it is
needed, so that help and bad arguments answer at once.
"""

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

from ..cascade_core.errors import CascadeError, is_out_of_memory
from ..headless.graph import NodeFailure, WorkflowError, list_choices
from .output import FAILED, REFUSED, STOPPED, Failure, complain, too_little_memory

COMMANDS = {
    "run": "run a workflow",
    "validate": "check a workflow without running it",
    "export": "convert a workflow to the form that servers run",
    "workflows": "list the workflows that come with the pack, or copy one",
    "nodes": "list the nodes, or describe one",
    "app": "open the workflows as a page in the browser",
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
    options = _parse(given or ["--help"])
    warnings.filterwarnings("ignore", module="PIL")  # of odd picture files: what matters has a sentence of ours
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except WorkflowError as error:
        complain(*error.messages)
        return REFUSED
    except CascadeError as error:
        complain(str(error))
        return REFUSED
    except (NodeFailure, Failure) as error:
        complain(str(error))
        return FAILED
    except ModuleNotFoundError as error:
        from ..runtime.environment import how_to_install

        advice = how_to_install(error.name or "")
        if advice is None:
            raise
        complain(advice)
        return REFUSED
    except KeyboardInterrupt:
        complain("stopped")
        return STOPPED
    except BrokenPipeError:  # whoever read our output has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        complain(too_little_memory(error, "choose smaller sizes, or another --device"))
        return FAILED


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


def _parse(given: Sequence[str]) -> argparse.Namespace:
    """The arguments; of all commands the wanted one alone is imported. SystemExit for help and bad arguments."""
    parser = _Parser(prog="cascade", description="Stable Cascade workflows without an editor and a server.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = given[0]
    if wanted not in COMMANDS and not wanted.startswith("-") and not _is_completing():
        parser.error(f"expected a command ({list_choices(list(COMMANDS), wanted)}), found {wanted!r}")
    chosen = parser
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        if name == wanted:
            import_module(f".{name}", __package__).add_arguments(command)
            chosen = command
    if _is_completing():
        from .completion import complete

        complete(parser, chosen)
    options, unknown = parser.parse_known_args(given)
    if unknown:
        flags = re.findall(r"--[\w-]+", chosen.format_help())
        near = get_close_matches(unknown[0], flags, n=1)
        chosen.error(f"unknown argument {unknown[0]!r}" + (f": did you mean {near[0]}?" if near else ""))
    return options
