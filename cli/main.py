"""The `cascade` command: arguments, exit codes, and what becomes of errors.

Exit codes: 0 everything asked for was done; 1 a failure while running; 2 a bad workflow or argument;
130 Ctrl-C. Results go to stdout, everything else to stderr. Nothing heavy is imported before it is
needed, so that help and bad arguments answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..cascade_core.errors import CascadeError
from ..headless.graph import NodeFailure, WorkflowError
from . import app, convert, decode, doctor, download, encode, train
from .output import FAILED, REFUSED, STOPPED, complain


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
    except NodeFailure as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        complain("stopped")
        return STOPPED
    except BrokenPipeError:  # whoever read our output has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help")
        raise SystemExit(REFUSED)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cascade", description="Stable Cascade workflows without an editor and a server.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    workflow = _Parser(add_help=False)
    workflow.add_argument(
        "workflow",
        metavar="WORKFLOW",
        type=Path,
        help="a workflow file, from the editor or for the API, or a picture that was saved with its workflow",
    )
    workflow.add_argument(
        "--set",
        metavar="NODE.INPUT=VALUE",
        action="append",
        default=[],
        help="change one value; NODE is an id or a unique title. Split at the first = and at the last dot before it",
    )
    workflow.add_argument("--input", metavar="DIR", type=Path, help="where pictures are read (./input)")

    local = _Parser(add_help=False)
    local.add_argument("--models", metavar="DIR", type=Path, help="where models are (./models)")
    local.add_argument("--json", action="store_true", help="print one JSON object on stdout")

    run = commands.add_parser("run", parents=[workflow, local], help="run a workflow", description=_RUN)
    run.add_argument("--output", metavar="DIR", type=Path, help="where pictures are written (./output)")
    run.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, ... (the first GPU, else cpu)")
    run.add_argument("--partial", action="store_true", help="run the outputs that are fine, although others are not")
    run.add_argument(
        "--server",
        metavar="URL",
        help="the address of a running ComfyUI that does the work, such as http://127.0.0.1:8188",
    )
    run.set_defaults(command=_run)

    validate = commands.add_parser("validate", parents=[workflow, local], help="check a workflow without running it")
    validate.set_defaults(command=_validate)

    export = commands.add_parser(
        "export", parents=[workflow], help="convert a workflow to the form that servers run", description=_EXPORT
    )
    export.add_argument(
        "--api", action="store_true", required=True, help="as the API takes it (there is no other form)"
    )
    export.add_argument(
        "--object-info",
        metavar="FILE|URL",
        help="what other nodes declare: a saved answer of a server's /object_info, or the server's address",
    )
    export.add_argument(
        "-o", "--output", dest="target", metavar="FILE", type=Path, help="write it there instead of to stdout"
    )
    export.set_defaults(command=_export)

    nodes = commands.add_parser("nodes", help="list the nodes, or describe one")
    nodes.add_argument("name", metavar="NAME", nargs="?", help="the id of a node")
    nodes.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    nodes.set_defaults(command=_nodes)

    app.add_parser(commands)
    convert.add_parser(commands)
    decode.add_parser(commands)
    doctor.add_parser(commands)
    download.add_parser(commands)
    encode.add_parser(commands)

    train.add_parser(commands)
    return parser


_RUN = """Run a workflow and print the path of each file that it writes.
Before anything is computed the models are loaded and the nodes check whether their inputs fit together.
Exit code: 0 every output was written, 2 a bad workflow or argument (also what does not fit together),
1 a failure while running (also a model file that cannot be loaded), 130 Ctrl-C.
With --server a running ComfyUI does the work: it alone needs the nodes and models, pictures of the input folder are
uploaded, results brought here, and Ctrl-C stops it there too."""

_EXPORT = """Print the prompt that the editor would send: what `POST /prompt` of a ComfyUI takes as "prompt".
The nodes of this pack are known, and those few of ComfyUI that `cascade nodes` lists; --object-info tells of others."""


def _run(options: argparse.Namespace) -> int:
    if options.server is None:
        from .run import run
    else:
        from .run_on_server import run

    return run(options)


def _validate(options: argparse.Namespace) -> int:
    from .run import validate

    return validate(options)


def _export(options: argparse.Namespace) -> int:
    from .export import export

    return export(options)


def _nodes(options: argparse.Namespace) -> int:
    from .nodes import list_nodes

    return list_nodes(options.name, options.json)
