"""A tab's models as `cascade doctor` finds them, for the page."""

from collections.abc import Iterator
from html import escape

from ..headless import graph, node_classes, requirements
from .tabs import Tab


def describe(tab: Tab, workflow: graph.Workflow, nodes: node_classes.Nodes) -> str:
    """HTML that says whether all is there, and of each file that is not where it was looked for and how to get it."""
    classes = [
        entry.name for entry in requirements.classes_of(workflow.prompt, tab.document, nodes) if not entry.present
    ]
    wrong = [file for file in requirements.files_of(workflow.prompt, tab.document, nodes) if not file.is_fine]
    lines = [*_of_classes(classes), *(line for file in wrong for line in _of_file(file))]
    if not lines:
        return '<p class="fine">All models that this workflow names are here and of the right kind.</p>'
    return f'<ul class="wanting">{"".join(f"<li>{line}</li>" for line in lines)}</ul>'


def _of_classes(names: list[str]) -> Iterator[str]:
    for name in names:
        yield f"The node {escape(name)} is not here: <code>cascade run --server URL</code> has a ComfyUI run it."


def _of_file(file: requirements.File) -> Iterator[str]:
    state = "cannot be used" if file.present else "is missing"
    title = file.title.removeprefix("Stable Cascade: ")
    text = f"<b>{escape(file.name)}</b>{f' ({escape(title)})' if title else ''} {state}."
    if file.problem is not None:
        text += f" {escape(file.problem)}"
    elif not file.present:
        text += f" Looked in {escape(', '.join(map(str, file.looked_in)))}."
    if file.command is not None:
        text += f" Get it with <code>{escape(file.command)}</code>"
    yield text
