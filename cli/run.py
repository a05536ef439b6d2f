"""`cascade run`: from a workflow file to pictures, here or at a running ComfyUI."""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec

from ..cascade_core.kinds import COMPILE_NAMES
from ..headless import graph, workflow_file
from ..headless.run import configure, in_words, is_foreseen, perform
from . import arguments, parts, validate
from .output import ADVICE, OK, REFUSED, Failure, Report, complain

DESCRIPTION = """Run a workflow and print the path of each file that it writes.
Before anything is computed the models are loaded and the nodes check whether their inputs fit together.
Exit code: 0 every output was written, or waits until something is picked, 2 a bad workflow or argument (also what does
not fit together), 1 a failure while running (also a model file that cannot be loaded), 130 Ctrl-C.
With --server a running ComfyUI does the work: it alone needs the nodes and models, pictures of the input folder are
uploaded, results brought here, and Ctrl-C stops it there too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    arguments.add_workflow(parser, "--models", "--json", "--output", "--device", "--built-in")
    parser.add_argument("--partial", action="store_true", help="run the outputs that are fine, although others are not")
    parser.add_argument(
        "--compile",
        nargs="?",
        const="blocks",
        choices=COMPILE_NAMES,
        help="how the steps of Stage C and B are computed where their loaders leave it off: compiled by torch, which"
        " takes minutes at the first step and is kept for other runs, or recorded, on an NVIDIA GPU, as CUDA graphs"
        " (alone: %(const)s)",
    )
    parser.add_argument(
        "--server",
        metavar="URL",
        help="the address of a running ComfyUI that does the work, such as http://127.0.0.1:8188",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    report = Report(options.json, time.perf_counter())
    return _run_here(options, report) if options.server is None else _run_at_server(options, report)


def _run_here(options: argparse.Namespace, report: Report) -> int:
    workflow, checked, nodes = validate.check(options)
    if checked.problems and not (options.partial and checked.outputs):
        return REFUSED
    if find_spec("PIL") is None:  # told before the work, not when a picture is written
        raise ModuleNotFoundError(name="PIL")
    from ..runtime import host

    local = host.configure(keeps_previews=True, compile=options.compile)
    local.device()  # refuses a device that is not there, before anything runs
    report.expect(checked.prompt, checked.needed)
    try:
        with local.heard_by(report):
            complete = perform(
                checked,
                workflow.editor,
                nodes,
                finished=report.finish,
                refused=lambda problem: complain(problem.message),
                partial=options.partial,
                around=report.begin,
            )
    except graph.NodeFailure as failure:
        advice = "" if is_foreseen(failure) else f"; {ADVICE}"
        raise Failure(f"{in_words(failure)}{advice}") from failure.error
    finally:
        report.close()
    return REFUSED if checked.problems or not complete else OK


def _run_at_server(options: argparse.Namespace, report: Report) -> int:
    parts.expect("headless.remote", "--server: what asks a server")
    for name in ("models", "device", "compile"):
        if getattr(options, name) is not None:
            raise graph.WorkflowError(f"--{name}: the server has its own: leave it out with --server")
    if options.built_in:
        raise graph.WorkflowError("--built-in: the server has its own models: leave it out with --server")
    document = workflow_file.read(options.workflow)
    configure(options)
    import asyncio

    from ..headless.remote import run as remote
    from ..headless.remote.server import ServerError

    try:
        complete = asyncio.run(remote.run(options.server, document, options.set, report, partial=options.partial))
    except ServerError as error:
        complain(str(error))
        return REFUSED
    except remote.RunFailed as error:
        raise Failure(str(error)) from error
    return OK if complete else REFUSED
