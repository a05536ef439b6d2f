"""`cascade run` and `cascade validate`: from a file to pictures, or to what is wrong with it."""

import argparse
import json
import time
import traceback
from dataclasses import asdict

from ..cascade_core import graph
from . import performance, preparation, reading, registry
from .answers import FAILED, OK, REFUSED, complain
from .report import Report


def run(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    workflow, checked, nodes = _check(options)
    if checked.problems and not (options.partial and checked.outputs):
        return REFUSED
    from ..nodes import host

    host.device()  # refuses a device that is not there, before anything runs
    report = Report(options.json)
    try:
        complete = performance.perform(
            checked,
            workflow.editor,
            nodes,
            finished=report.add,
            refused=lambda problem: complain(problem.message),
            partial=options.partial,
        )
    except graph.NodeFailure as failure:
        if not performance.is_foreseen(failure):
            traceback.print_exception(failure.error)
        complain(performance.in_words(failure))
        return FAILED
    finally:
        report.close(time.perf_counter() - started)
    return REFUSED if checked.problems or not complete else OK


def validate(options: argparse.Namespace) -> int:
    _, checked, _ = _check(options)
    if options.json:
        problems = [asdict(problem) | {"message": problem.message} for problem in checked.problems]
        print(json.dumps({"valid": not problems, "outputs": checked.outputs, "problems": problems}, indent=2))
    elif not checked.problems:
        print(f"{options.workflow}: no problems (nodes: {len(checked.prompt)}, outputs: {len(checked.outputs)})")
    return REFUSED if checked.problems else OK


def _check(options: argparse.Namespace) -> tuple[graph.Workflow, graph.Validation, registry.Nodes]:
    """The workflow and what is wrong with it, which is told on stderr."""
    document = reading.read(options.workflow)  # before the nodes are imported: a bad file is told at once
    preparation.configure(options)
    nodes = registry.load()
    workflow = preparation.prepare(document, options.set, graph.definitions(nodes.classes), nodes.names)
    checked = graph.validate(workflow.prompt, nodes.classes)
    complain(*(problem.message for problem in checked.problems))
    used = {problem.class_type for problem in checked.problems} - {None}
    if any(problem.kind == "not_supported" for problem in checked.problems) or not used <= nodes.classes.keys():
        complain(
            "other nodes than those of `cascade nodes` run only in ComfyUI: `cascade run --server URL` has it run them"
        )
    return workflow, checked, nodes
