"""`cascade run` and `cascade validate`: from a file to pictures, or to what is wrong with it."""

import argparse
import json
import time
import traceback
from dataclasses import asdict

from ..headless import graph, node_classes, prepare, workflow_file
from ..headless.run import in_words, is_foreseen, perform
from .output import FAILED, OK, REFUSED, complain
from .report import Report


def run(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    workflow, checked, nodes = _check(options)
    if checked.problems and not (options.partial and checked.outputs):
        return REFUSED
    from ..runtime import host

    host.current().device()  # refuses a device that is not there, before anything runs
    report = Report(options.json)
    try:
        complete = perform(
            checked,
            workflow.editor,
            nodes,
            finished=report.add,
            refused=lambda problem: complain(problem.message),
            partial=options.partial,
        )
    except graph.NodeFailure as failure:
        if not is_foreseen(failure):
            traceback.print_exception(failure.error)
        complain(in_words(failure))
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


def _check(options: argparse.Namespace) -> tuple[graph.Workflow, graph.Validation, node_classes.Nodes]:
    """The workflow and what is wrong with it, which is told on stderr."""
    document = workflow_file.read(options.workflow)  # before the nodes are imported: a bad file is told at once
    prepare.configure(options)
    nodes = node_classes.load()
    workflow = prepare.prepare(document, options.set, graph.definitions(nodes.classes), nodes.names)
    checked = graph.validate(workflow.prompt, nodes.classes)
    complain(*(problem.message for problem in checked.problems))
    used = {problem.class_type for problem in checked.problems} - {None}
    if any(problem.kind == "not_supported" for problem in checked.problems) or not used <= nodes.classes.keys():
        complain(
            "other nodes than those of `cascade nodes` run only in ComfyUI: `cascade run --server URL` has it run them"
        )
    return workflow, checked, nodes
