"""`cascade validate`: what is wrong with a workflow, before anything runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from ..headless import (
    built_in,
    graph,
    missing_models,
    node_classes,
    other_families,
    requirements,
    set_values,
    workflow_file,
)
from ..headless.run import configure
from . import arguments
from .output import OK, REFUSED, complain, note, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_workflow(parser, "--models", "--json", "--built-in")
    parser.set_defaults(command=validate)


def validate(options: argparse.Namespace) -> int:
    _, checked, nodes = check(options)
    unusable = requirements.unusable(checked, nodes)
    complain(*(problem.message for problem in unusable))
    checked = checked.with_problems(*unusable)
    if options.json:
        problems = [asdict(problem) | {"message": problem.message} for problem in checked.problems]
        print(json.dumps({"valid": not problems, "outputs": checked.outputs, "problems": problems}, indent=2))
    elif not checked.problems:
        say(f"{options.workflow}: no problems (nodes: {len(checked.prompt)}, outputs: {len(checked.outputs)})")
    return REFUSED if checked.problems else OK


def check(options: argparse.Namespace) -> tuple[graph.Workflow, graph.Validation, node_classes.Nodes]:
    """The workflow and its problems, which are told on stderr."""
    document = workflow_file.read(options.workflow)  # before the nodes are imported: a bad file is told at once
    configure(options)
    nodes = node_classes.load()
    definitions = nodes.definitions()
    workflow = graph.convert(document, definitions, nodes.all_names())
    note(workflow)
    if other := other_families.complaint(workflow.prompt):
        raise graph.WorkflowError(other)
    typed = set_values.apply(workflow, options.set, definitions)
    if options.built_in:
        complain(*built_in.apply(workflow, definitions, typed))
    checked = graph.validate(workflow.prompt, nodes.classes, requirements.whose(document))
    complain(*missing_models.messages(checked, nodes))
    if not options.built_in and any(missing_models.has_stand_in(problem, nodes) for problem in checked.problems):
        complain("`--built-in` tries a workflow at once, small, with the built-in models and pictures")
    return workflow, checked, nodes
