"""The tab for a file that somebody shared: its workflow is tried with the built-in models, as `--built-in` does."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..cascade_core.errors import CascadeError
from ..headless import built_in, graph, missing_models, node_classes, other_families, requirements, workflow_file
from . import assets, pictures, values, wording
from .gallery import QUIET, Gallery
from .handlers import follow
from .runs import Full, Run, Runner
from .tabs import Tab

KEY, TITLE = "the shared file", "Shared file"  # no file's name: it is the id of a tab
TAKEN = (".png", ".webp", ".jpg", ".jpeg", ".avif", ".json")


def build(tabs: Sequence[Tab], runner: Runner) -> Gallery:
    """Draw the tab; within `gr.Tab`. Returns its gallery."""
    status_id = f"status-{KEY}"
    with gr.Row():
        with gr.Column(scale=5, min_width=320):
            file = gr.File(
                label="A picture or a workflow file that somebody shared",
                file_types=list(TAKEN),
                type="filepath",
                height=160,
                elem_classes=["shared"],
            )
            changes = gr.HTML()
        with gr.Column(scale=5, min_width=320, elem_classes=["results"]):
            with gr.Row(elem_classes=["actions"]):
                button = gr.Button("Try it with the built-in models", variant="primary", elem_classes=["try"])
                cancel = gr.Button("Cancel", variant="stop", elem_classes=["cancel"], min_width=80)
            status = gr.HTML(elem_id=status_id)
            gallery = Gallery(tabs, runner, "Result", columns=2)
    same = [gr.skip()] * len(gallery.outputs)

    def attempt(path: str | None) -> Iterator[list[Any]]:
        if path is None:
            yield [wording.problem(["Expected a file, found none: drop a picture or a workflow file first"]), "", *same]
            return
        name = Path(path).name
        try:
            run, told = prepare(Path(path), runner.nodes)
            shown = wording.tried(name, told)
            for words, found in follow([run], runner):
                yield [words, shown, *(same if found is None else gallery.updates(found))]
        except graph.WorkflowError as error:
            yield [wording.problem([message.replace(path, name) for message in error.messages]), "", *same]
        except (CascadeError, Full) as error:
            yield [wording.error(error), "", *same]

    def stop() -> None:
        runner.cancel(KEY)

    unlimited = {**QUIET, "concurrency_limit": None}
    button.click(None, js=assets.SHOW_STATUS.format(status_id))
    button.click(attempt, file, [status, changes, *gallery.outputs], **unlimited)
    cancel.click(stop, **unlimited)
    return gallery


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
        raise graph.WorkflowError(*missing_models.messages(checked, nodes))
    return Run(KEY, checked, workflow.editor), [*([workflow.note] if workflow.note else []), *told]
