"""The pictures of a workflow, brought from the folders here to a server's input folder."""

from pathlib import Path

from ...cascade_core.errors import CascadeError
from ...runtime import host, paths
from .. import graph
from ..prepare import Definitions
from ..set_values import takes_files
from .server import Server


async def send(there: Server, workflow: graph.Workflow, definitions: Definitions) -> None:
    """Upload each file that an input names and that lies here; the workflow then has the server's names for them.

    What does not lie here (a built-in picture, a file that only the server has) stays as it is named.
    """
    sent: dict[Path, str] = {}
    for node_id, node in workflow.prompt.items():
        definition = definitions[node["class_type"]]
        for name, value in list(node["inputs"].items()):
            entry = definition.inputs.get(name)
            if entry is None or not takes_files(entry) or not isinstance(value, str):
                continue
            try:
                path, subfolder = _find(value)
                if path.is_file() and path not in sent:
                    sent[path] = await there.upload(path, subfolder)
            except (CascadeError, OSError) as error:
                raise graph.WorkflowError(f"{graph.where(node_id, node, name)}: {error}") from None
            if sent.get(path, value) != value:
                node["inputs"][name] = sent[path]
                if workflow.editor is not None:
                    graph.set_widget(workflow.editor, definitions, node_id, name, sent[path])


def _find(name: str) -> tuple[Path, str]:
    """The file that a name means here, and the sub-folder of the server's input folder for it."""
    plain, kind = paths.split_annotation(name)
    root = host.current().directory(kind)
    path = paths.inside(root, plain)
    subfolder = path.parent.relative_to(root).as_posix() if kind == "input" else ""
    return path, "" if subfolder == "." else subfolder
