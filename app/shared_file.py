"""The tab for a file that somebody shared: its workflow is tried with the built-in models, as `--built-in` does."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..cascade_core.errors import CascadeError
from ..headless import built_in, graph, missing_models, node_classes, other_families, requirements, workflow_file
from . import pictures, values, wording
from .handlers import start
from .results import Results
from .runs import Full, Run, Runner
from .tabs import Tab

KEY, TITLE = "the shared file", "Shared file"  # no file's name: it is the id of a tab
PURPOSE = "What somebody shared, tried at once: small, and with the built-in models in place of its own."
TAKEN = (".png", ".webp", ".jpg", ".jpeg", ".avif", ".json")


def build(tabs: Sequence[Tab], runner: Runner) -> Results:
    """Draw the tab; within `gr.Tab`."""
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            gr.Markdown(PURPOSE, elem_classes=["purpose"])
            file = gr.File(
                label="Picture or workflow file",
                file_types=list(TAKEN),
                type="filepath",
                height=160,
                elem_classes=["shared"],
            )
            with gr.Row(elem_classes=["actions"]):
                button = gr.Button("Try it", variant="primary", elem_classes=["make", "try"])
                cancel = gr.Button("Cancel", variant="stop", elem_classes=["cancel"], min_width=80, interactive=False)
            changes = gr.HTML()
        with gr.Column(scale=5, min_width=320, elem_classes=["results"]):
            results = Results(tabs, runner, KEY, button, cancel)

    def attempt(path: str | None) -> Iterator[list[Any]]:
        if path is None:
            yield [*results.problem(["Expected a file, found none: drop a picture or a workflow file first"]), ""]
            return
        name = Path(path).name
        try:
            run, told = prepare(Path(path), runner.nodes)
            shown = wording.tried(name, told)
            for view in start([run], runner):
                yield [*results.updates(view), shown]
        except graph.WorkflowError as error:
            yield [*results.problem([message.replace(path, name) for message in error.messages]), ""]
        except (CascadeError, Full) as error:
            yield [*results.problem([str(error)]), ""]

    results.show_when(button, attempt, file, [changes])
    return results


def prepare(path: Path, nodes: node_classes.Nodes) -> tuple[Run, list[str]]:
    """The run of a file's workflow with the built-in models, and what people should know of how it was changed.

    Raises WorkflowError and CascadeError; also for a text that names something outside the app's own folders.
    """
    pictures.refuse_large(path, path.name)
    document = workflow_file.read(path)
    definitions = nodes.definitions()
    workflow = graph.convert(document, definitions, nodes.all_names())
    if other := other_families.complaint(workflow.prompt):
        raise graph.WorkflowError(other)
    told = built_in.apply(workflow, definitions)
    values.refuse_leading_out(workflow.prompt, graph.definitions(nodes.classes))  # before a node looks at it
    checked = graph.validate(workflow.prompt, nodes.classes, requirements.whose(document))
    if checked.problems:
        raise graph.WorkflowError(*missing_models.messages(checked, nodes, anywhere=True))
    return Run(KEY, checked, workflow.editor), [*([workflow.note] if workflow.note else []), *told]
