"""The `cascade` command: its commands, and what becomes of errors.

Exit codes: 0 everything asked for was done; 1 a failure while running; 2 a bad workflow or argument;
130 Ctrl-C. Results go to stdout, everything else to stderr. Nothing heavy is imported before it is
needed, so that help and bad arguments answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..cascade_core.errors import CascadeError, is_out_of_memory
from ..headless.graph import NodeFailure, WorkflowError
from . import app, convert, decode, doctor, download, encode, export, nodes, run, train, validate
from .output import FAILED, REFUSED, STOPPED, Failure, complain, too_little_memory

COMMANDS = (run, validate, export, nodes, app, convert, decode, doctor, download, encode, train)  # in help's order


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: the process's own) and return its exit code."""
    options = _parser().parse_args(arguments)
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cascade", description="Stable Cascade workflows without an editor and a server.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
