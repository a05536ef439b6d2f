"""A workflow file as a prompt.

Two forms are read: the editor's (nodes with places, links and widget values) and the API prompt
(`{"id": {"class_type", "inputs"}}`), the latter also in what it travels in.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from . import editor
from .definition import Definitions
from .groups import expand
from .layout import MAX_NODES
from .prompt import Prompt
from .widgets import Drawings
from .wording import WorkflowError, is_list, is_object, list_choices, show
from .wrapping import unwrap


@dataclass(frozen=True)
class Workflow:
    """The `prompt`, which runs, and the `editor`'s form where the file has it: pictures carry both.

    `note` is for people: why a picture's own prompt was taken in place of what the editor's form says.
    """

    prompt: Prompt
    editor: dict[str, Any] | None
    note: str = ""


class Picture(dict[str, Any]):
    """A document in the editor's form, and the API prompt that the same picture carries.

    `problem` is why the editor's form cannot be read at all; the document is empty then.
    """

    def __init__(self, editor_form: Mapping[str, Any], prompt: dict[str, Any], problem: str = "") -> None:
        super().__init__(editor_form)
        self.prompt = prompt
        self.problem = problem


def accept(document: Any) -> dict[str, Any]:
    """The workflow that a file's JSON is, of either form, out of what it travels in. Raises WorkflowError."""
    document = unwrap(document)
    is_editor_form(document)
    return document


def convert(document: dict[str, Any], definitions: Definitions, names: Mapping[str, str] | None = None) -> Workflow:
    """A document of either form as a prompt. `names` gives display names, the titles of untitled nodes.

    The document is not changed, nor copied where it is the editor's: `Workflow.editor` is it, but for group nodes of
    old editors, which are subgraphs there. Where a Picture's cannot be used, its prompt is.
    """
    names = names or {}
    problem = ""
    if isinstance(document, Picture) and document.problem:
        document, problem = document.prompt, document.problem
    elif is_editor_form(document):
        try:
            expanded = expand(document, Drawings(definitions))
            return Workflow(editor.convert(expanded, definitions, names), expanded)
        except RecursionError:
            raise WorkflowError("expected a workflow, but it is nested too deeply") from None
        except WorkflowError as error:
            if not isinstance(document, Picture):
                raise
            document, problem = document.prompt, error.messages[0]
    note = problem and f"{problem}; the prompt in the same picture is used instead"
    return Workflow({str(node_id): _plain(node, names) for node_id, node in document.items()}, None, note)


def is_editor_form(document: Any) -> bool:
    """True for the editor's form, False for an API prompt; raises WorkflowError where it is neither, or vast."""
    if is_object(document):
        nodes: Any = document.get("nodes")
        if len(nodes if is_list(nodes) else document) > MAX_NODES:
            raise WorkflowError(f"expected at most {MAX_NODES:,} nodes, found more")
        if is_list(nodes):
            return True
        if any(is_object(node) and "class_type" in node for node in document.values()):
            return False
        found = f"an object with {list_choices(document)}" if document else "an empty object"
    else:
        found = show(document)
    raise WorkflowError(
        "expected a workflow: an object with nodes and links (saved by the editor), "
        f'or one with a "class_type" for each node (exported for the API); found {found}'
    )


def _plain(node: Any, names: Mapping[str, str]) -> Any:
    """An API node without the host's own traces, with a title. What is no node at all is left to validation."""
    if not is_object(node):
        return node
    # ComfyUI writes its cache key into the prompts that pictures carry; it would disable IS_CHANGED.
    plain: dict[str, Any] = {key: deepcopy(value) for key, value in node.items() if key != "is_changed"}
    class_type = plain.get("class_type")
    meta = plain.get("_meta")
    if isinstance(class_type, str) and not (is_object(meta) and meta.get("title")):
        plain["_meta"] = {"title": names.get(class_type, class_type)}
    return plain
