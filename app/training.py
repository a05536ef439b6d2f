"""The files that a training writes while it runs, of which the page shows the curve of the loss."""

import io
from pathlib import Path

from ..cascade_core.errors import CascadeError
from ..headless import graph, node_classes
from ..nodes.training import Trainer
from ..runtime import host, paths
from ..runtime.training import STATES

LOG, CURVE = "curve.jsonl", "curve.png"
LONGEST = 16 * 2**20  # bytes of a log that is drawn: some hundred thousand steps


def folders(prompt: graph.Prompt, nodes: node_classes.Nodes) -> list[Path]:
    """The folders in which the trainings of a prompt keep their states."""
    root = host.current().output_directory() / STATES
    names = [
        str(node["inputs"].get("name"))
        for node in prompt.values()
        if issubclass(nodes.classes[node["class_type"]], Trainer)
    ]
    return [path for name in names if paths.is_inside(root, path := root / name)]


def curve(folder: Path) -> bytes | None:
    """The losses so far as a PNG; None where nothing was learned yet."""
    from ..cascade_core.training.run_log import draw_curve, read_lines

    log = folder / LOG
    try:
        lines = read_lines(log)[0] if log.is_file() and log.stat().st_size <= LONGEST else []
    except CascadeError:
        lines = []
    if not lines:
        return None
    written = io.BytesIO()
    draw_curve(lines).save(written, "PNG")
    return written.getvalue()
