"""`cascade batch`: many rows through one workflow, resumable, on this machine or on many."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cascade_core.kinds import COMPILE_NAMES
from ..cascade_core.reading import open_file
from ..cascade_core.wording import all_of
from ..headless import built_in, graph, node_classes, other_families, set_values, workflow_file
from ..headless.run import configure
from . import arguments, parts, workers
from .output import FAILED, OK, STOPPED, Failure, complain, note, say

if TYPE_CHECKING:
    from ..headless.batch.crew import Crew
    from ..headless.batch.driver import Driver
    from ..headless.batch.job import Job
    from ..headless.batch.leases import Event
    from ..headless.batch.rows import Row

MOST_TOLD = 20  # messages of one kind; the report has all
DESCRIPTION = """Run a workflow once for each row, and print the path of each file that is written.
A row is a line of JSON such as {"id": "star-7", "Prompt.text": "a red star", "Stage C.seed": 7}, or a line of CSV whose
headers are such names: each sets values as --set does, and its files are named by its id. What is finished stands in
DIR/manifest.jsonl, and the same command again goes on from there: a row's files are the same bytes on any number of
workers. Ctrl-C lets the running rows end; a second one stops at once.
Exit code: 0 every row is done, 1 some are not (their kinds are told, DIR/manifest.jsonl has each), 2 a bad workflow or
argument, 130 Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    arguments.add_workflow(parser, "--models", "--json", "--device", "--built-in", optional=True)
    add = parser.add_argument
    add("-o", "--output", metavar="DIR", type=Path, help="where files go: a new folder, or one of an earlier batch")
    add("--rows", metavar="FILE", help="JSON lines or CSV; - is the standard input")
    grid = "each row with each value: NODE.INPUT=1..100, or values between commas, or a JSON list of texts"
    add("--grid", metavar="NODE.INPUT=VALUES", action="append", default=[], help=grid)
    number = "processes of this machine, or workers of a cluster; without it this process does the work"
    add("--workers", metavar="N", type=arguments.count, help=number)
    workers.add_ray(parser)
    add("--threads", metavar="N", type=arguments.count, default=1, help="of each worker, on a CPU (%(default)s)")
    add("--retries", metavar="N", type=int, default=2, help="of a row that failed by chance (%(default)s)")
    add("--row-timeout", metavar="SECONDS", type=float, help="end a worker of --workers that takes longer for a row")
    add("--limit", metavar="N", type=arguments.count, help="run at most so many rows this time")
    add("--redo-changed", action="store_true", help="make rows anew whose values, workflow or models changed")
    add("--redo-lost", action="store_true", help="try rows again of which three workers died")
    add("--hash-models", action="store_true", help="compare model files by all of their content, not by pieces")
    add("--compile", choices=COMPILE_NAMES, help="as `cascade run` has it")
    add("--report", metavar="DIR", type=Path, help="tell what became of a batch, instead of running")
    add("--html", metavar="FILE", type=Path, help="with --report: a page with small pictures, too")
    add("--worker", metavar="NAME", help=argparse.SUPPRESS)  # how the driver starts a worker
    parser.set_defaults(command=batch)


def batch(options: argparse.Namespace) -> int:
    parts.expect("headless.batch", "`cascade batch`: what runs rows")
    if options.worker is not None:
        workers.serve(options.worker)
        return FAILED
    if options.report is not None:
        from . import batch_report

        return batch_report.tell(options.report, options.html, options.json)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    from ..cascade_core.files.owner import owned
    from ..headless.batch import manifest
    from ..headless.batch.driver import Driver
    from ..headless.batch.leases import BatchError, Rules
    from ..headless.batch.output_folder import OutputFolder

    _check(options)
    started = time.perf_counter()
    folder = OutputFolder(options.output.expanduser().absolute())
    job = _job(options, folder)
    nodes = node_classes.load()
    rules = Rules(
        options.workers or 1,
        options.retries,
        options.limit,
        options.row_timeout,
        options.redo_changed,
        options.redo_lost,
    )
    with _rows(options, job, nodes.definitions()) as rows:
        crew = _crew(options, job)
        folder.make()
        with owned(folder.root):
            folder.clear_staging()
            written = manifest.Manifest(folder.root / manifest.NAME)
            if written.unread:
                complain(f"{manifest.NAME} has {written.unread} lines that cannot be read: their rows are made anew")
            command = shlex.join(["cascade", *sys.argv[1:]])
            written.add({"run": {"time": round(time.time(), 3), "folder": os.getcwd(), "command": command}})
            driver = Driver(job, folder, written, crew, nodes, rules)
            try:
                with _stopping(driver):
                    _tell_all(driver.run(rows), folder.root, options.json)
                # A pipe is not asked for more: it might be long in coming
                is_behind = driver.is_at_limit and (options.rows == "-" or next(rows, None) is not None)
            except BatchError as error:
                raise Failure(f"{error}: mend that, then give the command again; what is finished stays") from error
            finally:
                written.close()
                folder.remove_staging()
    seconds = time.perf_counter() - started
    return _conclude(driver, driver.stopping or is_behind, folder.root, seconds, options.json)


def _check(options: argparse.Namespace) -> None:
    if options.workflow is None or options.output is None or not (options.rows or options.grid):
        raise graph.WorkflowError(
            "batch: expected WORKFLOW, --rows FILE (or --grid) and --output DIR, or --report DIR; see `cascade batch"
            " --help`"
        )
    if str(options.workflow) == "-" == options.rows:
        raise graph.WorkflowError("batch: the standard input is the workflow or the rows, not both")


def _job(options: argparse.Namespace, folder: Any) -> Job:
    """What workers are told; what is wrong with the workflow or the command line itself is told here."""
    from ..headless.batch.job import Job, absolute

    document = workflow_file.read(options.workflow)
    configure(argparse.Namespace(**vars(options) | {"output": None}))
    nodes = node_classes.load()
    workflow = graph.convert(document, nodes.definitions(), nodes.all_names())
    note(workflow)
    if other := other_families.complaint(workflow.prompt):
        raise graph.WorkflowError(other)
    job = Job(
        prompt=workflow.prompt,
        editor=workflow.editor,
        assignments=options.set,
        staging=str(folder.staging),
        token=folder.token,
        folder=os.getcwd(),
        built_in=options.built_in,
        input=absolute(options.input),
        models=absolute(options.models),
        device=options.device,
        compile=options.compile,
        whole=options.hash_models,
        threads=options.threads,
    )
    tried = job.workflow()
    typed = set_values.apply(tried, job.assignments, nodes.definitions(), draws=False)
    if options.built_in:
        complain(*built_in.apply(tried, nodes.definitions(), typed))
    return job


@contextmanager
def _rows(options: argparse.Namespace, job: Job, definitions: graph.Definitions) -> Iterator[Iterator[Row]]:
    from ..headless.batch import grid, rows

    def expect(names: Sequence[str]) -> None:
        set_values.expect_inputs(job.prompt, names, definitions)

    grids = [grid.parse(text) for text in options.grid]
    with ExitStack() as stack:
        if options.rows is None:
            found = iter([rows.nothing()])
        elif options.rows == "-":
            found = rows.read(sys.stdin.buffer, "rows", expect)
        else:
            try:
                file = stack.enter_context(open_file(Path(options.rows)))
            except OSError as error:
                why = error.strerror or error
                raise graph.WorkflowError(f"--rows {options.rows}: it cannot be read: {why}") from error
            found = rows.read(file, Path(options.rows).name, expect)
        yield rows.unique(grid.multiply(found, grids) if grids else found)


def _crew(options: argparse.Namespace, job: Job) -> Crew:
    from ..headless.batch.crew import ThisProcess
    from ..headless.batch.worker import Worker

    if options.ray is None and options.workers is None:
        return ThisProcess(lambda name: Worker(job, name))
    return workers.crew(job.to_json(), options)


@contextmanager
def _stopping(driver: Driver) -> Iterator[None]:
    """Ctrl-C, or a request to end, lets the running rows end; the second one stops at once."""

    def stop(number: int, frame: object) -> None:
        if driver.stopping:
            raise KeyboardInterrupt
        driver.stop()
        complain("the running rows end first; Ctrl-C again stops at once")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_all(events: Iterator[Event], root: Path, as_json: bool) -> None:
    """Files on stdout as they are written, what fails on stderr, and a bar where a person looks at it."""
    from collections import Counter

    from tqdm import tqdm

    told: Counter[tuple[str, str]] = Counter()
    with tqdm(desc="batch", unit="row", file=sys.stderr, disable=None, leave=False) as bar:
        for event in events:
            if event.state == "done":
                bar.update()
                for name in event.files if not as_json else ():
                    say(root / name)
                continue
            told[event.state, event.kind] += 1
            if told[event.state, event.kind] <= MOST_TOLD:
                again = " (it is tried again)" if event.state == "again" else ""
                bar.clear()
                complain(f"{event.id}: {f'{event.kind}: ' if event.kind else ''}{event.message}{again}")
    for (state, kind), number in told.items():
        if number > MOST_TOLD:
            complain(f"and {number - MOST_TOLD:,} more {state} {kind}".rstrip())


def _conclude(driver: Driver, is_left: bool, root: Path, seconds: float, as_json: bool) -> int:
    """The last lines, and the exit code. is_left: whether there may be rows that were not looked at."""
    import json

    from ..headless.batch.failures import ADVICE, KINDS
    from ..headless.batch.report import warned

    counts = driver.counts
    if as_json:
        told = {
            "seconds": round(seconds, 3),
            **counts,
            "kinds": dict(driver.kinds),
            "stopped": driver.stopping,
            "warned": driver.warned,
        }
        print(json.dumps(told), flush=True)
    words = [f"{counts[state]:,} {state}" for state in ("done", "reused", "skipped", "failed", "refused", "changed")]
    if driver.warned:
        complain(warned(driver.warned, driver.warning))
    counted = ", ".join(word for word in words if not word.startswith("0 ")) or "no rows"
    say(f"{counted} in {seconds:.1f} s{'; rows are left: the same command goes on' if is_left else ''}", sys.stderr)
    advice = [f"{ADVICE[kind]} ({driver.kinds[kind]:,} {kind})" for kind in KINDS if driver.kinds[kind]]
    shown = f"then give the same command again; `cascade batch --report {shlex.quote(str(root))}` tells of each"
    again = [shown] if advice else []
    if counts["changed"]:
        advice.append(f"add --redo-changed to this command to make them anew ({counts['changed']:,} changed)")
    if advice:
        complain("; ".join([all_of(advice), *again]))
    return STOPPED if driver.stopping else FAILED if advice else OK
