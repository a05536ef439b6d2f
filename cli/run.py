"""`cascade run` and `cascade validate`: from a file to pictures, or to what is wrong with it."""

import argparse
import json
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict

from ..cascade_core import graph
from . import preparation, reading, registry
from .answers import FAILED, OK, REFUSED, complain
from .report import Report

_OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")


def run(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    workflow, checked, nodes = _check(options)
    if checked.problems and not (options.partial and checked.outputs):
        return REFUSED
    from ..nodes import host

    host.device()  # refuses a device that is not there, before anything runs
    extra = {} if workflow.editor is None else {"workflow": workflow.editor}
    plan = graph.Plan(checked.prompt, nodes.classes, outputs=checked.outputs, extra_pnginfo=extra)
    report = Report(options.json)
    try:
        refused = graph.rehearse(plan, around=_inference)
        complain(*(problem.message for problem in refused))
        plan.drop({problem.node for problem in refused})
        if refused and not (options.partial and plan.outputs):
            return REFUSED
        graph.perform(plan, around=_inference, finished=report.add)
    except graph.NodeFailure as failure:
        _explain(failure)
        return FAILED
    finally:
        report.close(time.perf_counter() - started)
    return REFUSED if checked.problems or refused else OK


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


@contextmanager
def _inference(_node_id: str) -> Generator[None]:
    """Nodes run here as they do in the host."""
    import torch

    with torch.inference_mode():
        yield


def _explain(failure: graph.NodeFailure) -> None:
    error = failure.error
    if type(error).__name__ in _OUT_OF_MEMORY:
        complain(f"{failure}; choose a smaller size, batch or dtype, or another --device")
        return
    if not isinstance(error, ValueError | OSError):  # not foreseen: where it happened helps to mend it
        traceback.print_exception(error)
    complain(str(failure))
