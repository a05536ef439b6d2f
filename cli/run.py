"""`cascade run` and `cascade validate`: from a file to pictures, or to what is wrong with it."""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..cascade_core import graph
from . import registry, settings
from .answers import FAILED, OK, REFUSED, complain

_OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")


def run(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    workflow, checked, nodes = _prepare(options)
    complain(*(problem.message for problem in checked.problems))
    if checked.problems and not (options.partial and checked.outputs):
        return REFUSED
    from ..nodes import host

    host.device()  # refuses a device that is not there, before anything runs
    extra = {} if workflow.editor is None else {"workflow": workflow.editor}
    plan = graph.Plan(checked.prompt, nodes.classes, outputs=checked.outputs, extra_pnginfo=extra)
    report = _Report(options.json)
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
    _, checked, _ = _prepare(options)
    complain(*(problem.message for problem in checked.problems))
    if options.json:
        problems = [asdict(problem) | {"message": problem.message} for problem in checked.problems]
        print(json.dumps({"valid": not problems, "outputs": checked.outputs, "problems": problems}, indent=2))
    elif not checked.problems:
        print(f"{options.workflow}: no problems (nodes: {len(checked.prompt)}, outputs: {len(checked.outputs)})")
    return REFUSED if checked.problems else OK


def _prepare(options: argparse.Namespace) -> tuple[graph.Workflow, graph.Validation, registry.Nodes]:
    document = graph.read(options.workflow)  # before the nodes are imported: a bad file is told at once
    chosen: dict[str, Any] = {name: getattr(options, name, None) for name in ("output", "input", "models", "device")}
    for name in ("input", "models"):
        if chosen[name] is not None and not chosen[name].is_dir():
            raise graph.WorkflowError(f"--{name}: expected a folder, found {str(chosen[name])!r}")
    if chosen["output"] is not None and chosen["output"].exists() and not chosen["output"].is_dir():
        raise graph.WorkflowError(f"--output: expected a folder, found the file {str(chosen['output'])!r}")
    nodes = registry.load()
    from ..nodes import host

    host.configure(**chosen)
    workflow = graph.convert(document, nodes.classes, nodes.names)
    settings.apply(workflow, options.set, nodes.classes)
    return workflow, graph.validate(workflow.prompt, nodes.classes), nodes


@contextmanager
def _inference(_node_id: str) -> Generator[None]:
    """Nodes run here as they do in the host."""
    import torch

    with torch.inference_mode():
        yield


class _Report:
    """Tells of nodes as they finish: written files on stdout (at the end, as one object, for JSON)."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.files: list[str] = []
        self.nodes: dict[str, dict[str, Any]] = {}

    def add(self, done: graph.Done) -> None:
        fields = {"class_type": done.class_type, "title": done.title, "seconds": done.seconds, "cached": done.cached}
        self.nodes[done.node] = fields
        print(f"{done.seconds:8.2f} s  {done.title}{' (cached)' if done.cached else ''}", file=sys.stderr)
        for path in [] if done.cached else _written(done.ui):
            self.files.append(str(path))
            if not self.as_json:
                print(path, flush=True)

    def close(self, seconds: float) -> None:
        if self.as_json:
            print(json.dumps({"files": self.files, "seconds": seconds, "nodes": self.nodes}), flush=True)


def _written(ui: graph.Ui) -> Iterator[Path]:
    """The files in the output folder that a node shows. Previews are gone when the program ends."""
    from ..nodes import host

    for shown in ui.values():
        for entry in shown:
            if graph.is_object(entry) and entry.get("type") == "output" and "filename" in entry:
                subfolder, name = str(entry.get("subfolder", "")), str(entry["filename"])
                yield host.output_directory() / subfolder / name


def _explain(failure: graph.NodeFailure) -> None:
    error = failure.error
    if type(error).__name__ in _OUT_OF_MEMORY:
        complain(f"{failure}; choose a smaller size, batch or dtype, or another --device")
        return
    if not isinstance(error, ValueError | OSError):  # not foreseen: where it happened helps to mend it
        traceback.print_exception(error)
    complain(str(failure))
