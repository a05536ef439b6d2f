"""A tab's models as `cascade doctor` finds them, for the page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from ..headless import graph, missing_models, node_classes, requirements
from ..runtime import environment
from .messages import for_page
from .tabs import Tab


@dataclass(frozen=True)
class Wanting:
    """What keeps a tab from running: HTML with a line and, behind a click, each file; and the command that gets them.

    Both are empty where all is there.
    """

    words: str = ""
    command: str = ""


def find_wanting(tab: Tab, workflow: graph.Workflow, nodes: node_classes.Nodes) -> Wanting:
    """Which node classes and files a tab's workflow wants and does not find, and how to get them."""
    classes = [
        entry.name for entry in requirements.classes_of(workflow.prompt, tab.document, nodes) if not entry.present
    ]
    files = [file for file in requirements.files_of(workflow.prompt, tab.document, nodes) if not file.is_fine]
    lines = [*_of_classes(classes), *map(_of_file, files)]
    if not lines:
        return Wanting()
    missing = missing_models.missing_of(files)
    head = f"{missing.line}." if missing else f"{len(lines)} of what this needs cannot be used."
    return Wanting(_words(head, lines), " && ".join(missing.from_anywhere) if missing else "")


def _words(head: str, lines: Sequence[str]) -> str:
    listed = "".join(f"<li>{line}</li>" for line in lines)
    return f'<details class="wanting" role="status"><summary>{escape(head)}</summary><ul>{listed}</ul></details>'


def _of_classes(names: list[str]) -> Iterator[str]:
    command = escape(environment.from_anywhere(["run", "--server", "URL"]))
    for name in names:
        yield f"The node {escape(name)} is not here: <code>{command}</code> has a ComfyUI run it."


def _of_file(file: requirements.File) -> str:
    state = "cannot be used" if file.present else "is missing"
    title = file.title.removeprefix("Stable Cascade: ")
    text = f"<b>{escape(file.name)}</b>{f' ({escape(title)})' if title else ''} {state}."
    if file.problem is not None:
        return f"{text} {escape(for_page(file.problem))}"
    return text if file.present else f"{text} Looked in {escape(', '.join(map(str, file.looked_in)))}."
