"""What every worker of a batch is told before its first row, as one line of JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import graph
from ..set_values import ShortForm

TOKEN = "token"  # the file in `staging` by which a worker sees that the folder is the driver's


@dataclass(frozen=True)
class Job:
    """A workflow, what the command line sets in it, and where it runs.

    staging: where workers lay what they have made; one that does not find `token` there sees another disk, and hands
    its files over. whole: model files are compared by all of their content. folder: the one that relative paths of
    pictures begin at.
    """

    prompt: graph.Prompt
    editor: dict[str, Any] | None
    assignments: Sequence[str | ShortForm]
    staging: str
    token: str
    folder: str
    built_in: bool = False
    input: str | None = None
    models: str | None = None
    device: str | None = None
    compile: str | None = None
    whole: bool = False
    threads: int = 1

    @property
    def workflow_digest(self) -> str:
        """Equal for jobs whose rows come out the same where their models are the same."""
        assigned = [asdict(one) if isinstance(one, ShortForm) else one for one in self.assignments]
        same = [self.prompt, self.editor, assigned, self.built_in]
        return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]

    def workflow(self) -> graph.Workflow:
        """A copy, for a row to change."""
        copied: Any = json.loads(json.dumps([self.prompt, self.editor]))
        return graph.Workflow(*copied)

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def from_json(text: str) -> Job:
    found: dict[str, Any] = json.loads(text)
    assignments = [one if isinstance(one, str) else ShortForm(**one) for one in found.pop("assignments")]
    return Job(assignments=assignments, **found)


def absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser().absolute())
